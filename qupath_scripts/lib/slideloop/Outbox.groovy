package slideloop

import groovy.transform.CompileStatic
import groovy.transform.PackageScope

import java.nio.charset.StandardCharsets
import java.nio.file.Files
import java.nio.file.Path
import java.time.Instant
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.TimeUnit
import java.util.function.Consumer

/**
 * Changes of studies on their way to one server, none of them lost and none done twice.
 *
 * An entry is a map {event_id, time, method, path, body, about}: the request, and in `about` what
 * tells a person which one it is. It is on the disk before anybody is told that it waits, is sent in
 * its turn, one after the other, and leaves when the server has committed it. What the server refuses
 * is kept until a person decides; a server that is away, or wants another token, is waited for. A
 * request whose answer was lost is sent again as it was: the server knows it by its event id.
 *
 * An entry with `undoes`, the event id of a label, takes that label back. If the label is refused or
 * dropped first, both go: the undo would take back another one, and the person has decided already.
 *
 * Every method is safe from every thread and returns at once, but for `close` and `flush`.
 */
@CompileStatic
final class Outbox implements Closeable {

    private static final System.Logger LOG = System.getLogger('slideloop.Outbox')
    private static final long FIRST_PAUSE_MS = 500
    private static final long LONGEST_PAUSE_MS = 5000
    private static final long FLUSH_AT_END_MS = 2000

    /** What happened to an entry, as listeners are told. */
    @CompileStatic
    static final class Event {
        /**
         * `waiting`: it is on the disk. `saved`: the server has it. `refused`: the server does not want
         * it. `dropped`: a person gave it up. `held`: nothing can be sent now, or (then of code
         * `outbox_unusable`) nothing can be written. `resumed`: that is over.
         */
        final String kind
        /** The entry; for `held` the one that waits first, or null; for `resumed` null. */
        final Map<String, Object> entry
        /** The server's answer to it, with `saved`; otherwise null. */
        final Map<String, Object> answer
        /** With `refused` and `held`; otherwise null. */
        final Problem problem

        @PackageScope
        Event(String kind, Map<String, Object> entry, Map<String, Object> answer, Problem problem) {
            this.kind = kind
            this.entry = entry
            this.answer = answer
            this.problem = problem
        }
    }

    private final Server server
    private final Spool spool
    private final List<Consumer<Event>> listeners = new CopyOnWriteArrayList<>()

    // With the lock of this object.
    private final Map<String, Map<String, Object>> waiting = new LinkedHashMap<>()
    private final Map<String, Map<String, Object>> refused = new LinkedHashMap<>()
    private final Set<String> unwritten = new HashSet<>()
    private String underWay
    private boolean isPoked
    private volatile boolean isClosed
    private volatile Problem held

    private final SpoolThread disk
    private final Thread sender
    private final Thread atExit

    /**
     * Opens the outbox of a folder, which is made where there is none. What was left in it is sent first.
     *
     * @param folder for one server alone; see `folderFor`
     * @throws Problem `outbox_in_use` while another QuPath has it, `outbox_unusable`
     */
    Outbox(Path folder, Server server) {
        this.server = server
        spool = new Spool(folder, server.identity())
        waiting.putAll(spool.waiting)
        refused.putAll(spool.refused)
        // Where the disk does not take an entry it is sent all the same: the server's is the best place then.
        disk = new SpoolThread(spool, { Problem it -> tell(it ? 'held' : 'resumed', null, null, it) } as Consumer<Problem>)
        sender = new Thread({ sendOn() } as Runnable, 'slideloop-outbox')
        sender.daemon = true
        atExit = new Thread({ flush(FLUSH_AT_END_MS) } as Runnable, 'slideloop-outbox-exit')
        Runtime.runtime.addShutdownHook(atExit)
        annulled() // what a power cut left between the refusal of a label and the end of its undo
        disk.start()
        sender.start()
    }

