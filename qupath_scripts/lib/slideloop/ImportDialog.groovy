package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform
import javafx.geometry.Insets
import javafx.geometry.Pos
import javafx.scene.Scene
import javafx.scene.control.Button
import javafx.scene.control.CheckBox
import javafx.scene.control.Label
import javafx.scene.control.ProgressIndicator
import javafx.scene.control.RadioButton
import javafx.scene.control.ToggleGroup
import javafx.scene.layout.FlowPane
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.Region
import javafx.scene.layout.VBox
import javafx.stage.Modality
import javafx.stage.Stage
import javafx.stage.Window
import javafx.stage.WindowEvent

import java.util.function.Consumer

/**
 * Asks what a mask is to become, and says before it is done how many objects that makes and what goes.
 * While it is open, until the mask is saved, the image's objects are nobody else's. UI thread; counts in
 * a thread of its own.
 */
@CompileStatic
final class ImportDialog {

    private static final System.Logger LOG = System.getLogger('slideloop.ImportDialog')
    private static final double WIDTH = 480
    /** What a mask can become, in words, by MaskImport.KINDS. */
    static final Map<String, String> WORDS = [
        detections: 'Outlines as detections: one object for each connected area',
        annotations: 'Outlines as annotations: locked, for further analysis inside them',
        tiles: 'Squares: one detection for each patch',
    ].asImmutable()

    private final MaskImport mask
    private final Consumer<List<Runnable>> chosen

    private final Stage stage = new Stage()
    private final ToggleGroup kinds = new ToggleGroup()
    private final Map<String, CheckBox> classes = [:]
    private final CheckBox discard = new CheckBox('Remove the edited ones too')
    private final Label counts = new Label()
    private final Label earlier = new Label()
    private final Label warning = new Label()
    private final ProgressIndicator busy = new ProgressIndicator(-1d)
    private final Button go = new Button('Import')
    private final Button cancel = new Button('Cancel')
    private boolean isOver
    private int asked
    private ImportPlan plan

    /**
     * @param study as the server gives it
     * @param chosen gets what is to be done, in turn, in the UI thread; the dialog stays until `close`
     */
    ImportDialog(Window owner, Map<String, Object> study, MaskImport mask, Consumer<List<Runnable>> chosen) {
        this.mask = mask
        this.chosen = chosen
        VBox content = new VBox(8)
        content.padding = new Insets(14)
        content.prefWidth = WIDTH
        content.children << heading('What the mask becomes')
        MaskImport.KINDS.each { String it ->
            RadioButton button = new RadioButton(WORDS[it])
            button.userData = it
            button.toggleGroup = kinds
            button.selected = it == MaskImport.KINDS[0]
            content.children << button
        }
        content.children << heading('Of which class')
        FlowPane row = new FlowPane(14, 6)
        row.prefWrapLength = WIDTH - 40
        ((List<String>) study['classes']).each { String it ->
            classes[it] = new CheckBox(it)
            classes[it].selected = it == study['positive']
            row.children << classes[it]
        }
        content.children << row
        busy.setPrefSize(18, 18)
        HBox counting = new HBox(8, busy, counts)
        counting.alignment = Pos.CENTER_LEFT
        [counts, earlier, warning].each { Label it ->
            it.wrapText = true
            it.minHeight = Region.USE_PREF_SIZE
        }
        warning.style = '-fx-font-weight: bold;'
        content.children.addAll(counting, earlier, discard, warning, buttons())
        kinds.selectedToggleProperty().addListener { observed, old, now -> count() }
        classes.values().each { CheckBox it -> it.selectedProperty().addListener { observed, old, now -> count() } }
        discard.selectedProperty().addListener { observed, old, now -> count() }
        stage.initOwner(owner)
        stage.initModality(Modality.WINDOW_MODAL)
        stage.title = 'slideloop: import mask'
        stage.scene = new Scene(content)
        DialogKeys.install(stage.scene, go, cancel)
        stage.onCloseRequest = { WindowEvent it ->
            if (isOver) {
                it.consume()
            }
        }
        stage.onHidden = { asked++ }
    }

    /** Show it, and begin to count. */
    void show() {
        stage.show()
        count()
    }

    /** Say what is being done; there is no way back from here, but for `close`. */
    void busy(String text) {
        isOver = true
        cancel.disable = true
        go.disable = true
        tell(text, '', '', true)
    }

