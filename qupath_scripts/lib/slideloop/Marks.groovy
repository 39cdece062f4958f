package slideloop

import groovy.transform.CompileStatic
import groovy.transform.PackageScope

/** How safe each label of a round is: what the thumbnails' marks show. No state. */
@CompileStatic
@PackageScope
final class Marks {

    private Marks() {
    }

    /**
     * Returns `waiting`, `saved` or `refused` by patch id.
     *
     * A label that is not on the disk yet has no mark. A refused label is off the screen, so its patch
     * keeps that mark until it has another one.
     *
     * @param labels what is on the screen, by patch id
     */
    static Map<String, String> of(Outbox outbox, Object roundId, Map<String, String> labels) {
        Map<String, String> marks = new LinkedHashMap<>()
        if (roundId == null) {
            return marks
        }
        outbox.refused().findAll { Map<String, Object> it -> roundOf(it) == roundId }.each { Map<String, Object> it ->
            marks[patchOf(it)] = 'refused'
        }
        labels.keySet().each { String patch -> marks[patch] = 'saved' }
        List<Map<String, Object>> waiting = outbox.waiting()
        Set<Object> undone = waiting.collect { Map<String, Object> it -> it['undoes'] } as Set<Object>
        waiting.findAll { Map<String, Object> it ->
            roundOf(it) == roundId && !undone.contains(it['event_id']) && labels.containsKey(patchOf(it))
        }.each { Map<String, Object> it ->
            if (outbox.isWritten(it['event_id'] as String)) {
                marks[patchOf(it)] = 'waiting'
            } else {
                marks.remove(patchOf(it))
            }
        }
        marks
    }

    private static Object roundOf(Map<String, Object> entry) {
        ((Map) entry['body'])['round_id']
    }

    private static String patchOf(Map<String, Object> entry) {
        ((Map) entry['about'])?.get('patch') as String
    }
}
