package slideloop

import groovy.transform.CompileStatic

import java.nio.charset.StandardCharsets

/** What a study's journal says of its latest step. Blocks: never on the JavaFX thread. */
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
        String path = "/studies/${Server.segment(studyId)}"
        Map head = (Map) ((Map) server.get(path))['journal']
        long tail = Math.max(0, ((Number) head['seq']).longValue() - TAIL)
        // An action is taken back by an undo behind it, so that the tail tells, if one is left in it.
        latestOf(events(server, path, tail)) ?: (tail ? latestOf(events(server, path, 0)) : null)
    }

    private static List<Map<String, Object>> events(Server server, String path, long after) {
        String lines = new String(server.bytes("${path}/journal?after=${after}"), StandardCharsets.UTF_8)
        lines.readLines().findAll { String it -> it }.collect { String it -> (Map<String, Object>) Json.read(it) }
    }

    private static Map<String, Object> latestOf(List<Map<String, Object>> events) {
        Set<Long> undone = new HashSet<>()
        for (Map<String, Object> event : events.reverse()) {
            long seq = ((Number) event['seq']).longValue()
            if (event['type'] == 'undo') {
                // One undo never takes back another.
                ((Map<String, List<Number>>) event['data'])['undone'].each { Number it -> undone << it.longValue() }
            } else if (event['type'] in ACTIONS && !(seq in undone)) {
                return event
            }
        }
        null
    }
}