    /** Take it away. */
    void close() {
        stage.close()
    }

    private HBox buttons() {
        cancel.onAction = { close() }
        go.defaultButton = true
        go.onAction = { start() }
        Region gap = new Region()
        HBox.setHgrow(gap, Priority.ALWAYS)
        new HBox(8, gap, go, cancel)
    }

    private static Label heading(String text) {
        Label label = new Label(text)
        label.style = '-fx-font-weight: bold;'
        label
    }

    /** Asks the server for the mask as it is chosen now, and looks what an import of it would do. */
    private void count() {
        int ours = ++asked
        List<String> names = classes.findAll { String name, CheckBox box -> box.selected }.keySet() as List<String>
        plan = null
        go.disable = true
        if (!names) {
            tell('Choose at least one class.', '', '', false)
            return
        }
        tell('Counting the objects.', '', '', true)
        String kind = kinds.selectedToggle.userData
        boolean isDiscarding = discard.selected
        background {
            ImportPlan made = mask.plan(mask.fetch(kind, names, null), isDiscarding)
            Platform.runLater {
                if (ours == asked) {
                    counted(made, kind)
                }
            }
        }
    }

    private void counted(ImportPlan made, String kind) {
        plan = made
        go.disable = made.added.isEmpty() && made.removed().isEmpty()
        go.text = made.replacing ? 'Replace' : 'Import'
        String left = !made.nLeftOut ? '' : made.nLeftOut == 1 ? ' One of the mask is left out, since its edited copy stays.' :
            " ${WindowWords.grouped(made.nLeftOut)} of the mask are left out, since their edited copies stay."
        boolean isEmpty = !made.added && !made.nLeftOut
        String counts = isEmpty ? 'Nothing of this image is predicted to be of that class.' :
            "${WindowWords.count(made.added.size(), 'object')} will be added; the image then has ${WindowWords.grouped(made.nAfter())}.${left}"
        tell(counts, earlier(made), warning(made, kind), false)
    }

    private static String earlier(ImportPlan made) {
        int n = made.untouched.size() + made.edited.size(), nEdited = made.edited.size()
        if (!n) {
            return ''
        }
        String edits = !nEdited ? '' : made.discardEdits ? ', also those that were edited' :
            "; ${WindowWords.grouped(nEdited)} that ${nEdited == 1 ? 'was' : 'were'} edited ${nEdited == 1 ? 'stays' : 'stay'}"
        "This image has ${WindowWords.count(n, 'object')} of an earlier import: ${WindowWords.grouped(made.removed().size())} will be removed${edits}."
    }

    private static String warning(ImportPlan made, String kind) {
        !made.endsUndo() ? '' : "QuPath keeps no undo above ${WindowWords.grouped(ImportPlan.MOST_WITH_UNDO)} objects in an image: " +
            'this cannot be taken back with Ctrl+Z, and neither can what was done before.' +
            (kind == 'tiles' ? ' Outlines need far fewer objects.' : '')
    }

    private void tell(String counted, String before, String caution, boolean isBusy) {
        counts.text = counted
        earlier.text = before
        warning.text = caution
        [earlier, warning].each { Label it ->
            it.visible = !it.text.isEmpty()
            it.managed = it.visible
        }
        boolean hasEdits = plan != null && plan.edited || discard.selected
        discard.visible = hasEdits
        discard.managed = hasEdits
        busy.visible = isBusy
        busy.managed = isBusy
        stage.sizeToScene()
    }

    private void start() {
        ImportPlan wanted = plan
        int ours = ++asked
        go.disable = true
        tell('Making the objects.', earlier.text, warning.text, true)
        background {
            List<Runnable> steps = mask.steps(wanted, true)
            Platform.runLater {
                if (ours == asked) {
                    chosen.accept(steps)
                }
            }
        }
    }

    private void background(Runnable work) {
        int ours = asked
        Thread thread = new Thread({
            try {
                work.run()
            } catch (Throwable err) {
                if (!(err instanceof Problem)) {
                    LOG.log(System.Logger.Level.ERROR, 'Importing a mask', err)
                }
                Platform.runLater {
                    if (ours == asked) {
                        tell(Say.words(err), '', '', false)
                    }
                }
            }
        } as Runnable, 'slideloop-import')
        thread.daemon = true
        thread.start()
    }
}
