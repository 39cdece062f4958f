package slideloop

import groovy.transform.CompileStatic
import javafx.css.PseudoClass
import javafx.geometry.Pos
import javafx.scene.control.Button
import javafx.scene.control.Label
import javafx.scene.control.Tooltip
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.Region

/** One line of fixed height at the foot of the window: what is to be known, and how safe the labels are. */
@CompileStatic
final class StatusLine extends HBox {

    private static final PseudoClass TROUBLE = PseudoClass.getPseudoClass('trouble')

    private final Label message = new Label()
    private final Tooltip wholeMessage = new Tooltip()
    private final SavedMark mark = new SavedMark()
    private final Label safety = new Label()
    private final Button refused = new Button()

    /** @param showRefused is run by the button that counts refused labels */
    StatusLine(Runnable showRefused) {
        getStyleClass().add('status-line')
        setAlignment(Pos.CENTER_LEFT)
        message.maxWidth = Double.MAX_VALUE
        wholeMessage.wrapText = true
        wholeMessage.maxWidth = 480
        message.tooltip = wholeMessage
        HBox.setHgrow(message, Priority.ALWAYS)
        message.minWidth = 60
        safety.minWidth = Region.USE_PREF_SIZE
        refused.minWidth = Region.USE_PREF_SIZE
        refused.focusTraversable = false
        refused.styleClass.add('refused-button')
        refused.onAction = { showRefused.run() }
        getChildren().addAll(message, refused, mark, safety)
        // Always there, so that the line keeps its height and nothing beside it moves.
        refused.visible = false
    }

    /** Say a sentence. @param trouble whether something is wrong that the expert should know */
    void say(String sentence, boolean trouble) {
        message.text = sentence
        wholeMessage.text = sentence
        pseudoClassStateChanged(TROUBLE, trouble)
    }

    /** Say how many labels are on their way and how many the server did not take. */
    void count(int waiting, int nRefused, boolean any) {
        safety.text = waiting > 0 ? "${WindowWords.count(waiting, 'label')} on the way" : any ? 'All labels saved' : ''
        mark.show(waiting > 0 ? 'waiting' : any ? 'saved' : null)
        refused.visible = nRefused > 0
        refused.text = nRefused > 0 ? "${WindowWords.count(nRefused, 'label')} not accepted …" : ''
    }
}
