package slideloop

import groovy.transform.CompileStatic
import javafx.animation.PauseTransition
import javafx.event.ActionEvent
import javafx.event.EventHandler
import javafx.geometry.Orientation
import javafx.geometry.Pos
import javafx.scene.control.Label
import javafx.scene.control.ProgressBar
import javafx.scene.layout.Region
import javafx.scene.layout.VBox
import javafx.scene.paint.Color
import javafx.util.Duration

/**
 * The patch to be judged, large, and its surroundings at two wider scales; or, where there is no
 * patch to judge, a card that says what goes on. UI thread only.
 */
@CompileStatic
final class PatchPane extends Region {

    /** Fields of view, in sides of the patch: the large picture, then the two beside it. */
    static final List<Double> CONTEXTS = [1d, 3d, 9d].asImmutable()

    private static final double GAP = 8

    private final List<PictureView> views = CONTEXTS.collect { new PictureView(it) }
    private final VBox card = new VBox()
    private final Label title = new Label()
    private final Label sentence = new Label()
    private final ProgressBar progress = new ProgressBar()
    private final PauseTransition soon = new PauseTransition(Duration.millis(PictureView.PATIENCE_MS))

    PatchPane() {
        getStyleClass().add('patch-pane')
        title.styleClass.add('card-title')
        sentence.wrapText = true
        for (Label words : [title, sentence]) {
            words.alignment = Pos.CENTER
            words.minHeight = Region.USE_PREF_SIZE
        }
        sentence.styleClass.add('card-sentence')
        progress.maxWidth = 320
        progress.prefWidth = 320
        card.children.addAll(title, sentence, progress)
        card.alignment = Pos.CENTER
        card.styleClass.add('card')
        card.visible = false
        soon.onFinished = { ActionEvent over -> cardVisible(true) } as EventHandler<ActionEvent>
        getChildren().addAll(views)
        getChildren().add(card)
    }

    /** The picture at one of `CONTEXTS`. */
    PictureView view(int scale) {
        views[scale]
    }

    /** Frame the large picture in the colour of its label, null for none. */
    void label(Color colour) {
        views[0].label(colour)
    }

    /**
     * Say what goes on instead of a patch.
     *
     * @param share 0..1 for a progress bar, negative for one without end, null for none
     * @param atOnce false where it may be over before anybody could read it
     */
    void say(String heading, String text, Double share, boolean atOnce) {
        title.text = heading
        sentence.text = text
        progress.visible = share != null
        progress.managed = share != null
        if (share != null) {
            progress.progress = share
        }
        if (atOnce) {
            soon.stop()
            cardVisible(true)
        } else if (!card.visible && soon.status != PauseTransition.Status.RUNNING) {
            soon.playFromStart()
        }
        requestLayout()
    }

    /** There is a patch: take the card away. */
    void sayNothing() {
        soon.stop()
        cardVisible(false)
    }

    private void cardVisible(boolean visible) {
        card.visible = visible
        for (PictureView view : views) {
            view.opacity = visible ? 0.25d : 1d
        }
    }

    @Override
    protected void layoutChildren() {
        double width = getWidth(), height = getHeight()
        double large = Math.floor(Math.max(120d, Math.min(height, (width - GAP / 2) / 1.5)))
        double small = Math.floor((large - GAP) / 2)
        double left = Math.floor(Math.max(0d, (width - large - GAP - small) / 2))
        double top = Math.floor(Math.max(0d, (height - large) / 2))
        views[0].resizeRelocate(left, top, large, large)
        views[1].resizeRelocate(left + large + GAP, top, small, small)
        views[2].resizeRelocate(left + large + GAP, top + large - small, small, small)
        double cardWidth = Math.min(460d, width - 40)
        double cardHeight = Math.min(height, card.prefHeight(cardWidth))
        card.resizeRelocate(Math.floor((width - cardWidth) / 2), Math.floor((height - cardHeight) / 2),
            cardWidth, cardHeight)
    }

    @Override
    protected double computeMinWidth(double forHeight) {
        360
    }

    @Override
    protected double computeMinHeight(double forWidth) {
        200
    }

    /** As wide as the pictures are at a height, so that what is beside them follows closely. */
    @Override
    protected double computePrefWidth(double forHeight) {
        forHeight > 0 ? Math.floor(1.5d * forHeight + GAP / 2) : 760d
    }

    @Override
    Orientation getContentBias() {
        Orientation.VERTICAL
    }

    @Override
    protected double computePrefHeight(double forWidth) {
        480
    }
}
