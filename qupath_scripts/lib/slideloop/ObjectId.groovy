package slideloop

import groovy.transform.CompileStatic

import java.nio.ByteBuffer
import java.nio.charset.StandardCharsets
import java.security.MessageDigest
import java.text.Normalizer

/**
 * The identity of mask objects, as the server makes it (`interfaces.md`, Files): an object whose id no
 * longer fits its class and outline was edited by somebody. Pure.
 */
@CompileStatic
final class ObjectId {

    /** Namespace of the ids of mask objects; the server has the same. */
    static final UUID NAMESPACE = UUID.fromString('6f1c3b0e-9f4d-5b7a-8a55-0d7c2e91b3a4')

    private static final String MARK = 'slideloop/'

    private ObjectId() {
    }

    /** Returns the name that marks an object as made by a study. */
    static String marker(String studyId) {
        MARK + studyId
    }

    /**
     * Returns the id of an object.
     *
     * @param studyId study that made the mask
     * @param className class of the object, as the study writes it
     * @param x x of all vertices, of holes too, level-0 pixels; rounded here, and doubles count once
     * @param y y of the same vertices
     */
    static UUID of(String studyId, String className, double[] x, double[] y) {
        StringBuilder text = new StringBuilder("${studyId}\n${className}\n")
        long[] before = null
        for (long[] vertex : sorted(x, y)) {
            if (before != null) {
                if (Arrays.equals(before, vertex)) {
                    continue
                }
                text << ' '
            }
            text << vertex[0] << ',' << vertex[1]
            before = vertex
        }
        v5(NAMESPACE, text.toString())
    }

    /** Returns the UUID of version 5 of a name (RFC 9562). */
    static UUID v5(UUID namespace, String name) {
        MessageDigest sha1 = MessageDigest.getInstance('SHA-1')
        sha1.update(ByteBuffer.allocate(16).putLong(namespace.mostSignificantBits).putLong(namespace.leastSignificantBits).array())
        ByteBuffer hash = ByteBuffer.wrap(sha1.digest(name.getBytes(StandardCharsets.UTF_8)))
        long high = hash.getLong(), low = hash.getLong()
        new UUID((high & ~0xf000L) | 0x5000L, (low & 0x3fffffffffffffffL) | Long.MIN_VALUE)
    }

    /** Returns the parts of a class name: "Tumor: Invasive" has two. At least one. */
    static List<String> nameParts(String className) {
        List<String> parts = className.split(':').collect { String it -> it.trim() }.findAll { String it -> it }
        parts ?: [className]
    }

    /**
     * Returns a class as a study writes it, from how QuPath writes it ("Tumor: Invasive" for
     * "Tumor:Invasive"); null if the study has none such.
     */
    static String classOf(List<String> classes, String inQuPath) {
        inQuPath == null ? null : classes.find { String it -> plain(it) == plain(inQuPath) }
    }

    private static String plain(String className) {
        Normalizer.normalize(nameParts(className).join(': '), Normalizer.Form.NFC)
    }

    private static List<long[]> sorted(double[] x, double[] y) {
        List<long[]> vertices = new ArrayList<>(x.length)
        for (int i = 0; i < x.length; i++) {
            vertices << ([Math.rint(x[i]) as long, Math.rint(y[i]) as long] as long[])
        }
        vertices.sort { long[] a, long[] b -> Long.compare(a[0], b[0]) ?: Long.compare(a[1], b[1]) }
        vertices
    }
}
