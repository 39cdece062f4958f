package slideloop

import groovy.transform.CompileStatic

/**
 * Which regions a study was sent, by event id: what makes sending a correction twice change nothing.
 *
 * The event id of a region is made of the object it was drawn as, and a number: 0 for the first time
 * that the object was sent, 1 after it was edited and sent again, and so on. So its journal says what
 * of an object the study knows, on whatever machine it was sent. Never changes; pure but for `read`.
 */
@CompileStatic
final class SentRegions {

    private static final UUID NAMESPACE = UUID.fromString('4d0f4a2c-55b1-5d5e-9f6e-0b8a5c1f7e26')

    /** What was sent last of an object. */
    @CompileStatic
    static final class Sent {
        final String label
        /** GeoJSON, as it was sent. */
        final Map<String, Object> geometry
        /** Whether it was taken back since. */
        final boolean isUndone

        Sent(String label, Map<String, Object> geometry, boolean isUndone) {
            this.label = label
            this.geometry = geometry
            this.isUndone = isUndone
        }

        /** Whether this label and geometry are what was sent. */
        boolean isSame(String label, Map<String, Object> geometry) {
            this.label == label && sameNumbers(this.geometry, geometry)
        }
    }

    private final String studyId
    private final Map<String, Sent> byEvent = [:]

    /**
     * @param events of the study's journal, all
     * @param waiting entries of the outbox, whatever their study
     */
    SentRegions(String studyId, List<Map<String, Object>> events, List<Map<String, Object>> waiting) {
        this.studyId = studyId
        Set<Long> undone = Journal.undone(events)
        events.findAll { Map<String, Object> it -> it['type'] == 'region' }.each { Map<String, Object> it ->
            put((Map) it['data'], ((Number) it['seq']).longValue() in undone)
        }
        waiting.findAll { Map<String, Object> it -> it['path'] == pathFor(studyId) }.each { Map<String, Object> it ->
            put([event_id: it['event_id']] + (Map) it['body'], false)
        }
    }

    /**
     * Asks the server.
     *
     * @param waiting entries of the outbox
     * @throws Problem as Journal.events
     */
    static SentRegions read(Server server, String studyId, List<Map<String, Object>> waiting) {
        new SentRegions(studyId, Journal.events(server, studyId, 0), waiting)
    }

    /** Returns the path that regions of a study are sent to. */
    static String pathFor(String studyId) {
        "/studies/${Server.segment(studyId)}/regions".toString()
    }

    /** Returns what was sent last of an object; null if nothing was. */
    Sent lastOf(String slideId, UUID object) {
        int n = nOf(slideId, object)
        n ? byEvent[eventId(slideId, object, n - 1)] : null
    }

    /** Returns the event id with which an object is to be sent next. */
    String nextOf(String slideId, UUID object) {
        eventId(slideId, object, nOf(slideId, object))
    }

    private int nOf(String slideId, UUID object) {
        int n = 0
        while (byEvent.containsKey(eventId(slideId, object, n))) {
            n++
        }
        n
    }

    private String eventId(String slideId, UUID object, int n) {
        ObjectId.v5(NAMESPACE, "${studyId}\n${slideId}\n${object}\n${n}").toString()
    }

    private void put(Map<?, ?> region, boolean isUndone) {
        String id = (String) region['event_id']
        if (id != null) {
            byEvent[id] = new Sent((String) region['label'], (Map<String, Object>) region['geometry'], isUndone)
        }
    }

    private static boolean sameNumbers(Object a, Object b) {
        if (a instanceof Number && b instanceof Number) {
            return ((Number) a).doubleValue() == ((Number) b).doubleValue()
        }
        if (a instanceof List && b instanceof List) {
            List these = (List) a, those = (List) b
            return these.size() == those.size() && (0..<these.size()).every { int it -> sameNumbers(these[it], those[it]) }
        }
        if (a instanceof Map && b instanceof Map) {
            Map these = (Map) a, those = (Map) b
            return these.keySet() == those.keySet() && these.keySet().every { Object it -> sameNumbers(these[it], those[it]) }
        }
        a == b
    }
}
