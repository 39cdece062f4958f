package slideloop

import groovy.transform.CompileStatic

import java.nio.charset.StandardCharsets

/** What a study's journal says. Blocks: never on the JavaFX thread. */
@CompileStatic
final class Journal {

    private static final List<String> ACTIONS = ['label', 'region', 'query']
    private static final long TAIL = 200

    private Journal() {
    }

    /**
     * Returns the event that an undo of scope "last" would take back now.
     *
     * @return the journal's event {seq, type, data, ..} of type label, region or query; null if there is none
     * @throws Problem as Server.get
     */
    static Map<String, Object> latestAction(Server server, String studyId) {
        Map head = (Map) ((Map) server.get("/studies/${Server.segment(studyId)}"))['journal']
        long tail = Math.max(0, ((Number) head['seq']).longValue() - TAIL)
        // An action is taken back by an undo behind it, so that the tail tells, if one is left in it.
        latestOf(events(server, studyId, tail)) ?: (tail ? latestOf(events(server, studyId, 0)) : null)
    }

    /**
     * Returns the journal's events, the oldest first.
     *
     * @param after only those of a higher seq; 0 for all
     * @throws Problem as Server.bytes
     */
    static List<Map<String, Object>> events(Server server, String studyId, long after) {
        String path = "/studies/${Server.segment(studyId)}/journal?after=${after}"
        String lines = new String(server.bytes(path), StandardCharsets.UTF_8)
        lines.readLines().findAll { String it -> it }.collect { String it -> (Map<String, Object>) Json.read(it) }
    }

    private static Map<String, Object> latestOf(List<Map<String, Object>> events) {
        Set<Long> undone = undone(events)
        events.reverse().find { Map<String, Object> it ->
            it['type'] in ACTIONS && !(((Number) it['seq']).longValue() in undone)
        }
    }

    /** Returns the seqs of the events that were taken back by one of these. */
    static Set<Long> undone(List<Map<String, Object>> events) {
        Set<Long> undone = new HashSet<>()
        events.findAll { Map<String, Object> it -> it['type'] == 'undo' }.each { Map<String, Object> it ->
            ((Map<String, List<Number>>) it['data'])['undone'].each { Number seq -> undone << seq.longValue() }
        }
        undone
    }
}
