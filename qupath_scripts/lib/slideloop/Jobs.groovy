package slideloop

import groovy.transform.CompileStatic

import java.util.function.Consumer

/** The server's jobs, waited for. Never in the UI thread. */
@CompileStatic
final class Jobs {

    static final List<String> UNFINISHED = ['queued', 'running'].asImmutable()

    private Jobs() {
    }

    /**
     * Waits for the job of an answer, if it has one.
     *
     * @param answer as the server gives it: `job` may be missing or null
     * @param wait_s how long the server may keep each question
     * @param each gets the job as it is, before each question; what it throws ends the wait
     * @throws Problem why the job failed; `job_ended` if it was cancelled
     */
    static void settle(Server server, Map<String, Object> answer, int wait_s, Consumer<Map<String, Object>> each) {
        Map<String, Object> job = (Map<String, Object>) answer['job']
        while (job != null && job['state'] in UNFINISHED) {
            each.accept(job)
            job = (Map<String, Object>) server.get("/jobs/${Server.segment(job['id'])}?wait=${wait_s}")
        }
        if (job != null && job['state'] != 'done') {
            throw job['error'] instanceof Map ? Problem.of((Map) job['error']) :
                new Problem('job_ended', 0, "The server's work on it was ${job['state']}.", 'Try again.', true)
        }
    }
}
