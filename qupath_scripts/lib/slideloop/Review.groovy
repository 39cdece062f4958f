package slideloop

import groovy.transform.CompileStatic

import java.text.Normalizer
import java.util.concurrent.Executor
import java.util.concurrent.Executors
import java.util.concurrent.ScheduledExecutorService
import java.util.concurrent.ScheduledFuture
import java.util.concurrent.ThreadFactory
import java.util.concurrent.TimeUnit
import java.util.function.Consumer

/**
 * The review of one study at a time: which patch is shown, what it was labelled, what comes next.
 * Has no widgets.
 *
 * Every public method is called in the UI thread, that of the executor given, and returns at once;
 * listeners are called in it too. `view` may be called from anywhere. Requests run in daemon threads.
 *
 * What is on the screen is the server's round as it was when nothing was on its way to it, and on top
 * what the expert did since. So a label and its undo are seen at once, whether the server is there or
 * not, and a round that the server gave while something was on its way is asked for again.
 */
@CompileStatic
final class Review implements Closeable {

    /** Answers beside the classes: not sure which; of no use (an artefact). */
    static final List<String> OTHER_ANSWERS = ['unsure', 'exclude'].asImmutable()

    /** Seconds that the server keeps a question for the next patches. Short, since its answer has the progress too. */
    private static final int WAIT_S = 2
    private static final long LEAST_PAUSE_MS = 1000
    private static final long FIRST_PAUSE_MS = 500
    private static final long LONGEST_PAUSE_MS = 5000
    private static final long DRAIN_MS = 3000
    private static final List<String> UNFINISHED = ['loading', 'indexing', 'training', 'problem']

    /** A label given here, and what was on the screen before it. */
    @CompileStatic
    private static final class Step {
        String eventId
        Map<String, Object> round
        Map<String, String> labels
        Map<String, Object> patch
    }

    /** Who judges, as it will stand in the study's journal; null: nobody named. */
    String reader

    private final Server server
    private final Outbox outbox
    private final Executor ui
    private final List<Runnable> listeners = []
    private final Consumer<Outbox.Event> ear
    private volatile View snapshot
    private boolean isToldSoon

    // All of these in the UI thread only.
    private String studyId
    private int visit
    private ScheduledExecutorService network
    private ScheduledFuture<?> asked
    private boolean isAsking
    /** Whether the server's round may differ from ours beyond what is on its way. */
    private boolean isStale
    /** Counts what may change the server's round; an answer to an earlier question tells nothing then. */
    private int stamp
    private long pause = FIRST_PAUSE_MS
    private boolean isTakingBack
    private String undoUnderWay
    private final Set<String> mine = new HashSet<>()
    private final Deque<Step> steps = new ArrayDeque<>()

    private String state = 'closed'
    private Map<String, Object> study
    private Map<String, Object> round
    private Map<String, String> labels = [:]
    private List<Map<String, Object>> next = []
    private int position
    private double progress = 1
    private Problem problem
    private String serverNote
    private String passingNote

    /**
     * @param ui runs what it is given in the UI thread, one after the other: Platform.&runLater
     */
    Review(Server server, Outbox outbox, Executor ui) {
        this.server = server
        this.outbox = outbox
        this.ui = ui
        snapshot = look()
        ear = { Outbox.Event event -> ui.execute { happened(event) } } as Consumer<Outbox.Event>
        outbox.onEvent(ear)
    }

    /** Opens a study and asks for its round; another one that is open is closed. Its id is not looked at. */
    void open(String studyId) {
        leave()
        this.studyId = studyId
        state = 'loading'
        network = Executors.newScheduledThreadPool(2, { Runnable work ->
            Thread thread = new Thread(work, 'slideloop-review')
            thread.daemon = true
            thread
        } as ThreadFactory)
        goOn()
        changed()
    }

    /** Asks for the study and its round again: after a query, new settings, or undo in the menu. */
    void refresh() {
        if (state != 'closed') {
            isStale = true
            hurry()
            changed()
        }
    }

    /** Leaves the study; what is on its way is sent all the same. It can be opened again. */
    @Override
    void close() {
        leave()
        changed()
    }

    /** Has a listener called in the UI thread, soon after each change; several changes may be one call. */
    void onChange(Runnable listener) {
        listeners << listener
    }

