package slideloop

import groovy.transform.CompileStatic
import javafx.geometry.HPos
import javafx.geometry.Insets
import javafx.scene.Scene
import javafx.scene.control.CheckBox
import javafx.scene.control.Label
import javafx.scene.control.Slider
import javafx.scene.layout.ColumnConstraints
import javafx.scene.layout.GridPane
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.VBox
import javafx.scene.paint.Color
import javafx.scene.shape.Rectangle
import javafx.stage.Stage
import javafx.stage.Window

/** The small window beside the prediction: which classes are seen, how strongly, and how much there is of each. UI thread. */
@CompileStatic
final class PredictionWindow {

    private static final double WIDTH = 420
    private static final List<String> TITLES = ['Show', 'Patches', 'Area', 'Share', 'How sure'].asImmutable()

    private final Stage stage = new Stage()
    private final Label image = new Label()
    private final Label facts = new Label()
    private final Label problem = new Label()
    private final Slider opacity = new Slider(0d, 1d, 0.5d)
    private final GridPane table = new GridPane()
    private final Map<String, CheckBox> boxes = [:]
    private final Map<String, List<Label>> cells = [:]
    private Map<String, Integer> colours = [:]

    /** Is run when opacity or classes were changed. */
    Runnable changed = { }
    /** Is run when the user closed the window. */
    Runnable closed = { }

    PredictionWindow(Window owner) {
        table.hgap = 12
        table.vgap = 4
        (0..<TITLES.size()).each { int i ->
            ColumnConstraints column = new ColumnConstraints()
            column.hgrow = i > 0 ? Priority.SOMETIMES : Priority.ALWAYS
            column.halignment = i > 0 ? HPos.RIGHT : HPos.LEFT
            table.columnConstraints << column
        }
        opacity.valueProperty().addListener { observed, old, now -> changed.run() }
        HBox.setHgrow(opacity, Priority.ALWAYS)
        [image, facts, problem].each { Label it -> it.wrapText = true }
        image.style = '-fx-font-weight: bold;'
        HBox slider = new HBox(8, new Label('Opacity'), opacity)
        VBox content = new VBox(10, image, table, slider, facts, problem)
        content.padding = new Insets(12)
        content.prefWidth = WIDTH
        stage.initOwner(owner)
        stage.scene = new Scene(content)
        stage.onCloseRequest = { closed.run() }
        // Not before: some window managers place a window as they like when it is shown.
        stage.onShown = {
            stage.x = Math.max(owner.x, owner.x + owner.width - WIDTH - 40)
            stage.y = owner.y + owner.height - stage.height - 60
        }
    }

    /**
     * Show it for a study.
     *
     * @param classes and their colours, 0xRRGGBB, in the study's order
     * @param positive the class that is seen at first
     */
    void show(String studyName, Map<String, Integer> classes, String positive) {
        stage.title = "slideloop: prediction of ${studyName}".toString()
        setClasses(classes, positive)
        tell('', null, null)
        stage.show()
        stage.toFront()
    }

    /** The study has other classes now; those that were seen stay so. */
    void setClasses(Map<String, Integer> classes, String positive) {
        if (classes == colours) {
            return
        }
        boolean isFirst = boxes.isEmpty()
        Set<String> seen = isFirst ? [positive] as Set<String> : shown().keySet()
        colours = classes
        boxes.clear()
        cells.clear()
        table.children.clear()
        TITLES.eachWithIndex { String title, int i -> table.add(new Label(title), i, 0) }
        classes.keySet().eachWithIndex { String name, int row ->
            CheckBox box = new CheckBox(name)
            box.graphic = new Rectangle(12, 12, Color.rgb(classes[name] >> 16 & 255, classes[name] >> 8 & 255, classes[name] & 255))
            box.selected = name in seen
            box.selectedProperty().addListener { observed, old, now -> changed.run() }
            boxes[name] = box
            List<Label> labels = (1..<TITLES.size()).collect { int it -> new Label() }
            cells[name] = labels
            table.add(box, 0, row + 1)
            labels.eachWithIndex { Label label, int i -> table.add(label, i + 1, row + 1) }
        }
        stage.sizeToScene()
    }

    /** Colours, 0xRRGGBB, of the classes that are to be seen. */
    Map<String, Integer> shown() {
        colours.findAll { String name, Integer colour -> boxes[name].selected }
    }

    /** How opaque the prediction is to be, 0 to 1. */
    double opaqueness() {
        opacity.value
    }

    /**
     * Show the numbers of an image.
     *
     * @param name of the image, or what there is to say instead of numbers
     * @param known null if there is no prediction
     * @param trouble why it is not current; null if it is
     */
    void tell(String name, PredictionFacts known, Problem trouble) {
        image.text = known == null ? name : "${name}, ${known.origin()}".toString()
        cells.each { String className, List<Label> labels ->
            List<String> texts = known == null ? ['', '', '', ''] :
                [known.patches(className), known.area(className), known.share(className), known.certainty(className)]
            labels.eachWithIndex { Label label, int i -> label.text = texts[i] }
        }
        facts.text = known == null ? '' : "${known.lookedAt()} ${known.sure()}".toString()
        problem.text = trouble == null ? '' : trouble.message
        [facts, problem].each { Label it ->
            it.visible = !it.text.isEmpty()
            it.managed = it.visible
        }
        stage.sizeToScene()
    }

    /** Take it away; `closed` is not run. */
    void close() {
        stage.close()
    }
}
