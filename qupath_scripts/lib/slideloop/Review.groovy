package slideloop

import groovy.transform.CompileStatic

import java.text.Normalizer
import java.util.concurrent.Executor
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
    private static final Map<String, Object> UNDO = [scope: 'last'].asImmutable() as Map<String, Object>
    private static final List<String> UNFINISHED = ['loading', 'indexing', 'training', 'problem']

    /** A label given here, and what was on the screen before it. */
    @CompileStatic
    private static final class Step {
        String eventId
        Map<String, Object> round
        Map<String, String> labels
        Map<String, Object> patch
        Map<String, Object> about
    }

    /** Who judges, as it will stand in the study's journal; null: nobody named. */
    String reader

    private final Outbox outbox
    private final Executor ui
    private final Questions questions
    private final List<Runnable> listeners = []
    private final Consumer<Outbox.Event> ear
    private volatile View snapshot
    private boolean isToldSoon

    // All of these in the UI thread only.
    private String studyId
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
        this.outbox = outbox
        this.ui = ui
        questions = new Questions(server, outbox, ui)
        snapshot = look()
        ear = { Outbox.Event event -> ui.execute { happened(event) } } as Consumer<Outbox.Event>
        outbox.onEvent(ear)
    }

    /** Opens a study and asks for its round; another one that is open is closed. Its id is not looked at. */
    void open(String studyId) {
        leave()
        this.studyId = studyId
        state = 'loading'
        questions.start()
        goOn()
        changed()
    }

    /** Asks for the study and its round again: after a change that did not go by the outbox. */
    void refresh() {
        if (state != 'closed') {
            isStale = true
            // Whatever was done past us may be what an undo would take back.
            steps.clear()
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
            trying { take(Normalizer.normalize(name, Normalizer.Form.NFC)) }
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
            if (outbox.waitingOf(studyId).any { Map<String, Object> it -> !mine.contains(it['event_id']) }) {
                steps.clear()
            }
            if (steps) {
                trying { takeBack(steps.pop()) }
            } else if (round != null) {
                isTakingBack = true
                passingNote = 'Taking back the latest label.'
                questions.askForLatest(studyId) { Questions.Latest it -> takeBackAtServer(it) }
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
        Map<String, Object> about = Words.aboutLabel(study, round, patch, name)
        String id = send('PUT', path, body, about, null)
        steps.push(new Step(eventId: id, round: round, labels: new LinkedHashMap<>(labels), patch: patch, about: about))
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
        send('POST', undoPath(), UNDO, Words.aboutUndo(step.about), step.eventId)
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

    /** Takes back a label that was not given here, or says why not. */
    private void takeBackAtServer(Questions.Latest latest) {
        isTakingBack = false
        if (latest.problem != null) {
            passingNote = "Nothing was taken back. ${latest.problem.message}"
        } else if (latest.event?.get('type') == 'label') {
            Map<String, Object> data = (Map<String, Object>) latest.event['data']
            Map<String, Object> label = new LinkedHashMap<>(study: study?.get('name'), patch: data['patch'], label: data['label'])
            trying {
                undoUnderWay = send('POST', undoPath(), UNDO, Words.aboutUndo(label), null)
                isTakingBack = true
            }
        } else {
            passingNote = Words.notTakenBack(latest.event)
        }
        goOn()
        changed()
    }

    /** Says what keeps an entry from being taken. */
    private void trying(Runnable work) {
        try {
            work.run()
        } catch (Problem err) {
            passingNote = err.message
        }
    }

    private String send(String method, String path, Map<String, Object> body, Map<String, Object> about, String undoes) {
        String id = UUID.randomUUID().toString()
        Map<String, Object> entry = [event_id: id, method: method, path: path, body: body, about: about] as Map<String, Object>
        if (undoes != null) {
            entry['undoes'] = undoes
        }
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
        if (event.kind == 'saved' || outbox.trouble() == null && event.kind == 'resumed') {
            problem = null
        }
        if (event.kind == 'resumed') {
            hurry()
        } else if (event.entry != null && event.kind != 'held' && Outbox.isOf(event.entry, studyId)) {
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
        boolean isAwaited = id == undoUnderWay
        if (isAwaited) {
            undoUnderWay = null
            isTakingBack = false
            passingNote = null
        }
        if (event.kind == 'saved' && isMine) {
            saved(event, isAwaited)
            return
        }
        isStale = true
        if (event.kind == 'refused') {
            steps.clear()
            forget(event.entry)
        }
    }

    private void saved(Outbox.Event event, boolean isAwaited) {
        Map<String, Object> answer = event.answer
        if (answer['n_labels'] instanceof Map && study != null) {
            study = new LinkedHashMap<String, Object>(study)
            study['n_labels'] = answer['n_labels']
        }
        if (outbox.waitingOf(studyId)) {
            return
        }
        if (answer.containsKey('patches')) {
            // What was taken back here is on the screen since the key was pressed.
            adopt(answer, isAwaited ? ((Map) event.entry['about'])['patch'] as String : null)
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
        boolean isNewest = !outbox.waitingOf(studyId).any { Map<String, Object> it -> ((Map) it['about'])?.get('patch') == patch }
        if (isHere && isNewest && labels[patch] == body['label']) {
            labels.remove(patch)
            state = state == 'training' ? 'labelling' : state
        }
    }

    private void goOn(long delayMs = 0) {
        boolean isWanted = isStale || state in UNFINISHED
        if (state == 'closed' || !isWanted || questions.open || isTakingBack || outbox.waitingOf(studyId)) {
            return
        }
        int asOf = stamp
        int waitS = state in ['indexing', 'training'] ? WAIT_S : 0
        questions.ask(studyId, isStale || study == null, waitS, delayMs) { Questions.Answer it -> answered(it, asOf) }
    }

    /** Asks now, and does not wait a pause out. */
    private void hurry() {
        pause = FIRST_PAUSE_MS
        questions.giveUp()
        goOn()
    }

    private void answered(Questions.Answer answer, int asOf) {
        boolean isCurrent = asOf == stamp && !outbox.waitingOf(studyId)
        study = answer.study ?: study
        if (answer.problem != null) {
            problem = answer.problem
            if (isCurrent && !problem.passing) {
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
            if (isCurrent) {
                isStale = isStale && answer.study == null
                adopt(answer.round, null)
            }
            goOn(isCurrent ? Math.max(0, LEAST_PAUSE_MS - answer.tookMs) : 0)
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
        if (asked >= 0) {
            position = asked
        } else if (before != 'labelling') {
            position = firstOpen()
        }
    }

    private void show(Map<String, Object> found, Map<String, String> theirs) {
        round = found
        labels = theirs
        next = []
        position = firstOpen()
    }

    private void leave() {
        questions.stop()
        state = 'closed'
        studyId = null
        undoUnderWay = null
        serverNote = null
        passingNote = null
        isStale = isTakingBack = false
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
        int nWaiting = outbox.waiting().size()
        Problem trouble = outbox.trouble() ?: problem
        String note = passingNote ?: Words.ofWaiting(nWaiting, trouble, state == 'loading') ?: serverNote
        new View([
            study: study, classes: classes(), round: round, session: round == null ? 0 : Words.session(study, round),
            patches: patches(), state: state, position: position, labels: labels,
            saved: Marks.of(outbox, round?.get('round_id'), labels), progress: progress, note: note,
            problem: trouble, waiting: nWaiting, refused: outbox.refused(), next: next,
        ] as Map<String, Object>)
    }

    private String undoPath() {
        "/studies/${Server.segment(studyId)}/undo"
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

    private int firstOpen() {
        Math.max(0, patches().findIndexOf { Map<String, Object> it -> isOpen(it) })
    }

    private boolean isWhole() {
        patches() && !patches().any { Map<String, Object> it -> isOpen(it) }
    }
}
