package slideloop

import groovy.transform.CompileStatic
import groovy.transform.PackageScope

/**
 * What is seen of a review at one moment. Never changes; to be read from any thread.
 */
@CompileStatic
final class View {

    /** The study as the server last gave it (`interfaces.md`, Objects); null before that. */
    final Map<String, Object> study
    /**
     * The round on the screen, as the server gave it; null before the first. In `training` and
     * `session_over` it is the round that was labelled last, where there is one.
     */
    final Map<String, Object> round
    /** Which of the study's sessions that round is of, counted from 1; 0 without a round. */
    final int session
    /** The patches of that round, in the order to be shown; empty if there are none. */
    final List<Map<String, Object>> patches
    /** One of closed, loading, indexing, labelling, training, session_over, exhausted, problem. */
    final String state
    /** Index in `patches` of the current one; 0 if there are none. */
    final int position
    /** Label of each labelled patch of the round, by patch id. */
    final Map<String, String> labels
    /**
     * By patch id: `waiting` (safe on this machine's disk, on its way), `saved` (acknowledged by the
     * server) or `refused`. A label of the last milliseconds, still on its way to the disk, has none.
     */
    final Map<String, String> saved
    /** What of the indexing or training is done, 0 to 1; 1 otherwise. */
    final double progress
    /** One sentence for the status line, or null. */
    final String note
    /** Why nothing moves (server away, wrong token, no such study), or null. Shown as a banner. */
    final Problem problem
    /** How many changes the server has not acknowledged, of all studies. */
    final int waiting
    /** Refused changes of all studies: each the entry with its `problem` (a Problem) beside. */
    final List<Map<String, Object>> refused
    /** The study's class names in their order; without unsure and exclude. */
    final List<String> classes
    /** Patches that will probably be shown next, to read ahead; empty while nobody knows. */
    final List<Map<String, Object>> next

    @PackageScope
    View(Map<String, Object> fields) {
        study = (Map<String, Object>) fields['study']
        round = (Map<String, Object>) fields['round']
        session = (fields['session'] ?: 0) as int
        patches = frozen((List) fields['patches'])
        state = fields['state'] as String
        position = (fields['position'] ?: 0) as int
        labels = frozen((Map) fields['labels']) as Map<String, String>
        saved = frozen((Map) fields['saved']) as Map<String, String>
        progress = (fields['progress'] == null ? 1 : fields['progress']) as double
        note = fields['note'] as String
        problem = (Problem) fields['problem']
        waiting = (fields['waiting'] ?: 0) as int
        refused = frozen((List) fields['refused'])
        classes = frozen((List) fields['classes']) as List<String>
        next = frozen((List) fields['next'])
    }

    /** Returns the current patch, or null if there is none. */
    Map<String, Object> getPatch() {
        position < patches.size() ? patches[position] : null
    }

    private static <T> List<T> frozen(List<T> list) {
        Collections.unmodifiableList(new ArrayList<T>(list ?: Collections.<T>emptyList()))
    }

    private static Map<String, String> frozen(Map<String, String> map) {
        Collections.unmodifiableMap(new LinkedHashMap<String, String>(map ?: Collections.<String, String>emptyMap()))
    }
}
