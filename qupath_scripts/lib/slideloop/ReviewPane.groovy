package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform
import javafx.css.PseudoClass
import javafx.geometry.Pos
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.StackPane
import javafx.scene.layout.VBox
import javafx.scene.paint.Color
import javafx.stage.Screen

import java.util.concurrent.Executor

/**
 * The content of the review window: shows the review's view, and turns clicks and commands into
 * calls of the review. A label is taken only for the patch whose picture has been seen (`KeyGate`).
 * UI thread only.
 */
@CompileStatic
final class ReviewPane extends StackPane {

    private static final PseudoClass IDLE = PseudoClass.getPseudoClass('idle')
    private static final int LARGE_PX = 720
    private static final int WIDE_PX = 400
    private static final int SMALL_PX = 104
    /** How many of the patches to come are read at all scales before they are needed. */
    private static final int AHEAD = 4

    private final Review review
    private final Host host
    private final Pictures pictures
    private final KeyGate gate
    private final double screenScale = Screen.primary.outputScaleX

    private final HeaderLine header = new HeaderLine()
    private final PatchPane patchPane = new PatchPane()
    private final ClassLegend legend
    private final ThumbnailStrip strip
    private final StatusLine status
    private final RefusedPanel refused

    /** Id of the patch on display; null while there is none to be judged. */
    private String onDisplay
    private boolean awake
    private boolean isListening
    private boolean hasFocus

    /** @param gate decides which keys and clicks may label */
    ReviewPane(Review review, Host host, KeyGate gate) {
        this.review = review
        this.host = host
        this.gate = gate
        pictures = new Pictures(host, { Runnable task -> Platform.runLater(task) } as Executor)
        legend = new ClassLegend({ String answer -> labelByClick(answer) }, { back() })
        strip = new ThumbnailStrip({ Map patch -> select(patch) })
        refused = new RefusedPanel({ String id -> review.retry(id) }, { String id -> review.drop(id) })
        status = new StatusLine({ refused.visible = !refused.visible })
        getStyleClass().add('slideloop-review')

        legend.prefWidth = 230
        legend.minWidth = 230
        legend.maxWidth = 380
        HBox.setHgrow(legend, Priority.ALWAYS)
        HBox middle = new HBox(patchPane, legend)
        middle.alignment = Pos.CENTER
        middle.styleClass.add('middle')
        VBox.setVgrow(middle, Priority.ALWAYS)
        getChildren().addAll(new VBox(header, middle, strip, status), refused)
        setAlignment(refused, Pos.BOTTOM_RIGHT)
        pictures.onArrival { WantedPicture wanted -> arrived(wanted) }
    }

    /** Make one of everything, and throw it away: nodes that no window has may be made in any thread. */
    static void warm() {
        new HeaderLine()
        new PatchPane().say('', '', 0d, true)
        new ClassLegend({ String answer -> }, { }).hold(['A'], (String name) -> Color.BLACK)
        Map patch = [id: '', rank: 0L, reason: '']
        new ThumbnailStrip({ Map chosen -> }).hold(1, 1)[0].show(patch, 'A', 'A', Color.BLACK, 'saved', true)
        new StatusLine({ }).count(1, 1, true)
        new RefusedPanel({ String id -> }, { String id -> }).show([[event_id: '', time: '', path: '']] as List<Map>)
    }

    /** Begin or cease to follow the review; a window that is not shown moves no viewer. */
    void setAwake(boolean awake) {
        if (awake && !isListening) {
            isListening = true
            review.onChange { refresh() }
        }
        this.awake = awake
        onDisplay = null
        gate.hidden()
        refresh()
    }

    /** Keys reach this window, or do not; which is shown. */
    void showFocus(boolean focused) {
        hasFocus = focused
        legend.pseudoClassStateChanged(IDLE, !focused)
        refresh()
    }