    /** Returns what is seen now; from any thread. */
    View view() {
        snapshot
    }

    /**
     * Labels the current patch and moves on to the next one without a label. A patch labelled before
     * may be labelled anew while its round is open. Ignored unless the state is `labelling`.
     *
     * @param name one of the study's classes, unsure or exclude
     */
    void label(String name) {
        passingNote = null
        if (isTakingBack) {
            passingNote = 'The latest label is being taken back: a moment.'
        } else if (state == 'labelling' && current() != null) {
            take(Normalizer.normalize(name, Normalizer.Form.NFC))
        }
        changed()
    }

    /** Moves by some patches, backward if negative; stops at the first and the last. */
    void move(int step) {
        passingNote = null
        position = Math.max(0, Math.min(patches().size() - 1, position + step))
        changed()
    }

    /** Makes a patch of the round the current one; ignored if it is none. */
    void select(String patchId) {
        passingNote = null
        int found = patches().findIndexOf { Map<String, Object> it -> it['id'] == patchId }
        position = found < 0 ? position : found
        changed()
    }

    /**
     * Takes back the latest label and shows its patch again: at once if it was given since the study
     * was opened here, over the border of a round too; otherwise by the server's word, in less than a
     * second. Says in `note` why not where the latest step is no label.
     */
    void back() {
        passingNote = null
        if (state != 'closed' && !isTakingBack) {
            if (pending().any { Map<String, Object> it -> !mine.contains(it['event_id']) }) {
                steps.clear()
            }
            if (steps) {
                takeBack(steps.pop())
            } else if (round != null) {
                askForLatest()
            }
        }
        changed()
    }

    /** Gives up a refused change; see Outbox.drop. */
    void drop(String eventId) {
        outbox.drop(eventId)
        changed()
    }

    /** Sends a refused change again; see Outbox.retry. */
    void retry(String eventId) {
        outbox.retry(eventId)
        changed()
    }

    /** Ends for good: closes, and hears no more of the outbox. */
    void dispose() {
        close()
        outbox.removeListener(ear)
    }

    // What the expert does ------------------------------------------------------------------------

    private void take(String name) {
        if (!(name in classes()) && !(name in OTHER_ANSWERS)) {
            passingNote = "\"${name}\" is no class of this study."
            return
        }
        Map<String, Object> patch = current()
        Map<String, Object> body = [label: name, round_id: round['round_id']] as Map<String, Object>
        if (reader) {
            body['reader'] = reader
        }
        String path = "/studies/${Server.segment(studyId)}/labels/${Server.segment(patch['id'])}"
        String id = send('PUT', path, body, about(patch, name, round), null)
        steps.push(new Step(eventId: id, round: round, labels: new LinkedHashMap<>(labels), patch: patch))
        labels[patch['id'] as String] = name
        int n = patches().size()
        int found = (1..n).findIndexOf { int it -> isOpen(patches()[(position + it) % n]) }
        if (found >= 0) {
            position = (position + 1 + found) % n
        } else {
            waitForNext()
        }
    }

    private void waitForNext() {
        state = 'training'
        progress = 0
        serverNote = null
    }

    private void takeBack(Step step) {
        String label = snapshot.labels[step.patch['id']] ?: ''
        send('POST', undoPath(), [scope: 'last'] as Map<String, Object>, undoAbout(step.patch, label, step.round), step.eventId)
        if (round != null && round['round_id'] != step.round['round_id']) {
            next = patches()
        }
        round = step.round
        labels = step.labels
        state = 'labelling'
        progress = 1
        serverNote = null
        position = patches().findIndexOf { Map<String, Object> it -> it['id'] == step.patch['id'] }
    }

    /** Asks the journal what the latest step is, since it was not made here. */
    private void askForLatest() {
        isTakingBack = true
        passingNote = 'Taking back the latest label.'
        String id = studyId
        int ours = visit
        network.execute { ->
            Map<String, Object> latest = null
            Problem why = null
            try {
                waitUntilSent(id)
                latest = Journal.latestAction(server, id)
            } catch (Problem err) {
                why = err
            }
            ui.execute { ->
                if (ours == visit) {
                    takeBackAtServer(latest, why)
                    goOn()
                    changed()
                }
            }
        }
    }

