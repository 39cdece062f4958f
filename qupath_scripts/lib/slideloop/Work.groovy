package slideloop

import groovy.transform.CompileStatic
import javafx.animation.PauseTransition
import javafx.application.Platform
import javafx.stage.Window
import javafx.util.Duration

import java.util.function.Consumer
import java.util.function.Function

/**
 * One piece of work beside the UI thread: what takes longer than a moment shows a bar with a cancel
 * button; its result, or what went wrong, comes back in the UI thread.
 */
@CompileStatic
final class Work {

    private static final System.Logger LOG = System.getLogger('slideloop.Work')
    private static final double PATIENCE_MS = 400

    private final Window owner
    private final String title
    private Thread thread
    private ProgressWindow window
    private boolean isOver
    private volatile boolean isCancelled
    private volatile String text
    private volatile double fraction = -1

    private Work(Window owner, String title) {
        this.owner = owner
        this.title = title
        this.text = title
    }

    /**
     * Start. UI thread; returns at once.
     *
     * @param title what is done, such as "Opening the slide"
     * @param task runs in a thread of its own; what it throws is told to the user, unless cancelled
     * @param done gets the task's result in the UI thread, unless cancelled or failed
     */
    static <T> Work start(Window owner, String title, Function<Work, T> task, Consumer<T> done) {
        Work work = new Work(owner, title)
        work.thread = new Thread({ work.run(task, done) } as Runnable, 'slideloop-work')
        work.thread.daemon = true
        work.thread.start()
        PauseTransition patience = new PauseTransition(Duration.millis(PATIENCE_MS))
        patience.onFinished = { work.appear() }
        patience.play()
        work
    }

    /**
     * Say how far it is; from the task's thread.
     *
     * @param fraction 0 to 1, negative if nobody knows
     * @throws Problem `interrupted` if the user cancelled
     */
    void at(String text, double fraction = -1) {
        check()
        this.text = text
        this.fraction = fraction
        Platform.runLater { window?.show(text, fraction, null) }
    }

    /** @throws Problem `interrupted` if the user cancelled */
    void check() {
        if (isCancelled) {
            throw new Problem('interrupted', 0, 'Cancelled.', '', false)
        }
    }

    private <T> void run(Function<Work, T> task, Consumer<T> done) {
        T result = null
        Throwable failure = null
        try {
            result = task.apply(this)
        } catch (Throwable err) {
            failure = err
            if (!(err instanceof Problem)) {
                LOG.log(System.Logger.Level.ERROR, title, err)
            }
        }
        Platform.runLater {
            isOver = true
            window?.close()
            if (isCancelled) {
                return
            }
            if (failure == null) {
                done.accept(result)
            } else {
                Say.problem(owner, title, failure)
            }
        }
    }

    private void appear() {
        if (!isOver && !isCancelled) {
            window = new ProgressWindow(owner, title, 'Cancel', { cancel() })
            window.show(text, fraction, null)
        }
    }

    private void cancel() {
        isCancelled = true
        window?.close()
        thread.interrupt()
    }
}
