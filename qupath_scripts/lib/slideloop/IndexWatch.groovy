package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform

/**
 * Follows a job of the server's in a small window: how far it is, the remaining time, a button that
 * cancels it. The window goes when the job is over; one that failed says why. UI thread only.
 */
@CompileStatic
final class IndexWatch {

    private static final int WAIT_S = 2
    private static final long PAUSE_MS = 2000
    private static final Set<String> WATCHED = new HashSet<>()

    private final App app
    private final Server server
    private final String id
    private final String imageName
    private final ProgressWindow window

    private IndexWatch(App app, Server server, String id, String imageName) {
        this.app = app
        this.server = server
        this.id = id
        this.imageName = imageName
        window = new ProgressWindow(app.stage, 'index', 'Cancel the index', { cancel() })
    }

    /**
     * Follow a job, unless it is followed already.
     *
     * @param job as `POST /slides` gives it; null where there is nothing to do
     */
    static void start(App app, Map<String, Object> job, String imageName) {
        if (job == null || !(job['state'] in Jobs.UNFINISHED) || !WATCHED.add(job['id'] as String)) {
            return
        }
        IndexWatch watch = new IndexWatch(app, app.connection.server, job['id'] as String, imageName)
        Thread thread = new Thread({ watch.follow() } as Runnable, 'slideloop-index')
        thread.daemon = true
        thread.start()
    }

    private void follow() {
        while (true) {
            Map<String, Object> job = null
            Problem problem = null
            try {
                job = (Map<String, Object>) server.get("/jobs/${Server.segment(id)}?wait=${WAIT_S}")
            } catch (Problem err) {
                problem = err
            }
            boolean isOver = job != null ? !(job['state'] in Jobs.UNFINISHED) : !problem.passing
            Map<String, Object> seen = job
            Problem why = problem
            Platform.runLater { isOver ? end(seen) : show(seen, why) }
            if (isOver) {
                return
            }
            if (problem != null) {
                sleep(PAUSE_MS)
            }
        }
    }

    private void show(Map<String, Object> job, Problem problem) {
        if (job == null) {
            window.show("Looking at ${imageName}. ${problem.message}", -1, null)
            return
        }
        double done = ((Number) job['progress']).doubleValue()
        String share = done > 0 ? ", ${Math.round((double) (100 * done))} %" : ''
        window.show("Looking at ${imageName}${share}. You can label meanwhile.", done > 0 ? done : -1d, (Number) job['eta_s'])
    }

    private void end(Map<String, Object> job) {
        WATCHED.remove(id)
        window.close()
        if (job != null && job['state'] == 'failed') {
            Object error = job['error']
            Say.problem(app.stage, "Index of ${imageName}",
                error instanceof Map ? Problem.of((Map) error) : new Problem('internal', 0, 'The index failed.', '', false))
        }
    }

    private void cancel() {
        Thread thread = new Thread({
            try {
                server.send('DELETE', "/jobs/${Server.segment(id)}", null)
            } catch (Problem problem) {
                Platform.runLater { Say.problem(app.stage, 'Cancel the index', problem) }
            }
        } as Runnable, 'slideloop-cancel')
        thread.daemon = true
        thread.start()
    }
}