    private void waitUntilSent(String id) {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(DRAIN_MS)
        while (outbox.waiting().any { Map<String, Object> it -> isOf(it, id) }) {
            if (outbox.trouble() != null) {
                throw outbox.trouble()
            }
            if (System.nanoTime() > end) {
                throw new Problem('busy', 0, 'The labels before it are still on their way.', 'Try again in a moment.', true)
            }
            sleep(20)
        }
    }

    private void takeBackAtServer(Map<String, Object> latest, Problem why) {
        isTakingBack = false
        String type = latest?.get('type')
        if (why != null) {
            passingNote = "Nothing was taken back. ${why.message}"
        } else if (type == 'label') {
            Map data = (Map) latest['data']
            Map<String, Object> patch = patches().find { Map<String, Object> it -> it['id'] == data['patch'] } ?:
                ([id: data['patch']] as Map<String, Object>)
            isTakingBack = true
            undoUnderWay = send('POST', undoPath(), [scope: 'last'] as Map<String, Object>,
                undoAbout(patch, data['label'] as String, null), null)
            passingNote = 'Taking back the latest label.'
        } else if (type == 'query') {
            passingNote = 'There is no label before this one but the query itself; Undo in the menu takes that back.'
        } else if (type == 'region') {
            passingNote = 'The latest step is a region, not a label; Undo in the menu takes that back.'
        } else {
            passingNote = 'There is nothing to take back.'
        }
    }

    private String send(String method, String path, Map<String, Object> body, Map<String, Object> about, String undoes) {
        Map<String, Object> entry = [event_id: UUID.randomUUID().toString(), method: method, path: path, body: body, about: about] as Map<String, Object>
        if (undoes != null) {
            entry['undoes'] = undoes
        }
        String id = entry['event_id'] as String
        mine << id
        stamp++
        outbox.append(entry)
        id
    }

    // What comes from outside ---------------------------------------------------------------------

    private void happened(Outbox.Event event) {
        if (state == 'closed') {
            changed()
            return
        }
        if (event.kind == 'resumed') {
            hurry()
        } else if (event.entry != null && event.kind != 'held' && isOf(event.entry, studyId)) {
            stamp++
            happenedHere(event)
        }
        goOn()
        changed()
    }

    private void happenedHere(Outbox.Event event) {
        String id = event.entry['event_id'] as String
        boolean isMine = event.kind == 'waiting' ? mine.contains(id) : mine.remove(id)
        if (event.kind == 'waiting') {
            if (!isMine) {
                steps.clear()
            }
            return
        }
        if (id == undoUnderWay) {
            undoUnderWay = null
            isTakingBack = false
            passingNote = null
        }
        if (event.kind == 'saved' && isMine) {
            saved(event)
            return
        }
        isStale = true
        if (event.kind == 'refused') {
            steps.clear()
            forget(event.entry)
        }
    }

    private void saved(Outbox.Event event) {
        Map<String, Object> answer = event.answer
        if (answer['n_labels'] instanceof Map && study != null) {
            study = new LinkedHashMap<String, Object>(study)
            study['n_labels'] = answer['n_labels']
        }
        if (pending()) {
            return
        }
        if (answer.containsKey('patches')) {
            adopt(answer, ((Map) event.entry['about'])['patch'] as String)
        } else if (!(answer['remaining'] instanceof Number) ||
            ((Number) answer['remaining']).intValue() != patches().count { Map<String, Object> it -> isOpen(it) }) {
            isStale = true
        }
    }

    /** Takes a refused label off the screen, unless the patch was labelled anew. */
    private void forget(Map<String, Object> entry) {
        Map body = (Map) entry['body']
        String patch = ((Map) entry['about'])?.get('patch')
        boolean isHere = round != null && body['round_id'] != null && body['round_id'] == round['round_id']
        boolean isNewest = !pending().any { Map<String, Object> it -> ((Map) it['about'])?.get('patch') == patch }
        if (isHere && isNewest && labels[patch] == body['label']) {
            labels.remove(patch)
            state = state == 'training' ? 'labelling' : state
        }
    }

    private void goOn(long delayMs = 0) {
        boolean isWanted = isStale || state in UNFINISHED
        if (state != 'closed' && isWanted && !isAsking && !isTakingBack && !pending()) {
            ask(delayMs)
        }
    }

