package slideloop

import groovy.transform.CompileStatic
import javafx.geometry.Pos
import javafx.scene.control.Label
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.Region
import javafx.scene.paint.Color
import javafx.scene.shape.Rectangle

/** What is sought, where the session stands, why this patch is shown, and of which image it is. */
@CompileStatic
final class HeaderLine extends HBox {

    private final Rectangle swatch = new Rectangle(14, 14)
    private final Label query = new Label()
    private final Label where = new Label()
    private final Label reason = new Label()
    private final Label image = new Label()

    HeaderLine() {
        getStyleClass().add('header-line')
        setAlignment(Pos.CENTER_LEFT)
        swatch.styleClass.add('swatch')
        query.styleClass.add('query-class')
        where.styleClass.add('where')
        reason.styleClass.add('quiet')
        image.styleClass.add('other-image')
        query.maxWidth = 220
        where.minWidth = Region.USE_PREF_SIZE
        reason.maxWidth = Double.MAX_VALUE
        // It gets what the others leave, instead of all giving way in proportion.
        reason.prefWidth = 60
        reason.minWidth = 0
        image.maxWidth = 260
        image.visible = false
        HBox.setHgrow(reason, Priority.ALWAYS)
        Label word = new Label('Query')
        word.styleClass.add('quiet')
        word.minWidth = Region.USE_PREF_SIZE
        query.minWidth = 40
        getChildren().addAll(word, swatch, query, where, reason, image)
    }

    /** Show the round, or blank where there is none. */
    void show(View view, Color colour) {
        Map query = view.round?.query as Map
        swatch.visible = query != null
        swatch.fill = colour
        this.query.text = query?.label ?: '–'
        where.text = WindowWords.where(view)
        Map patch = view.state == 'labelling' ? view.patch : null
        reason.text = patch == null ? '' : WindowWords.whyShown(patch, query?.label as String)
    }

    /** Name the image that the patch is of; null when it is the one on display. */
    void otherImage(String name) {
        image.visible = name != null
        image.managed = name != null
        image.text = name == null ? '' : "Of another image: $name"
    }
}
