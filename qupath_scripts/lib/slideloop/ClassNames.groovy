package slideloop

import com.google.gson.JsonParseException
import groovy.transform.CompileStatic
import javafx.beans.property.StringProperty

/** Classes of studies that are called otherwise in this QuPath, kept as a preference. UI thread; `of` any. */
@CompileStatic
final class ClassNames {

    /** A preference holds no more than 8,192 characters. */
    private static final int MOST_CHARACTERS = 8000

    private final StringProperty kept
    private volatile Map<String, Map<String, String>> all

    /** @param kept JSON: by study, QuPath's name by the study's */
    ClassNames(StringProperty kept) {
        this.kept = kept
        all = read(kept.get())
    }

    /** Those of a study. */
    StudyNames of(String studyId) {
        Map<String, String> renamed = all.get(studyId)
        renamed ? new StudyNames(renamed) : StudyNames.SAME
    }

    /** Remember what classes of a study are called; the studies named longest ago are forgotten where there is no room. */
    void rename(String studyId, Map<String, String> names) {
        Map<String, Map<String, String>> now = new LinkedHashMap<>(all)
        Map<String, String> before = now.remove(studyId) ?: (Map<String, String>) [:]
        now.put(studyId, (before + names).findAll { String study, String quPath -> study != quPath } as Map<String, String>)
        while (Json.write(now).length() > MOST_CHARACTERS && now.size() > 1) {
            now.remove(now.keySet().first())
        }
        all = now
        kept.set(Json.write(now))
    }

    private static Map<String, Map<String, String>> read(String text) {
        try {
            Object found = text ? Json.read(text) : null
            return found instanceof Map ? (Map<String, Map<String, String>>) found : (Map<String, Map<String, String>>) [:]
        } catch (JsonParseException ignored) {
            return [:]
        }
    }
}