    /** Another image is on display in the program around: names and pictures may have changed. */
    void imagesChanged() {
        pictures.forgetProblems()
        onDisplay = null
        refresh()
    }

    /** Read no more pictures. */
    void dispose() {
        awake = false
        pictures.close()
    }

    /** Give the current patch a label, unless its picture has not been seen yet. */
    void label(String answer) {
        if (gate.mayLabel()) {
            labelNow(answer)
        }
    }

    private void labelByClick(String answer) {
        if (gate.mayLabelByClick()) {
            labelNow(answer)
        }
    }

    private void labelNow(String answer) {
        View view = review.view()
        // The review may be ahead of the screen by an event: what counts is the patch that was seen.
        if (view.state == 'labelling' && onDisplay != null && view.patch?.id == onDisplay) {
            legend.flash(answer)
            review.label(answer)
        }
        refresh()
    }

    /** Take back the last label. */
    void back() {
        review.back()
        refresh()
    }

    /** Go to a neighbour: `columns` to the right, `rows` down. */
    void move(int columns, int rows) {
        review.move(columns + rows * strip.columns())
        refresh()
    }

    private void select(Map patch) {
        review.select(patch.id as String)
        refresh()
    }

    private void refresh() {
        if (!awake) {
            return
        }
        View view = review.view()
        String queryClass = (view.round?.query as Map)?.label as String
        Map patch = view.state == 'labelling' ? view.patch : null
        header.show(view, queryClass == null ? null : colour(queryClass))
        legend.hold(view.classes, (String name) -> colour(name))
        legend.show(patch == null ? null : view.labels[patch.id as String], numbers(view))
        showThumbnails(view, queryClass, patch)
        sayWhatGoesOn(view)
        status.count(view.waiting, view.refused.size(), !view.labels.isEmpty())
        refused.show(view.refused as List<Map>)
        pictures.want(wanted(view, patch))
        showPatch(view, patch)
    }

    private void showThumbnails(View view, String queryClass, Map current) {
        List<Thumbnail> thumbnails = strip.hold(view.patches.size(), places(view))
        for (int i = 0; i < thumbnails.size(); i++) {
            Map patch = view.patches[i]
            String id = patch.id as String, label = view.labels[id]
            thumbnails[i].show(patch, queryClass, label, label == null ? null : colour(label), view.saved[id],
                id == current?.get('id'))
            thumbnails[i].picture(pictures.get(small(patch))?.image)
        }
    }

    /** The last rounds may have fewer patches than the others; their places stay. */
    private static int places(View view) {
        Object k = view.study?.get('k')
        k instanceof Number ? ((Number) k).intValue() : 0
    }

    private void showPatch(View view, Map patch) {
        String label = patch == null ? null : view.labels[patch.id as String]
        patchPane.label(label == null ? null : colour(label))
        if (patch == null) {
            gate.hidden()
            onDisplay = null
            return
        }
        if (patch.id == onDisplay) {
            return
        }
        onDisplay = patch.id as String
        gate.hidden()
        List<WantedPicture> scales = large(patch)
        for (int i = 0; i < scales.size(); i++) {
            if (!place(i, pictures.get(scales[i]))) {
                patchPane.view(i).awaitAnother()
            }
        }
        header.otherImage(host.centre(patch) ? null : host.otherImage(patch.slide as String))
    }

    /** Put a picture, or the reason why there is none, on the screen. Returns false if it is to come. */
    private boolean place(int scale, FoundPicture found) {
        if (found == null) {
            return false
        }
        if (found.image != null) {
            patchPane.view(scale).show(found.image)
        } else {
            patchPane.view(scale).say(found.problem)
        }
        if (scale == 0) {
            gate.shown()
        }
        true
    }

