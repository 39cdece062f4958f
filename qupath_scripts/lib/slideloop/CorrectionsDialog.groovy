package slideloop

import groovy.transform.CompileStatic
import javafx.geometry.Insets
import javafx.geometry.Pos
import javafx.scene.Scene
import javafx.scene.control.Button
import javafx.scene.control.CheckBox
import javafx.scene.control.Hyperlink
import javafx.scene.control.Label
import javafx.scene.control.ScrollPane
import javafx.scene.layout.GridPane
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.Region
import javafx.scene.layout.VBox
import javafx.scene.paint.Color
import javafx.scene.shape.Rectangle
import javafx.stage.Stage
import javafx.stage.Window

import java.util.function.Consumer

/** Shows the corrections of an image, what each would label, and asks which to send. Not modal. UI thread. */
@CompileStatic
final class CorrectionsDialog {

    private static final double WIDTH = 520, LIST_HEIGHT = 280
    private static final Map<String, String> HOW = [
        drawn: 'drawn', reclassified: 'class changed', edited: 'outline changed',
    ].asImmutable()
    private static final Map<String, String> STATES = [
        new: '', again: 'again: it lies in a new one', sent: 'the study has it', 'taken back': 'was taken back',
        nothing: 'covers no patch to half',
    ].asImmutable()

    private final CorrectionPlan plan
    private final Stage stage = new Stage()
    private final Map<CorrectionPlan.Correction, CheckBox> boxes = new LinkedHashMap<>()
    private final CheckBox now = new CheckBox('Learn from them now, not with the next round')
    private final Label total = new Label()
    private final Button go = new Button('Send')
    private final Button cancel = new Button('Cancel')

    /** Is told which correction the user wants to see. */
    Consumer<CorrectionPlan.Drawn> looked = { CorrectionPlan.Drawn it -> } as Consumer<CorrectionPlan.Drawn>
    /** Gets those to be sent, in the order to be sent. */
    Consumer<List<CorrectionPlan.Correction>> chosen = { List<CorrectionPlan.Correction> it -> } as Consumer<List<CorrectionPlan.Correction>>

    /**
     * @param colours of the labels, 0xRRGGBB
     * @param leftOut what is not among them and why; blank for nothing
     */
    CorrectionsDialog(Window owner, CorrectionPlan plan, Map<String, Integer> colours, String leftOut) {
        this.plan = plan
        GridPane list = new GridPane()
        list.hgap = 14
        list.vgap = 4
        list.padding = new Insets(4)
        plan.corrections.eachWithIndex { CorrectionPlan.Correction it, int row -> add(list, row, it, colours[it.drawn.label]) }
        ScrollPane scroll = new ScrollPane(list)
        scroll.fitToWidth = true
        scroll.prefViewportHeight = Math.min(LIST_HEIGHT, 30d * plan.corrections.size() + 8)
        VBox.setVgrow(scroll, Priority.ALWAYS)
        Label left = new Label(leftOut)
        [left, total].each { Label it ->
            it.wrapText = true
            it.minHeight = Region.USE_PREF_SIZE
        }
        left.visible = !leftOut.isEmpty()
        left.managed = left.visible
        total.style = '-fx-font-weight: bold;'
        VBox content = new VBox(10, new Label('What each labels; click to see it in the viewer.'), scroll, left, now, total, buttons())
        content.padding = new Insets(14)
        content.prefWidth = WIDTH
        stage.initOwner(owner)
        stage.title = 'slideloop: send corrections'
        stage.scene = new Scene(content)
        DialogKeys.install(stage.scene, go, cancel)
        count()
    }

    /** Show it. @param isLearningNow whether to propose that the study learns at once */
    void show(boolean isLearningNow) {
        now.selected = isLearningNow
        stage.show()
    }

    /** Whether the study is to learn at once. */
    boolean isLearningNow() {
        now.selected
    }

    private void add(GridPane list, int row, CorrectionPlan.Correction correction, int colour) {
        CheckBox box = new CheckBox()
        box.selected = correction.wanted
        box.disable = !correction.possible
        box.selectedProperty().addListener { observed, old, is -> count() }
        boxes[correction] = box
        Hyperlink name = new Hyperlink(WindowWords.answer(correction.drawn.label))
        name.graphic = new Rectangle(12, 12, Color.rgb(colour >> 16 & 255, colour >> 8 & 255, colour & 255))
        name.onAction = {
            name.visited = false
            looked.accept(correction.drawn)
        }
        int n = correction.patches.cardinality()
        Label count = new Label("${most()}${WindowWords.grouped(n)} ${n == 1 ? 'patch' : 'patches'}")
        list.addRow(row, box, name, new Label(HOW[correction.drawn.how]), count, new Label(STATES[correction.state]))
    }

    private HBox buttons() {
        cancel.onAction = { stage.close() }
        go.defaultButton = true
        go.onAction = {
            stage.close()
            chosen.accept(wanted())
        }
        Region gap = new Region()
        HBox.setHgrow(gap, Priority.ALWAYS)
        HBox row = new HBox(8, gap, go, cancel)
        row.alignment = Pos.CENTER_RIGHT
        row
    }

    private void count() {
        List<CorrectionPlan.Correction> some = wanted()
        int n = CorrectionPlan.nPatches(some)
        go.disable = some.isEmpty()
        total.text = !some ? 'Nothing is chosen.' :
            "${WindowWords.count(some.size(), 'correction')}: ${most()}${WindowWords.grouped(n)} ${n == 1 ? 'patch gets its' : 'patches get their'} label from ${some.size() == 1 ? 'it' : 'them'}."
    }

    private String most() {
        plan.isUpperBound ? 'at most ' : ''
    }

    private List<CorrectionPlan.Correction> wanted() {
        boxes.findAll { CorrectionPlan.Correction it, CheckBox box -> box.selected }.keySet() as List<CorrectionPlan.Correction>
    }
}