    /** Returns the folder of a server's outbox, named by the hash of its address. */
    static Path folderFor(Path base, Server server) {
        base.resolve(Spool.sha256(server.identity().getBytes(StandardCharsets.UTF_8)).take(16))
    }

    /**
     * Returns what is left in the outboxes of other servers, so that it is not forgotten when an
     * address changes: {server, waiting, refused} of each, address and numbers. Reads files: for some ms.
     */
    static List<Map<String, Object>> leftElsewhere(Path base, Server server) {
        Path own = folderFor(base, server)
        List<Path> folders = Files.isDirectory(base) ? Files.list(base).withCloseable { it.toList() } : []
        folders.findAll { Path it -> it != own }.collect { Path it -> Spool.peek(it) }
            .findAll { Map<String, Object> it -> it['waiting'] || it['refused'] }
    }

    /**
     * Takes a change. It is written and synced by a thread of the outbox within milliseconds; then
     * listeners are told `waiting`, and it is sent in its turn.
     *
     * @param given `method`, `path` (below /api/v1), `body`, `about`, and `undoes` where it is an undo
     *     of a known label; `event_id` and `time` are made where missing
     * @return the entry as it is kept
     */
    Map<String, Object> append(Map<String, Object> given) {
        Map<String, Object> entry = new LinkedHashMap<>(given)
        String id = (entry['event_id'] ?: UUID.randomUUID()) as String
        entry['event_id'] = id
        entry['time'] = entry['time'] ?: Instant.now().toString()
        entry['body'] = more((Map<String, Object>) entry['body'], 'event_id', id)
        // As the disk will give it back, so that it is sent the same after a restart.
        Map<String, Object> kept = (Map<String, Object>) Json.read(Json.write(entry))
        List<Map<String, Object>> gone
        synchronized (this) {
            if (isClosed) {
                throw new Problem('outbox_closed', 0, 'The connection to the server was closed.', 'Connect again.', false)
            }
            waiting[id] = kept
            unwritten << id
            disk.put([line('add', kept)]) { written(kept) }
            gone = annulled()
        }
        gone.each { Map<String, Object> it -> tell('dropped', it, null, null) }
        kept
    }

    /** Returns the entries that the server has not acknowledged, in the order to be sent. */
    synchronized List<Map<String, Object>> waiting() {
        new ArrayList<Map<String, Object>>(waiting.values())
    }

    /** Returns those of one study. */
    List<Map<String, Object>> waitingOf(String studyId) {
        waiting().findAll { Map<String, Object> it -> isOf(it, studyId) } as List<Map<String, Object>>
    }

    /** Whether an entry changes a study. */
    static boolean isOf(Map<String, Object> entry, String studyId) {
        String path = "/studies/${Server.segment(studyId)}"
        entry['path'] == path || (entry['path'] as String).startsWith("${path}/")
    }

    /** Returns the refused entries, each with its `problem` (a Problem) beside its own fields. */
    synchronized List<Map<String, Object>> refused() {
        refused.values().collect { Map<String, Object> it ->
            more((Map<String, Object>) it['entry'], 'problem', Problem.of((Map) it['problem']))
        } as List<Map<String, Object>>
    }

    /** Whether an entry that waits is on the disk. */
    synchronized boolean isWritten(String eventId) {
        !unwritten.contains(eventId)
    }

    /** Returns why nothing is sent now, or nothing can be written; null if all is well. */
    Problem trouble() {
        disk.trouble() ?: held
    }

    /** Returns how many lines of the disk's log could not be read and were set aside beside it. */
    int nSetAside() {
        spool.nSetAside
    }

    /** Tries at once, and does not wait the pause out: after a new token, when the server is back. */
    synchronized void poke() {
        isPoked = true
        notifyAll()
    }

