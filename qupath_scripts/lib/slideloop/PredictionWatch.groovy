package slideloop

import groovy.transform.CompileStatic

import java.util.concurrent.Executor
import java.util.function.BiConsumer
import java.util.function.Consumer

/**
 * Keeps the predictions of some slides of a study current: asks its journal every other second whether
 * anything happened, and fetches them again when something was learnt. Requests run in a daemon thread;
 * what comes of them is told in the UI thread.
 */
@CompileStatic
final class PredictionWatch implements Closeable {

    private static final long PAUSE_MS = 2000
    /** After these events a prediction differs. */
    private static final Set<String> TELLING = ['training_done', 'prediction', 'region', 'undo', 'settings'] as Set<String>

    private final Server server
    private final String studyId
    private final Executor ui
    private final BiConsumer<Map<String, Object>, Prediction> found
    private final Consumer<Problem> trouble
    private final Thread thread
    private volatile boolean isClosed

    // With the lock of this object.
    private Set<String> slides = new LinkedHashSet<>()
    private boolean isStale = true

    /**
     * @param ui runs what it is given in the UI thread, in order
     * @param found is told the study and a prediction, each time that one was fetched
     * @param trouble is told why nothing was fetched, and null when that is over
     */
    PredictionWatch(Server server, String studyId, Executor ui, BiConsumer<Map<String, Object>, Prediction> found,
                    Consumer<Problem> trouble) {
        this.server = server
        this.studyId = studyId
        this.ui = ui
        this.found = found
        this.trouble = trouble
        thread = new Thread({ watch() } as Runnable, 'slideloop-prediction')
        thread.daemon = true
        thread.start()
    }

    /** Watches these slides from now on; those that are new are fetched at once. */
    synchronized void setSlides(Collection<String> ids) {
        isStale |= !slides.containsAll(ids)
        slides = new LinkedHashSet<>(ids)
        notifyAll()
    }

    /** Ends it; nothing is told any more. UI thread. */
    @Override
    void close() {
        isClosed = true
        thread.interrupt()
    }

    private void watch() {
        long seq = -1
        Problem before = null
        try {
            while (!isClosed) {
                Problem why = null
                try {
                    List<Map<String, Object>> news = seq < 0 ? (List<Map<String, Object>>) [] : Journal.events(server, studyId, seq)
                    if (news) {
                        seq = seqOf(news.last())
                    }
                    if (isDue(news)) {
                        Map<String, Object> study = (Map<String, Object>) server.get("/studies/${Server.segment(studyId)}")
                        seq = Math.max(seq, seqOf((Map) study['journal']))
                        fetch(study)
                    }
                } catch (Problem problem) {
                    why = problem
                    again()
                }
                if (why?.message != before?.message) {
                    before = why
                    tell { trouble.accept(why) }
                }
                rest(why != null)
            }
        } catch (InterruptedException ignored) {
            // Closed.
        }
    }

    private void fetch(Map<String, Object> study) {
        Set<String> wanted
        synchronized (this) {
            wanted = slides
        }
        wanted.each { String slide ->
            String path = "/studies/${Server.segment(studyId)}/prediction?slide=${Server.segment(slide)}&format=arrays"
            Prediction prediction = new Prediction((Map) server.get(path))
            tell { found.accept(study, prediction) }
        }
    }

    private synchronized boolean isDue(List<Map<String, Object>> news) {
        boolean isDue = isStale || news.any { Map<String, Object> it -> it['type'] in TELLING }
        isStale = false
        isDue && slides
    }

    private synchronized void again() {
        isStale = true
    }

    private synchronized void rest(boolean isFailed) {
        // A slide that came in the meantime does not wait.
        if (isFailed || !isStale || !slides) {
            wait(PAUSE_MS)
        }
    }

    private void tell(Runnable what) {
        ui.execute {
            if (!isClosed) {
                what.run()
            }
        }
    }

    private static long seqOf(Map<?, ?> event) {
        ((Number) event['seq']).longValue()
    }
}
