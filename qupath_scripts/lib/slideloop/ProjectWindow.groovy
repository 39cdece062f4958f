package slideloop

import groovy.transform.CompileStatic
import javafx.geometry.Insets
import javafx.geometry.Pos
import javafx.scene.Scene
import javafx.scene.control.Button
import javafx.scene.control.Label
import javafx.scene.control.ProgressBar
import javafx.scene.control.ScrollPane
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.Region
import javafx.scene.layout.VBox
import javafx.stage.Stage
import javafx.stage.Window
import javafx.stage.WindowEvent

/** Which images of a project are predicted, and what became of each: a line per image. UI thread only. */
@CompileStatic
final class ProjectWindow {

    private final Stage stage = new Stage()
    private final List<String> names
    private final List<Label> lines
    private final Label summary = new Label('Each image is saved before the next one begins.')
    private final ProgressBar bar = new ProgressBar(0d)
    private final Button button = new Button('Cancel')
    private final Runnable cancelled
    private int nDone, nWell
    private boolean isOver

    /**
     * @param names of the images
     * @param cancelled is called once where the user cancels; the window stays until `over`
     */
    ProjectWindow(Window owner, List<String> names, Runnable cancelled) {
        this.names = names
        this.cancelled = cancelled
        lines = names.collect { String it -> line("${it}: waits.") }
        VBox list = new VBox(6)
        list.children.addAll(lines)
        list.padding = new Insets(8)
        ScrollPane scroll = new ScrollPane(list)
        scroll.fitToWidth = true
        VBox.setVgrow(scroll, Priority.ALWAYS)
        bar.maxWidth = Double.MAX_VALUE
        summary.wrapText = true
        HBox.setHgrow(summary, Priority.ALWAYS)
        summary.maxWidth = Double.MAX_VALUE
        button.minWidth = Region.USE_PREF_SIZE
        button.onAction = { press() }
        HBox below = new HBox(8, summary, button)
        below.alignment = Pos.CENTER_LEFT
        VBox content = new VBox(10, bar, scroll, below)
        content.padding = new Insets(12)
        stage.initOwner(owner)
        stage.title = 'slideloop: predict other images'
        stage.scene = new Scene(content, 620, 360)
        // What goes on behind a window that is gone could not be stopped.
        stage.onCloseRequest = { WindowEvent it ->
            if (!isOver) {
                it.consume()
                stage.iconified = true
            }
        }
    }

    /** Show it. */
    void show() {
        stage.show()
    }

    /** Say what is being done to an image. */
    void at(int row, String text) {
        lines[row].text = "${names[row]}: ${text}".toString()
    }

    /** Say what became of an image. */
    void done(int row, String text, boolean isWell) {
        lines[row].text = "${isWell ? '✓' : '!'}  ${names[row]}: ${text}".toString()
        lines[row].style = isWell ? '' : '-fx-font-weight: bold;'
        nDone++
        nWell += isWell ? 1 : 0
        bar.progress = nDone / (double) names.size()
    }

    /** All of it is over. */
    void over() {
        isOver = true
        summary.text = "${WindowWords.grouped(nWell)} of ${WindowWords.count(names.size(), 'image')} done.".toString()
        button.text = 'Close'
        button.disable = false
    }

    private void press() {
        if (isOver) {
            stage.close()
        } else {
            button.disable = true
            summary.text = 'Stopping. An image whose mask is being saved is finished first.'
            cancelled.run()
        }
    }

    private static Label line(String text) {
        Label line = new Label(text)
        line.wrapText = true
        line.minHeight = Region.USE_PREF_SIZE
        line
    }
}