    /** Asks now, and does not wait a pause out. */
    private void hurry() {
        pause = FIRST_PAUSE_MS
        if (isAsking && asked.cancel(false)) {
            isAsking = false
        }
        goOn()
    }

    private void ask(long delayMs) {
        isAsking = true
        int ours = visit, asOf = stamp
        boolean wantsStudy = isStale || study == null
        String path = "/studies/${Server.segment(studyId)}"
        int wait = state in ['indexing', 'training'] ? WAIT_S : 0
        asked = network.schedule({
            Map<String, Object> foundStudy = null, found = null
            Problem why = null
            long start = System.nanoTime()
            try {
                foundStudy = wantsStudy ? (Map<String, Object>) server.get(path) : null
                found = (Map<String, Object>) server.get("${path}/round?wait=${wait}")
            } catch (Problem err) {
                why = err
            }
            long took = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - start)
            ui.execute { ->
                if (ours == visit) {
                    answered(asOf, foundStudy, found, why, took)
                }
            }
        } as Runnable, delayMs, TimeUnit.MILLISECONDS)
    }

    private void answered(int asOf, Map<String, Object> foundStudy, Map<String, Object> found, Problem why, long tookMs) {
        isAsking = false
        study = foundStudy ?: study
        if (why != null) {
            problem = why
            if (!why.passing && !pending()) {
                state = 'problem'
                steps.clear()
            }
            goOn(pause)
            pause = Math.min(2 * pause, LONGEST_PAUSE_MS)
        } else {
            if (problem != null) {
                outbox.poke()
            }
            problem = null
            pause = FIRST_PAUSE_MS
            long rest = 0
            if (asOf == stamp && !pending()) {
                isStale = isStale && foundStudy == null
                adopt(found, null)
                rest = Math.max(0, LEAST_PAUSE_MS - tookMs)
            }
            goOn(rest)
        }
        changed()
    }

    /**
     * Makes the server's round ours; nothing is on its way to it.
     *
     * @param at the patch to show, or null: as it was, or the first without a label
     */
    private void adopt(Map<String, Object> found, String at) {
        List notes = (List) found['notes'] ?: []
        serverNote = notes ? ((Map) notes[0])['text'] as String : null
        progress = ((Number) (found['progress'] ?: 0)).doubleValue()
        Map<String, String> theirs = new LinkedHashMap<>((Map<String, String>) found['labels'] ?: [:])
        String before = state
        boolean isSameSession = round != null && round['session'] == found['session']
        state = found['state'] as String
        if (state != 'labelling') {
            if (!isSameSession || !isWhole()) {
                // Somebody else's query or undo; or no round was seen yet.
                show(found, theirs)
                steps.clear()
            }
            return
        }
        if (round != null && round['round_id'] == found['round_id']) {
            if (theirs != labels) {
                steps.clear()
            }
            round = found
            labels = theirs
        } else {
            if (!(before == 'training' && isSameSession && isWhole())) {
                steps.clear()
            }
            isStale = isStale || study != null && round != null
            show(found, theirs)
        }
        int asked = at == null ? -1 : patches().findIndexOf { Map<String, Object> it -> it['id'] == at }
        position = asked < 0 ? position : asked
    }

    private void show(Map<String, Object> found, Map<String, String> theirs) {
        round = found
        labels = theirs
        next = []
        position = Math.max(0, patches().findIndexOf { Map<String, Object> it -> isOpen(it) })
    }

    private void leave() {
        visit++
        network?.shutdownNow()
        network = null
        state = 'closed'
        studyId = null
        undoUnderWay = null
        serverNote = null
        passingNote = null
        isAsking = isStale = isTakingBack = false
        study = null
        round = null
        problem = null
        labels = [:]
        next = []
        position = 0
        progress = 1
        pause = FIRST_PAUSE_MS
        mine.clear()
        steps.clear()
    }

    // What is seen --------------------------------------------------------------------------------

    private void changed() {
        snapshot = look()
        if (!isToldSoon) {
            isToldSoon = true
            ui.execute { ->
                isToldSoon = false
                listeners.each { Runnable it -> it.run() }
            }
        }
    }

    private View look() {
        List<Map<String, Object>> waiting = outbox.waiting()
        Problem trouble = outbox.trouble() ?: problem
        new View([study: study, round: round, patches: patches(), state: state, position: position, labels: labels,
                  saved: marks(waiting), progress: progress, note: note(waiting.size(), trouble), problem: trouble,
                  waiting: waiting.size(), refused: outbox.refused(), classes: classes(), next: next] as Map<String, Object>)
    }

    private String note(int nWaiting, Problem trouble) {
        if (passingNote != null) {
            return passingNote
        }
        String changes = nWaiting == 1 ? '1 change is' : "${nWaiting} changes are"
        if (nWaiting && trouble != null) {
            return trouble.code == 'outbox_unusable' ? "${changes} on the way." :
                "${changes} safe on this machine, and sent when the server takes them."
        }
        if (nWaiting && state == 'loading') {
            return "${changes} left from before, and sent first."
        }
        serverNote
    }

    private Map<String, String> marks(List<Map<String, Object>> waiting) {
        Map<String, String> marks = new LinkedHashMap<>()
        if (studyId == null) {
            return marks
        }
        outbox.refused().each { Map<String, Object> it ->
            String patch = patchOf(it)
            if (patch != null && !labels.containsKey(patch)) {
                marks[patch] = 'refused'
            }
        }
        labels.keySet().each { String patch -> marks[patch] = 'saved' }
        Set<Object> undone = waiting.collect { Map<String, Object> it -> it['undoes'] } as Set<Object>
        waiting.findAll { Map<String, Object> it -> !undone.contains(it['event_id']) }.each { Map<String, Object> it ->
            String patch = patchOf(it)
            if (patch != null && labels.containsKey(patch)) {
                if (outbox.isWritten(it['event_id'] as String)) {
                    marks[patch] = 'waiting'
                } else {
                    marks.remove(patch)
                }
            }
        }
        marks
    }

    /** Returns the patch that an entry labels in the round on the screen, or null. */
    private String patchOf(Map<String, Object> entry) {
        boolean isHere = isOf(entry, studyId) && round != null && ((Map) entry['body'])['round_id'] == round['round_id']
        isHere && round['round_id'] != null ? ((Map) entry['about'])?.get('patch') as String : null
    }

    private Map<String, Object> about(Map<String, Object> patch, String label, Map<String, Object> of) {
        Map<String, Object> about = [study: study?.get('name'), patch: patch['id'], label: label] as Map<String, Object>
        ['slide', 'x', 'y', 'width', 'height'].each { String it -> about[it] = patch[it] }
        int number = 1 + ((List<Map<String, Object>>) of['patches']).findIndexOf { Map<String, Object> it -> it['id'] == patch['id'] }
        about['session'] = of['session']
        about['round'] = of['round']
        about['text'] = "${label}: patch ${number} of round ${of['round']}, session ${of['session']}".toString()
        about
    }

    private Map<String, Object> undoAbout(Map<String, Object> patch, String label, Map<String, Object> of) {
        Map<String, Object> about = of == null ?
            [study: study?.get('name'), patch: patch['id'], label: label, text: "${label}".toString()] as Map<String, Object> :
            about(patch, label, of)
        about['text'] = "Take back ${about['text']}".toString()
        about
    }

    private String undoPath() {
        "/studies/${Server.segment(studyId)}/undo"
    }

    private List<Map<String, Object>> pending() {
        outbox.waiting().findAll { Map<String, Object> it -> isOf(it, studyId) } as List<Map<String, Object>>
    }

    private static boolean isOf(Map<String, Object> entry, String studyId) {
        (entry['path'] as String).startsWith("/studies/${Server.segment(studyId)}/")
    }

    private Map<String, Object> current() {
        position < patches().size() ? patches()[position] : null
    }

    private List<Map<String, Object>> patches() {
        (List<Map<String, Object>>) round?.get('patches') ?: []
    }

    private List<String> classes() {
        (List<String>) study?.get('classes') ?: []
    }

    private boolean isOpen(Map<String, Object> patch) {
        !labels.containsKey(patch['id'])
    }

    private boolean isWhole() {
        patches() && !patches().any { Map<String, Object> it -> isOpen(it) }
    }
}