    /**
     * Gives up a refused entry, or one that waits and is not being sent right now.
     *
     * @return false if there is none such
     */
    boolean drop(String eventId) {
        List<Map<String, Object>> gone = []
        synchronized (this) {
            if (eventId == underWay) {
                return false
            }
            Map<String, Object> refusal = refused.remove(eventId)
            Map<String, Object> entry = refusal != null ? (Map<String, Object>) refusal['entry'] : waiting.remove(eventId)
            if (entry == null) {
                return false
            }
            gone << entry
            gone.addAll(undosOf(eventId))
            goneFor(gone)
        }
        gone.each { Map<String, Object> it -> tell('dropped', it, null, null) }
        true
    }

    /**
     * Sends a refused entry again, behind all that wait.
     *
     * @return false if there is none such
     */
    boolean retry(String eventId) {
        synchronized (this) {
            Map<String, Object> refusal = refused.remove(eventId)
            if (refusal == null) {
                return false
            }
            Map<String, Object> entry = (Map<String, Object>) refusal['entry']
            waiting[eventId] = entry
            unwritten << eventId
            disk.put([line('again', eventId)]) { written(entry) }
        }
        true
    }

    /** Has events told, each in the thread that it happened in: to be passed on, not worked on. */
    void onEvent(Consumer<Event> listener) {
        listeners << listener
    }

    /** Ends what `onEvent` began. */
    void removeListener(Consumer<Event> listener) {
        listeners.remove(listener)
    }

    /**
     * Waits until all that was taken before is on the disk.
     *
     * @param timeoutMs the longest wait, in ms
     * @return whether it is
     */
    boolean flush(long timeoutMs) {
        disk.flush(timeoutMs)
    }

    /** Ends it: what waits stays on the disk for the next one. Blocks until it is there, at most 2 s. */
    @Override
    void close() {
        synchronized (this) {
            if (isClosed) {
                return
            }
            isClosed = true
            notifyAll()
        }
        sender.interrupt()
        sender.join(FLUSH_AT_END_MS)
        disk.end(FLUSH_AT_END_MS)
        spool.close()
        try {
            Runtime.runtime.removeShutdownHook(atExit)
        } catch (IllegalStateException ignored) {
            // The machine is ending already.
        }
    }

    // The disk ------------------------------------------------------------------------------------

    private void written(Map<String, Object> entry) {
        boolean isSafe = disk.trouble() == null
        synchronized (this) {
            isSafe &= waiting.containsKey(entry['event_id'])
            unwritten.remove(entry['event_id'] as String)
            notifyAll()
        }
        if (isSafe) {
            tell('waiting', entry, null, null)
        }
    }

    // The server ----------------------------------------------------------------------------------

    private void sendOn() {
        long pause = FIRST_PAUSE_MS
        boolean isFirst = true
        try {
            while (!isClosed) {
                Map<String, Object> entry = first()
                if (entry == null) {
                    return
                }
                Problem problem = sent(entry)
                if (problem == null || !problem.passing) {
                    pause = FIRST_PAUSE_MS
                    isFirst = true
                    resume()
                    continue
                }
                if (isFirst && problem.code == Problem.UNREACHABLE) {
                    // Perhaps only a connection kept for too long: not worth a banner.
                    isFirst = false
                    continue
                }
                hold(entry, problem)
                waitOut(pause)
                pause = Math.min(2 * pause, LONGEST_PAUSE_MS)
            }
        } catch (InterruptedException ignored) {
            // Closed.
        }
    }

    private synchronized Map<String, Object> first() {
        while (!isClosed) {
            if (waiting) {
                Map<String, Object> entry = waiting.values().iterator().next()
                if (!unwritten.contains(entry['event_id'])) {
                    underWay = entry['event_id'] as String
                    return entry
                }
            }
            wait()
        }
        null
    }

