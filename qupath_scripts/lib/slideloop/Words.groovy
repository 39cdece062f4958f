package slideloop

import groovy.transform.CompileStatic
import groovy.transform.PackageScope

/** What a review says to people of its changes: sentences, and the `about` of an entry. No state. */
@CompileStatic
@PackageScope
final class Words {

    private static final List<String> PLACE = ['slide', 'x', 'y', 'width', 'height']

    private Words() {
    }

    /** Tells which label an entry gives: names, place and a text for people. */
    static Map<String, Object> aboutLabel(Map<String, Object> study, Map<String, Object> round, Map<String, Object> patch, String label) {
        Map<String, Object> about = [study: study?.get('name'), patch: patch['id'], label: label] as Map<String, Object>
        PLACE.each { String it -> about[it] = patch[it] }
        int number = 1 + ((List<Map<String, Object>>) round['patches']).findIndexOf { Map<String, Object> it -> it['id'] == patch['id'] }
        about['session'] = round['session']
        about['round'] = round['round']
        about['text'] = "${label}: patch ${number} of round ${round['round']}, session ${session(study, round)}".toString()
        about
    }

    /** Tells which label an undo takes back. */
    static Map<String, Object> aboutUndo(Map<String, Object> label) {
        Map<String, Object> about = new LinkedHashMap<>(label)
        about['text'] = "Take back ${label['text'] ?: label['label']}".toString()
        about
    }

    /** Returns which of the study's sessions a round is of, from 1; the newest where the study is older. */
    static int session(Map<String, Object> study, Map<String, Object> round) {
        List<Map<String, Object>> sessions = (List<Map<String, Object>>) study?.get('sessions') ?: []
        int found = sessions.findIndexOf { Map<String, Object> it -> it['id'] == round['session'] }
        1 + (found < 0 ? sessions.size() : found)
    }

    /** Says why Backspace takes nothing back, by the event that an undo would take back. */
    static String notTakenBack(Map<String, Object> latest) {
        switch (latest?.get('type')) {
            case 'query':
                return 'Before this there is only the query itself; Undo in the menu takes it back.'
            case 'region':
                return 'The latest step is a region, not a label; Undo in the menu takes it back.'
            default:
                return 'There is nothing to take back.'
        }
    }

    /** Says what becomes of changes that wait, or null if there is nothing to say. */
    static String ofWaiting(int nWaiting, Problem trouble, boolean isLoading) {
        String changes = nWaiting == 1 ? '1 change is' : "${nWaiting} changes are"
        if (nWaiting && trouble != null) {
            // Where the disk is the trouble, its own sentence says that nothing is safe.
            return trouble.code == 'outbox_unusable' ? "${changes} on the way to the server." :
                "${changes} safe on this machine, and sent when the server takes them."
        }
        nWaiting && isLoading ? "${changes} left from before, and sent first." : null
    }
}
