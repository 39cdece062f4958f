package slideloop

import groovy.transform.CompileStatic
import javafx.geometry.Pos
import javafx.scene.Node
import javafx.scene.control.Button
import javafx.scene.control.Label
import javafx.scene.control.ScrollPane
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.Region
import javafx.scene.layout.VBox

import java.util.function.Consumer

/**
 * The labels that the server did not take, each with its reason, for a person to decide. Lies over
 * the window and moves nothing. No button takes the focus: a key must never drop a label.
 */
@CompileStatic
final class RefusedPanel extends VBox {

    private final Consumer<String> again
    private final Consumer<String> drop
    private final VBox cards = new VBox()
    private List<String> shown = []

    /**
     * @param again is told the `event_id` of a change to be sent again
     * @param drop is told the `event_id` of a change to be given up
     */
    RefusedPanel(Consumer<String> again, Consumer<String> drop) {
        this.again = again
        this.drop = drop
        getStyleClass().add('refused-panel')
        Label title = new Label('The server did not accept these')
        title.styleClass.add('card-title')
        title.maxWidth = Double.MAX_VALUE
        HBox.setHgrow(title, Priority.ALWAYS)
        Button later = button('Decide later') { setVisible(false) }
        HBox head = new HBox(title, later)
        head.alignment = Pos.CENTER_LEFT
        cards.styleClass.add('refused-cards')
        ScrollPane scroll = new ScrollPane(cards)
        scroll.fitToWidth = true
        scroll.focusTraversable = false
        scroll.styleClass.add('legend-scroll')
        VBox.setVgrow(scroll, Priority.ALWAYS)
        getChildren().addAll(head, scroll)
        setVisible(false)
        setMaxWidth(560)
        setMaxHeight(340)
    }

    /** Show what was refused; opens when something new is among it, closes when nothing is left. */
    void show(List<Map> refused) {
        List<String> ids = refused.collect { it.event_id as String }
        if (ids == shown) {
            return
        }
        boolean isNew = !shown.containsAll(ids)
        shown = ids
        cards.children.setAll(refused.collect { (Node) card(it) })
        setVisible(!ids.empty && (isNew || isVisible()))
    }

    private VBox card(Map entry) {
        Label what = new Label(WindowWords.refusal(entry))
        what.styleClass.add('refused-what')
        Label why = new Label(WindowWords.whyRefused(entry))
        for (Label words : [what, why]) {
            words.wrapText = true
            words.minHeight = Region.USE_PREF_SIZE
        }
        String id = entry.event_id as String
        HBox buttons = new HBox(button('Send again') { again.accept(id) }, button('Drop') { drop.accept(id) })
        buttons.styleClass.add('refused-buttons')
        VBox card = new VBox(what, why, buttons)
        card.styleClass.add('refused-card')
        card
    }

    private static Button button(String text, Closure action) {
        Button button = new Button(text)
        button.focusTraversable = false
        button.minWidth = Region.USE_PREF_SIZE
        button.onAction = { action.call() }
        button
    }
}
