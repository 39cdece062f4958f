package slideloop

import groovy.transform.CompileStatic
import javafx.css.PseudoClass
import javafx.geometry.Pos
import javafx.scene.Node
import javafx.scene.control.Label
import javafx.scene.control.OverrunStyle
import javafx.scene.control.Tooltip
import javafx.scene.image.Image
import javafx.scene.image.ImageView
import javafx.scene.layout.Region
import javafx.scene.paint.Color
import javafx.scene.shape.Rectangle
import javafx.scene.shape.StrokeType

/** One patch of the round, small: picture, place in the ranking, reason, label, saved or not. */
@CompileStatic
final class Thumbnail extends Region {

    /** Height of the two lines below the picture, px. */
    static final double CAPTION = 32

    private static final PseudoClass CURRENT = PseudoClass.getPseudoClass('current')
    private static final double RING = 4
    private static final double NARROW = 84

    private final Region ring = new Region()
    private final ImageView image = new ImageView()
    private final Rectangle frame = new Rectangle()
    private final Label rank = new Label()
    private final Label answer = new Label()
    private final SavedMark mark = new SavedMark()
    private final Tooltip tip = new Tooltip()

    private String place = ''
    private String why = ''

    /** The patch on display, null for an empty place. */
    Map patch

    Thumbnail() {
        getStyleClass().add('thumbnail')
        ring.styleClass.add('thumbnail-ring')
        rank.styleClass.add('thumbnail-rank')
        answer.styleClass.add('thumbnail-answer')
        answer.alignment = Pos.CENTER_LEFT
        // Where there is little room, "Tumo" says more than "T...".
        answer.textOverrun = OverrunStyle.CLIP
        frame.fill = null
        frame.strokeType = StrokeType.INSIDE
        getChildren().addAll(ring, image, frame, rank, answer, mark)
        for (Node child : getChildren()) {
            child.mouseTransparent = true
        }
        setPickOnBounds(true)
        Tooltip.install(this, tip)
    }

    /**
     * Show how a patch stands.
     *
     * @param label given to it, null for none
     * @param colour of that label
     * @param saved `waiting`, `saved`, `refused`, or null
     */
    void show(Map patch, String queryClass, String label, Color colour, String saved, boolean current) {
        if (this.patch?.id != patch.id) {
            image.image = null
        }
        this.patch = patch
        frame.stroke = colour ?: Color.gray(0.5d, 0.5d)
        frame.strokeWidth = label == null ? 1 : 5
        place = WindowWords.place(patch)
        why = WindowWords.shortReason(patch)
        answer.text = label == null ? '' : WindowWords.answer(label)
        mark.show(saved)
        tip.text = WindowWords.about(patch, queryClass, label, saved)
        pseudoClassStateChanged(CURRENT, current)
        requestLayout()
    }

    /** Give it its picture, null while there is none. */
    void picture(Image picture) {
        if (image.image !== picture) {
            image.image = picture
        }
    }

    @Override
    protected void layoutChildren() {
        double width = getWidth()
        double side = width - 2 * RING
        rank.text = side < NARROW || place.isEmpty() ? why : place + ' · ' + why
        ring.resizeRelocate(0, 0, width, width)
        image.fitWidth = side
        image.fitHeight = side
        image.relocate(RING, RING)
        frame.x = RING
        frame.y = RING
        frame.width = side
        frame.height = side
        double line = CAPTION / 2
        rank.resizeRelocate(RING, width, side, line)
        double markSide = mark.visible ? 14d : 0d
        answer.resizeRelocate(RING, width + line - 2, side - markSide, line)
        mark.resizeRelocate(width - RING - 12, width + line, 12, 12)
    }
}
