package slideloop

import com.google.gson.Gson
import com.google.gson.GsonBuilder
import com.google.gson.JsonElement
import com.google.gson.JsonPrimitive
import com.google.gson.JsonSerializationContext
import com.google.gson.JsonSerializer
import com.google.gson.ToNumberPolicy
import groovy.transform.CompileStatic

import java.lang.reflect.Type

/**
 * JSON as maps, lists, strings, booleans and numbers. Safe from every thread.
 *
 * Gson, since it is what every QuPath ships; groovy.json is not.
 */
@CompileStatic
final class Json {

    private static final Gson GSON = new GsonBuilder()
        .setObjectToNumberStrategy(ToNumberPolicy.LONG_OR_DOUBLE)
        .registerTypeHierarchyAdapter(GString, new AsText())
        .serializeNulls()
        .disableHtmlEscaping()
        .create()

    private Json() {
    }

    /**
     * Returns one line of JSON; keys in the order of the map, null kept.
     *
     * @throws IllegalArgumentException for NaN and infinities, which JSON does not have
     */
    static String write(Object value) {
        GSON.toJson(value)
    }

    /**
     * Reads JSON: objects are mutable maps in the order of the text, integers Long, other numbers Double.
     *
     * @throws com.google.gson.JsonParseException if it is not JSON
     */
    static Object read(String text) {
        GSON.fromJson(text, Object)
    }

    /** A GString is a string with values in it, not a bean. */
    private static final class AsText implements JsonSerializer<GString> {
        @Override
        JsonElement serialize(GString text, Type type, JsonSerializationContext context) {
            new JsonPrimitive(text.toString())
        }
    }
}
