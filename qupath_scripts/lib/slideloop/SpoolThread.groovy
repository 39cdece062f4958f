package slideloop

import groovy.transform.CompileStatic
import groovy.transform.PackageScope

import java.util.concurrent.BlockingQueue
import java.util.concurrent.CountDownLatch
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import java.util.function.Consumer

/**
 * The one thread that writes a spool, so that no window waits for a disk.
 *
 * What comes while the disk is busy is written together. What could not be written is tried again
 * every some seconds, and with whatever comes next.
 */
@CompileStatic
@PackageScope
final class SpoolThread {

    private static final long AGAIN_MS = 5000
    private static final Job END = new Job([], null)

    /** Lines for the disk, and what to do when they are there, or could not be written. */
    @CompileStatic
    private static final class Job {
        final List<Map<String, Object>> lines
        final Runnable after

        Job(List<Map<String, Object>> lines, Runnable after) {
            this.lines = lines
            this.after = after
        }
    }

    private final Spool spool
    private final Consumer<Problem> told
    private final BlockingQueue<Job> jobs = new LinkedBlockingQueue<>()
    private final Thread thread
    private volatile Problem trouble

    /**
     * @param told is given, in this thread, why lines could not be written, and null when they could again
     */
    SpoolThread(Spool spool, Consumer<Problem> told) {
        this.spool = spool
        this.told = told
        thread = new Thread({ work() } as Runnable, 'slideloop-outbox-disk')
        thread.daemon = true
    }

    void start() {
        thread.start()
    }

    /** Returns why the last lines are not on the disk; null if they are. */
    Problem trouble() {
        trouble
    }

    /**
     * Has lines written behind those before.
     *
     * @param after run in this thread when they were written, or tried; may be null
     */
    void put(List<Map<String, Object>> lines, Runnable after) {
        jobs << new Job(lines, after)
    }

    /** Waits until all that was put before is on the disk, at most some ms; returns whether it is. */
    boolean flush(long timeoutMs) {
        CountDownLatch done = new CountDownLatch(1)
        put([]) { done.countDown() }
        done.await(timeoutMs, TimeUnit.MILLISECONDS) && trouble == null
    }

    /** Writes what was put, and ends; waits for that at most some ms. */
    void end(long timeoutMs) {
        // Not by an interrupt, which would close the file in the middle of a line.
        jobs << END
        thread.join(timeoutMs)
    }

    private void work() {
        List<Job> found = []
        while (!found.contains(END)) {
            found = []
            Job first = trouble == null ? jobs.take() : jobs.poll(AGAIN_MS, TimeUnit.MILLISECONDS)
            if (first != null) {
                found << first
            }
            jobs.drainTo(found)
            List<Map<String, Object>> lines = []
            found.each { Job job -> lines.addAll(job.lines) }
            if (lines || trouble != null) {
                write(lines)
            }
            found.each { Job job -> job.after?.run() }
        }
    }

    private void write(List<Map<String, Object>> lines) {
        Problem before = trouble
        try {
            spool.write(lines)
            trouble = null
        } catch (Problem problem) {
            trouble = problem
        }
        if (trouble != null || before != null) {
            told.accept(trouble)
        }
    }
}