    /** Sends an entry once; returns why it was not taken, or null if it was. */
    private Problem sent(Map<String, Object> entry) {
        try {
            Object answer = server.send(entry['method'] as String, entry['path'] as String, (Map) entry['body'])
            if (!(answer instanceof Map) || !(((Map) answer)['journal'] instanceof Map)) {
                // A page of somebody's portal is no receipt.
                throw server.stranger(200)
            }
            acknowledge(entry, (Map<String, Object>) answer)
            return null
        } catch (Problem problem) {
            if (!problem.passing) {
                refuse(entry, problem)
            }
            return problem
        } catch (RuntimeException err) {
            // Nothing that one entry does may hold up those behind it.
            Problem fault = new Problem('client_fault', 0, "The request could not be made: ${err}.",
                'Report it; the entry is kept.', false)
            refuse(entry, fault)
            return fault
        } finally {
            synchronized (this) {
                underWay = null
            }
        }
    }

    private void acknowledge(Map<String, Object> entry, Map<String, Object> answer) {
        synchronized (this) {
            waiting.remove(entry['event_id'] as String)
            goneFor([entry])
        }
        tell('saved', entry, answer, null)
    }

    private void refuse(Map<String, Object> entry, Problem problem) {
        String id = entry['event_id'] as String
        List<Map<String, Object>> gone
        synchronized (this) {
            waiting.remove(id)
            refused[id] = [entry: entry, problem: problem.toMap()] as Map<String, Object>
            disk.put([[refused: id, problem: problem.toMap()] as Map<String, Object>], null)
            gone = annulled()
        }
        if (!gone) {
            tell('refused', entry, null, problem)
        }
        gone.each { Map<String, Object> it -> tell('dropped', it, null, null) }
    }

    /** Ends labels that were refused and taken back, both of each, and returns them. */
    private synchronized List<Map<String, Object>> annulled() {
        List<Map<String, Object>> gone = []
        for (String id : new ArrayList<String>(refused.keySet())) {
            List<Map<String, Object>> undos = undosOf(id)
            if (undos) {
                gone << (Map<String, Object>) refused.remove(id)['entry']
                gone.addAll(undos)
            }
        }
        goneFor(gone)
        gone
    }

    /** Takes the undos of a label out of what waits, and returns them. */
    private List<Map<String, Object>> undosOf(String eventId) {
        List<Map<String, Object>> found = waiting.values().findAll { Map<String, Object> it ->
            it['undoes'] == eventId && it['event_id'] != underWay
        } as List<Map<String, Object>>
        found.each { Map<String, Object> it -> waiting.remove(it['event_id'] as String) }
        found
    }

    private void goneFor(List<Map<String, Object>> entries) {
        if (entries) {
            disk.put(entries.collect { Map<String, Object> it -> line('gone', it['event_id']) }, null)
        }
    }

    private void hold(Map<String, Object> entry, Problem problem) {
        held = problem
        if (!isClosed) {
            tell('held', entry, null, problem)
        }
    }

    private void resume() {
        if (held != null) {
            held = null
            tell('resumed', null, null, null)
        }
    }

    private synchronized void waitOut(long pauseMs) {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(pauseMs)
        while (!isPoked && !isClosed) {
            long left = TimeUnit.NANOSECONDS.toMillis(end - System.nanoTime())
            if (left <= 0) {
                break
            }
            wait(left)
        }
        isPoked = false
    }

    // ---------------------------------------------------------------------------------------------

    private static Map<String, Object> line(String what, Object value) {
        more(null, what, value)
    }

    private static Map<String, Object> more(Map<String, Object> fields, String name, Object value) {
        Map<String, Object> all = new LinkedHashMap<String, Object>(fields ?: Collections.<String, Object>emptyMap())
        all[name] = value
        all
    }

    private void tell(String kind, Map<String, Object> entry, Map<String, Object> answer, Problem problem) {
        Event event = new Event(kind, entry, answer, problem)
        listeners.each { Consumer<Event> listener ->
            try {
                listener.accept(event)
            } catch (RuntimeException err) {
                // A window's fault must not keep labels from being sent.
                LOG.log(System.Logger.Level.WARNING, 'A listener of the outbox failed', err)
            }
        }
    }
}
