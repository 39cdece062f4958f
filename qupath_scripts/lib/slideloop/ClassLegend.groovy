package slideloop

import groovy.transform.CompileStatic
import javafx.animation.PauseTransition
import javafx.css.PseudoClass
import javafx.event.ActionEvent
import javafx.event.EventHandler
import javafx.geometry.Pos
import javafx.scene.Node
import javafx.scene.control.Label
import javafx.scene.control.ScrollPane
import javafx.scene.control.Tooltip
import javafx.scene.input.MouseButton
import javafx.scene.input.MouseEvent
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.Region
import javafx.scene.layout.VBox
import javafx.scene.paint.Color
import javafx.scene.shape.Rectangle
import javafx.util.Duration

import java.util.function.Consumer
import java.util.function.Function

/** The answers as a list of buttons: key, colour, name, how many so far; and the key that goes back. */
@CompileStatic
final class ClassLegend extends VBox {

    private static final PseudoClass CHOSEN = PseudoClass.getPseudoClass('chosen')
    private static final PseudoClass FLASH = PseudoClass.getPseudoClass('flash')

    private final Consumer<String> picked
    private final VBox classes = new VBox()
    private final VBox others = new VBox()
    private final Map<String, HBox> rows = [:]
    private final Map<String, Label> counts = [:]
    private List<String> shown = []

    /**
     * @param picked is told of the answer that was clicked
     * @param back is run by a click on the way back
     */
    ClassLegend(Consumer<String> picked, Runnable back) {
        this.picked = picked
        getStyleClass().add('legend')
        classes.styleClass.add('legend-rows')
        others.styleClass.add('legend-rows')
        ScrollPane scroll = new ScrollPane(classes)
        scroll.fitToWidth = true
        scroll.focusTraversable = false
        scroll.hbarPolicy = ScrollPane.ScrollBarPolicy.NEVER
        scroll.styleClass.add('legend-scroll')
        VBox.setVgrow(scroll, Priority.SOMETIMES)
        HBox backRow = row('⌫', null, 'Take back the last label', null)
        onClick(backRow) { back.run() }
        VBox below = new VBox(backRow)
        below.styleClass.add('legend-rows')
        Region space = new Region()
        VBox.setVgrow(space, Priority.ALWAYS)
        getChildren().addAll(scroll, others, space, below)
    }

    /** Have a row for each class; does nothing when they are there already. */
    void hold(List<String> names, Function<String, Color> colour) {
        List<String> wanted = new ArrayList<>(names)
        for (String name : names) {
            wanted.add(colour.apply(name).toString())
        }
        if (wanted == shown) {
            return
        }
        shown = wanted
        rows.clear()
        counts.clear()
        List<Node> made = []
        for (int i = 0; i < names.size(); i++) {
            made << answerRow(i < Keys.N_CLASS_KEYS ? String.valueOf(i + 1) : '', names[i], colour.apply(names[i]))
        }
        classes.children.setAll(made)
        others.children.setAll(answerRow('U', WindowWords.UNSURE, colour.apply(WindowWords.UNSURE)),
            answerRow('X', WindowWords.EXCLUDE, colour.apply(WindowWords.EXCLUDE)))
    }

    /** Mark the answer of the current patch (null for none) and say how many there are of each. */
    void show(String chosen, Map<String, ?> numbers) {
        for (String name : rows.keySet()) {
            rows[name].pseudoClassStateChanged(CHOSEN, name == chosen)
            Object n = numbers.get(name)
            counts[name].text = n instanceof Number && n != 0 ? WindowWords.grouped(((Number) n).longValue()) : ''
        }
    }

    /** Light an answer up for a moment, so that a key is seen to have worked. */
    void flash(String answer) {
        HBox row = rows[answer]
        if (row == null) {
            return
        }
        row.pseudoClassStateChanged(FLASH, true)
        PauseTransition pause = new PauseTransition(Duration.millis(160))
        pause.onFinished = { ActionEvent over -> row.pseudoClassStateChanged(FLASH, false) } as EventHandler<ActionEvent>
        pause.play()
    }

    private HBox answerRow(String key, String name, Color colour) {
        String text = name == WindowWords.UNSURE ? 'Unsure' : name == WindowWords.EXCLUDE ? 'Exclude' : name
        Label count = new Label()
        count.styleClass.add('legend-count')
        count.minWidth = Region.USE_PREF_SIZE
        HBox made = row(key, colour, text, count)
        rows[name] = made
        counts[name] = count
        onClick(made) { picked.accept(name) }
        made
    }

    private static HBox row(String key, Color colour, String text, Label count) {
        Label cap = new Label(key)
        cap.styleClass.add(key ? 'key-cap' : 'key-cap-none')
        cap.minWidth = Region.USE_PREF_SIZE
        Label name = new Label(text)
        name.maxWidth = Double.MAX_VALUE
        HBox.setHgrow(name, Priority.ALWAYS)
        HBox row = new HBox(cap)
        if (colour != null) {
            Rectangle swatch = new Rectangle(14, 14, colour)
            swatch.styleClass.add('swatch')
            row.children.add(swatch)
        }
        row.children.add(name)
        if (count != null) {
            row.children.add(count)
        }
        row.alignment = Pos.CENTER_LEFT
        row.styleClass.add('legend-row')
        Tooltip.install(row, new Tooltip(text))
        row
    }

    /** On press, not on click: an answer counts when the hand decides, and small movements are common. */
    private static void onClick(Node node, Runnable action) {
        node.addEventHandler(MouseEvent.MOUSE_PRESSED) { MouseEvent event ->
            if (event.button == MouseButton.PRIMARY) {
                action.run()
            }
        }
    }
}
