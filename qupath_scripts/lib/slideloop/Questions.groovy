package slideloop

import groovy.transform.CompileStatic
import groovy.transform.PackageScope

import java.util.concurrent.Executor
import java.util.concurrent.Executors
import java.util.concurrent.ScheduledExecutorService
import java.util.concurrent.ThreadFactory
import java.util.concurrent.TimeUnit
import java.util.function.Consumer

/**
 * What a review asks the server, in threads of its own; answers come in the UI thread.
 *
 * Owns the threads, and that an answer to a question given up is never heard of. Called in the UI
 * thread only.
 */
@CompileStatic
@PackageScope
final class Questions {

    private static final long DRAIN_MS = 3000
    private static final int DRAIN_STEP_MS = 20

    /** An answer: the study and its round, or why not. */
    @CompileStatic
    @PackageScope
    static final class Answer {
        /** Null where it was not asked for. */
        Map<String, Object> study
        Map<String, Object> round
        Problem problem
        /** How long the server took, in ms. */
        long tookMs
    }

    /** The event that an undo would take back, or why nobody knows. */
    @CompileStatic
    @PackageScope
    static final class Latest {
        /** Null if there is none. */
        Map<String, Object> event
        Problem problem
    }

    private final Server server
    private final Outbox outbox
    private final Executor ui
    private ScheduledExecutorService threads
    private int number
    private int openNumber
    private int visit

    Questions(Server server, Outbox outbox, Executor ui) {
        this.server = server
        this.outbox = outbox
        this.ui = ui
    }

    /** Whether a question for the round waits for its time or its answer. */
    boolean isOpen() {
        openNumber > 0
    }

    /** Begins with a study. */
    void start() {
        // Two: a look into the journal does not wait behind a question that the server keeps.
        threads = Executors.newScheduledThreadPool(2, { Runnable work ->
            Thread thread = new Thread(work, 'slideloop-review')
            thread.daemon = true
            thread
        } as ThreadFactory)
    }

    /** Ends with a study; nothing that was asked is answered any more. */
    void stop() {
        visit++
        giveUp()
        threads?.shutdownNow()
        threads = null
    }

    /** Gives up the question that is open, if one is. */
    void giveUp() {
        openNumber = 0
    }

    /**
     * Asks for a study's round, and for the study where wanted.
     *
     * @param waitS how long the server may keep the question for the next patches, in s
     * @param delayMs from now, in ms
     */
    void ask(String studyId, boolean wantsStudy, int waitS, long delayMs, Consumer<Answer> answered) {
        int ours = ++number
        openNumber = ours
        threads.schedule({
            Answer answer = fetch("/studies/${Server.segment(studyId)}", wantsStudy, waitS)
            ui.execute { ->
                if (openNumber == ours) {
                    openNumber = 0
                    answered.accept(answer)
                }
            }
        } as Runnable, delayMs, TimeUnit.MILLISECONDS)
    }

    /** Asks what the latest step of a study is, once all that is on its way has arrived. */
    void askForLatest(String studyId, Consumer<Latest> answered) {
        int ours = visit
        threads.execute { ->
            Latest latest = new Latest()
            try {
                waitUntilSent(studyId)
                latest.event = Journal.latestAction(server, studyId)
            } catch (Problem problem) {
                latest.problem = problem
            } catch (RuntimeException ignored) {
                latest.problem = server.stranger(200)
            }
            ui.execute { ->
                if (visit == ours) {
                    answered.accept(latest)
                }
            }
        }
    }

    private Answer fetch(String path, boolean wantsStudy, int waitS) {
        Answer answer = new Answer()
        long start = System.nanoTime()
        try {
            answer.study = wantsStudy ? (Map<String, Object>) server.get(path) : null
            answer.round = (Map<String, Object>) server.get("${path}/round?wait=${waitS}")
            if (!(answer.round['state'] instanceof String)) {
                answer.problem = server.stranger(200)
            }
        } catch (Problem problem) {
            answer.problem = problem
        } catch (RuntimeException ignored) {
            answer.problem = server.stranger(200)
        }
        answer.tookMs = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - start)
        answer
    }

    private void waitUntilSent(String studyId) {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(DRAIN_MS)
        while (outbox.waitingOf(studyId)) {
            if (outbox.trouble() != null) {
                throw outbox.trouble()
            }
            if (System.nanoTime() > end) {
                throw new Problem('busy', 0, 'The labels before it are still on their way.', 'Try again in a moment.', true)
            }
            sleep(DRAIN_STEP_MS)
        }
    }
}
