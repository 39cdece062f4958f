package slideloop

import groovy.transform.CompileStatic

import java.util.concurrent.BlockingQueue
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.function.Consumer

/**
 * Sends corrections by way of the outbox, which keeps them where the server is away, and waits to hear
 * what became of each. One thread of its own.
 */
@CompileStatic
final class Sending {

    private static final long LOOK_MS = 200

    private final Outbox outbox
    private final Map<String, Object> study
    private final CorrectionPlan plan
    private final List<CorrectionPlan.Correction> wanted
    private final boolean isLearningNow

    /**
     * @param wanted in the order to be sent
     * @param isLearningNow whether the study learns from them at once, not with the next round
     */
    Sending(Outbox outbox, Map<String, Object> study, CorrectionPlan plan, List<CorrectionPlan.Correction> wanted, boolean isLearningNow) {
        this.outbox = outbox
        this.study = study
        this.plan = plan
        this.wanted = wanted
        this.isLearningNow = isLearningNow
    }

    /**
     * Send all; blocks until the server has them or cannot be reached.
     *
     * @param work hears how far it is, and may be cancelled: what was not sent yet is given up then
     * @return what came of it, in sentences
     */
    String send(Work work) {
        BlockingQueue<Outbox.Event> events = new LinkedBlockingQueue<>()
        Consumer<Outbox.Event> ear = { Outbox.Event it -> events << it } as Consumer<Outbox.Event>
        Set<String> open = wanted*.eventId as LinkedHashSet<String>
        List<CorrectionPlan.Correction> saved = []
        int nGiven = 0
        List<Problem> refusals = []
        Problem held = null
        outbox.onEvent(ear)
        try {
            wanted.each { CorrectionPlan.Correction it -> outbox.append(entry(it, it.is(wanted.last()))) }
            while (open && held == null) {
                work.at("Sent ${wanted.size() - open.size()} of ${wanted.size()}", (wanted.size() - open.size()) / (double) wanted.size())
                Outbox.Event event = events.poll(LOOK_MS, TimeUnit.MILLISECONDS)
                if (event?.kind == 'held' && event.problem.code != 'outbox_unusable') {
                    held = event.problem
                } else if (event?.kind in ['saved', 'refused', 'dropped'] && open.remove(event.entry['event_id'])) {
                    if (event.kind == 'saved') {
                        nGiven += ((Number) event.answer['n_given']).intValue()
                        saved << wanted.find { CorrectionPlan.Correction it -> it.eventId == event.entry['event_id'] }
                    }
                    if (event.kind == 'refused') {
                        refusals << event.problem
                    }
                }
            }
        } catch (Problem cancelled) {
            open.each { String it -> outbox.drop(it) }
            throw cancelled
        } finally {
            outbox.removeListener(ear)
        }
        // The server counts a patch of two corrections twice.
        outcome(saved.size(), Math.min(nGiven, CorrectionPlan.nPatches(saved)), refusals, open.size(), held)
    }

    private Map<String, Object> entry(CorrectionPlan.Correction correction, boolean isLast) {
        String label = correction.drawn.label
        [method: 'POST', path: SentRegions.pathFor((String) study['id']), event_id: correction.eventId,
         body: plan.body(correction, isLearningNow && isLast),
         about: [study: study['name'], label: label, text: "${label}: a region of ${correction.patches.cardinality()} patches".toString()]
        ] as Map<String, Object>
    }

    private static String outcome(int nSent, int nGiven, List<Problem> refusals, int nOpen, Problem held) {
        List<String> sentences = []
        if (nSent || !nOpen && !refusals) {
            sentences << "${WindowWords.count(nSent, 'correction')} sent: ${WindowWords.grouped(nGiven)} patches have the label that you gave.".toString()
        }
        if (refusals) {
            sentences << "${WindowWords.count(refusals.size(), 'correction')} refused: ${refusals[0].message} Review shows ${refusals.size() == 1 ? 'it' : 'them'}.".toString()
        }
        if (nOpen) {
            sentences << "${WindowWords.count(nOpen, 'correction')} kept on this computer, and sent when the server takes them: ${held.message}".toString()
        }
        sentences.join(' ')
    }
}
