package slideloop

import groovy.transform.CompileStatic
import javafx.geometry.Insets
import javafx.geometry.Pos
import javafx.scene.Scene
import javafx.scene.control.Button
import javafx.scene.control.Label
import javafx.scene.control.ProgressBar
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.VBox
import javafx.stage.Stage
import javafx.stage.StageStyle
import javafx.stage.Window

/** A small window with a bar, the remaining time, and a button that cancels. Not modal. UI thread only. */
@CompileStatic
final class ProgressWindow {

    private static final double WIDTH = 380
    private static final double HEIGHT = 150
    private static final double MARGIN = 30

    private final Stage stage = new Stage(StageStyle.UTILITY)
    private final Label what = new Label()
    private final Label remaining = new Label()
    private final ProgressBar bar = new ProgressBar(-1d)
    private final Button cancel

    /**
     * @param cancelText what the button says
     * @param cancelled is called when the button is pressed; the window stays until `close`
     */
    ProgressWindow(Window owner, String title, String cancelText, Runnable cancelled) {
        cancel = new Button(cancelText)
        cancel.onAction = {
            cancel.disable = true
            cancelled.run()
        }
        // A key meant for another window must not cancel.
        cancel.focusTraversable = false
        what.wrapText = true
        bar.maxWidth = Double.MAX_VALUE
        remaining.maxWidth = Double.MAX_VALUE
        HBox.setHgrow(remaining, Priority.ALWAYS)
        HBox below = new HBox(8, remaining, cancel)
        below.alignment = Pos.CENTER_LEFT
        VBox content = new VBox(8, what, bar, below)
        content.padding = new Insets(12)
        content.prefWidth = WIDTH
        stage.initOwner(owner)
        stage.title = "slideloop: ${title}".toString()
        stage.scene = new Scene(content)
        stage.resizable = false
        place(owner)
    }

    /**
     * Show how far it is.
     *
     * @param text one sentence
     * @param fraction 0 to 1; negative if nobody knows
     * @param eta_s remaining seconds, null if nobody knows
     */
    void show(String text, double fraction, Number eta_s) {
        what.text = text
        bar.progress = fraction
        remaining.text = eta_s == null ? '' : "${time(eta_s)} left".toString()
        if (!stage.showing) {
            Window before = Window.windows.find { Window window -> window.isFocused() }
            stage.show()
            // Who labels goes on labelling.
            before?.requestFocus()
        }
    }

    /** It is over. */
    void close() {
        stage.close()
    }

    /** A duration in words: "20 s", "3 min", "1 h 10 min". */
    static String time(Number seconds) {
        long s = Math.round(seconds.doubleValue())
        if (s < 60) {
            return "${Math.max(1, s)} s"
        }
        long min = Math.round((double) (s / 60d))
        min < 60 ? "${min} min" : "${min.intdiv(60)} h ${min % 60} min"
    }

    /** In the lower left corner, where it covers neither the slide nor the review. */
    private void place(Window owner) {
        if (owner != null && owner.width > WIDTH) {
            stage.x = owner.x + MARGIN
            stage.y = owner.y + owner.height - HEIGHT - MARGIN
        }
    }
}
