package slideloop

import groovy.transform.CompileStatic

import java.time.Instant
import java.time.ZoneId
import java.time.format.DateTimeFormatter
import java.time.format.DateTimeParseException

/** The sentences of the review window. Pure. */
@CompileStatic
final class WindowWords {

    /** The two answers that are no class, by the server's name for them. */
    static final String UNSURE = 'unsure'
    static final String EXCLUDE = 'exclude'

    private WindowWords() {
    }

    /** Why the strategy chose a patch, in a word or two that fit below a thumbnail. */
    static String shortReason(Map patch) {
        switch (patch.reason) {
            case 'front': return 'near'
            case 'mid': return 'halfway'
            case 'end': return 'far'
            case 'closest_negative': return 'near, no'
            case 'farthest_positive': return 'far, yes'
            case 'entropy': return 'least sure'
            case 'random': return 'random'
            case 'top': return 'nearest'
            default: return (patch.reason ?: '') as String
        }
    }

    /** Why the strategy chose a patch, as half a sentence. */
    static String reason(Map patch, String queryClass) {
        switch (patch.reason) {
            case 'front': return 'looks most like the query'
            case 'mid': return 'halfway between like and unlike the query'
            case 'end': return 'looks least like the query'
            case 'closest_negative': return "looks like the query, but was predicted as not $queryClass"
            case 'farthest_positive': return "looks unlike the query, but was predicted as $queryClass"
            case 'entropy': return 'the model is least sure here'
            case 'random': return 'drawn at random'
            case 'top': return 'the next most similar to the query'
            default: return (patch.reason ?: '') as String
        }
    }

    /** An answer as it is written for people. */
    static String answer(String label) {
        label == UNSURE ? 'Unsure' : label == EXCLUDE ? 'Excluded' : label
    }

    /** "1 label", "2 labels". */
    static String count(long n, String thing) {
        "${grouped(n)} $thing${n == 1 ? '' : 's'}"
    }

    /** A number with thin gaps at the thousands, the same in every language. */
    static String grouped(long n) {
        String digits = String.valueOf(n)
        StringBuilder text = new StringBuilder(digits)
        for (int at = digits.length() - 3; at > 0; at -= 3) {
            text.insert(at, '\u202f')
        }
        text.toString()
    }

    /** Where the session stands: session, round, labels of the round. */
    static String where(View view) {
        Map round = view.round
        if (round == null || round.session == null) {
            return ''
        }
        String labelled = view.patches.empty ? '' : " · ${view.labels.size()} of ${view.patches.size()} labelled"
        "Session ${Words.session(view.study, view.round)} · round ${round.round} of ${round.rounds}$labelled"
    }

    /**
     * The sentence for the status line: what is wrong, or what to know, or what to do.
     *
     * @param focused whether keys reach the window
     */
    static String status(View view, boolean focused) {
        if (view.problem != null) {
            boolean canGoOn = view.state == 'labelling' && view.problem.code != 'outbox_unusable'
            return canGoOn ? "${view.problem.message} You can go on labelling: nothing is lost." : view.problem.message
        }
        if (view.note) {
            return view.note
        }
        if (!focused) {
            return 'Keys work while this window is in front: click into it.'
        }
        view.state == 'labelling' ? 'One key labels the patch · ← → other patches · Esc closes' : ''
    }

    /** A patch's place in the ranking by likeness to the query, 1 the nearest; empty if it has none. */
    static String place(Map patch) {
        patch.rank == null ? '' : grouped(((Number) patch.rank).longValue() + 1)
    }

    /** Why a patch is shown, as a sentence without its stop. */
    static String whyShown(Map patch, String queryClass) {
        String ranked = patch.rank == null ? '' : " (no. ${place(patch)} from the query)"
        String why = reason(patch, queryClass)
        why.isEmpty() ? ranked.trim() : why.substring(0, 1).toUpperCase() + why.substring(1) + ranked
    }

    /** All that is known of a patch, a line each. */
    static String about(Map patch, String queryClass, String label, String saved) {
        List<String> lines = [whyShown(patch, queryClass)]
        if (label != null) {
            lines << (saved == null ? answer(label) : "${answer(label)}, ${safety(saved)}" as String)
        }
        lines.join('\n')
    }

    private static String safety(String saved) {
        saved == 'saved' ? 'saved by the server'
            : saved == 'waiting' ? 'kept on this computer, on its way to the server'
            : 'not accepted by the server'
    }

    /** A refused change, for people: what, where, when. */
    static String refusal(Map entry) {
        Map about = (entry.about ?: [:]) as Map
        String what = about.text ?: about.label ?: entry.path
        "$what · ${time(entry.time as String)}"
    }

    /** Why it was refused, and the way out. */
    static String whyRefused(Map entry) {
        (entry.problem as Problem)?.message ?: ''
    }

    private static String time(String iso) {
        try {
            Instant.parse(iso).atZone(ZoneId.systemDefault()).format(DateTimeFormatter.ofPattern('yyyy-MM-dd HH:mm:ss'))
        } catch (DateTimeParseException | NullPointerException ignored) {
            iso ?: ''
        }
    }
}
