package slideloop

import groovy.transform.CompileStatic
import javafx.animation.PauseTransition
import javafx.event.ActionEvent
import javafx.event.EventHandler
import javafx.scene.control.Label
import javafx.scene.image.Image
import javafx.scene.image.ImageView
import javafx.scene.layout.Region
import javafx.scene.paint.Color
import javafx.scene.shape.Rectangle
import javafx.scene.shape.StrokeType
import javafx.util.Duration

/**
 * A square picture that never flashes: the one before stays until the next one is there, or until
 * it has taken so long that it would be mistaken for the new one. UI thread only.
 */
@CompileStatic
final class PictureView extends Region {

    /** After this long the picture before is taken away and it is said that the new one is read. */
    static final double PATIENCE_MS = 300

    private final double context
    private final ImageView image = new ImageView()
    // Two lines, dark around light: one of them stands out from whatever tissue lies below.
    private final Rectangle dark = new Rectangle()
    private final Rectangle light = new Rectangle()
    private final Rectangle frame = new Rectangle()
    private final Label scale = new Label()
    private final Label words = new Label()
    private final PauseTransition patience = new PauseTransition(Duration.millis(PATIENCE_MS))

    /** @param context side of the field in sides of the patch; above 1 the patch is outlined */
    PictureView(double context) {
        this.context = context
        getStyleClass().add('picture')
        image.smooth = true
        for (Rectangle outline : [dark, light, frame]) {
            outline.fill = null
            outline.mouseTransparent = true
        }
        dark.stroke = Color.rgb(0, 0, 0, 0.85d)
        dark.strokeWidth = 4
        light.stroke = Color.rgb(255, 225, 40)
        light.strokeWidth = 2
        frame.strokeType = StrokeType.INSIDE
        label(null)
        scale.styleClass.add('picture-scale')
        scale.text = "${(int) context}×"
        words.styleClass.add('picture-words')
        words.wrapText = true
        words.visible = false
        marks(false)
        getChildren().addAll(image, dark, light, frame, scale, words)
        patience.onFinished = { ActionEvent over -> say('Reading the picture …') } as EventHandler<ActionEvent>
    }

    /** Show a picture, at once. */
    void show(Image picture) {
        patience.stop()
        image.image = picture
        words.visible = false
        marks(true)
        requestLayout()
    }

    /** Another picture is on its way: keep the present one for a moment, then say so. */
    void awaitAnother() {
        if (!words.visible) {
            patience.playFromStart()
        }
    }

    /** Say something instead of a picture, at once. */
    void say(String sentence) {
        patience.stop()
        marks(false)
        words.text = sentence
        words.visible = true
    }

    /** Frame the picture in the colour of its label, null for none. */
    void label(Color colour) {
        frame.stroke = colour ?: Color.gray(0.5d, 0.5d)
        frame.strokeWidth = colour == null ? 1 : 6
    }

    /** The picture and what is drawn on it. */
    private void marks(boolean visible) {
        image.visible = visible
        scale.visible = visible
        dark.visible = visible && context > 1
        light.visible = visible && context > 1
    }

    @Override
    protected void layoutChildren() {
        double width = getWidth(), height = getHeight()
        double side = Math.floor(Math.min(width, height))
        double x = Math.round((width - side) / 2d), y = Math.round((height - side) / 2d)
        image.fitWidth = side
        image.fitHeight = side
        image.relocate(x, y)
        double patch = Math.max(6d, side / context)
        for (Rectangle outline : [dark, light]) {
            outline.x = x + (side - patch) / 2
            outline.y = y + (side - patch) / 2
            outline.width = patch
            outline.height = patch
        }
        frame.x = x
        frame.y = y
        frame.width = side
        frame.height = side
        scale.autosize()
        scale.relocate(x + 8, y + side - scale.height - 8)
        words.resizeRelocate(x, y, side, side)
    }

    @Override
    protected double computeMinWidth(double forHeight) {
        120
    }

    @Override
    protected double computeMinHeight(double forWidth) {
        120
    }

    @Override
    protected double computePrefWidth(double forHeight) {
        240
    }

    @Override
    protected double computePrefHeight(double forWidth) {
        240
    }
}