    private void arrived(WantedPicture wanted) {
        if (!awake) {
            return
        }
        View view = review.view()
        Map patch = view.state == 'labelling' ? view.patch : null
        if (patch != null && patch.id == onDisplay) {
            List<WantedPicture> scales = large(patch)
            for (int i = 0; i < scales.size(); i++) {
                if (scales[i].key == wanted.key) {
                    place(i, pictures.get(wanted))
                }
            }
        }
        for (Thumbnail thumbnail : strip.hold(view.patches.size(), places(view))) {
            if (thumbnail.patch != null && small(thumbnail.patch).key == wanted.key) {
                thumbnail.picture(pictures.get(wanted)?.image)
            }
        }
    }

    /** What to read, most urgent first: this patch, the thumbnails, the patches to come. */
    private List<WantedPicture> wanted(View view, Map patch) {
        List<WantedPicture> wanted = []
        if (patch != null) {
            wanted.addAll(large(patch))
        }
        for (Map each : view.patches) {
            wanted << small(each)
        }
        List<Map> open = openAfter(view)
        for (int i = 0; i < open.size() && i < AHEAD; i++) {
            wanted.addAll(large(open[i]))
        }
        for (Map each : view.next) {
            wanted << small(each)
        }
        for (int i = 0; i < view.next.size() && i < AHEAD; i++) {
            wanted.addAll(large(view.next[i]))
        }
        for (int i = AHEAD; i < open.size(); i++) {
            wanted << large(open[i])[0]
        }
        wanted
    }

    /** The patches without a label in the order in which they will come up. */
    private static List<Map> openAfter(View view) {
        List<Map> open = []
        int n = view.patches.size()
        for (int i = 1; i < n; i++) {
            Map patch = view.patches[(view.position + i) % n]
            if (!view.labels.containsKey(patch.id as String)) {
                open << patch
            }
        }
        open
    }

    private List<WantedPicture> large(Map patch) {
        List<WantedPicture> scales = []
        for (Double context : PatchPane.CONTEXTS) {
            scales << wanted(patch, context, context == 1d ? LARGE_PX : WIDE_PX)
        }
        scales
    }

    private WantedPicture small(Map patch) {
        wanted(patch, 1d, SMALL_PX)
    }

    private WantedPicture wanted(Map patch, double context, int px) {
        new WantedPicture(patch, context, (int) Math.round(px * screenScale))
    }

    private void sayWhatGoesOn(View view) {
        switch (view.state) {
            case 'labelling':
                patchPane.sayNothing()
                break
            case 'closed':
                patchPane.say('No study is open', 'Open one from the menu, or query with a rectangle.', null, true)
                break
            case 'loading':
                patchPane.say('Opening the study …', '', -1d, false)
                break
            case 'indexing':
                patchPane.say('Looking at the slide …',
                    'The first patches come as soon as enough of the slide has been looked at.', view.progress, true)
                break
            case 'training':
                patchPane.say('Learning from your labels …',
                    'The next patches come by themselves. Backspace takes back the last label.', view.progress, false)
                break
            case 'session_over':
                patchPane.say('This session is over',
                    'Close this window (Esc), look at the prediction, and query with another rectangle. ' +
                        'Backspace takes back the last label.', null, true)
                break
            case 'exhausted':
                patchPane.say('Every patch has been shown',
                    'Nothing is left to label in these slides. Backspace takes back the last label.', null, true)
                break
            default:
                patchPane.say('The study cannot be shown', view.problem?.message ?: '', null, true)
        }
        status.say(WindowWords.status(view, hasFocus), view.problem != null)
    }

    private static Map<String, ?> numbers(View view) {
        (view.study?.n_labels ?: [:]) as Map<String, ?>
    }

    private Color colour(String answer) {
        if (answer == WindowWords.UNSURE) {
            return Color.rgb(150, 150, 150)
        }
        if (answer == WindowWords.EXCLUDE) {
            return Color.rgb(70, 70, 70)
        }
        int rgb = host.colour(answer)
        Color.rgb((rgb >> 16) & 0xff, (rgb >> 8) & 0xff, rgb & 0xff)
    }
}
