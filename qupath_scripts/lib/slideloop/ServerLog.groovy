package slideloop

import groovy.transform.CompileStatic
import javafx.animation.Animation
import javafx.animation.KeyFrame
import javafx.animation.Timeline
import javafx.event.ActionEvent
import javafx.event.EventHandler
import javafx.geometry.Insets
import javafx.scene.Scene
import javafx.scene.control.Label
import javafx.scene.control.TextArea
import javafx.scene.layout.Priority
import javafx.scene.layout.VBox
import javafx.stage.Stage
import javafx.stage.Window
import javafx.stage.WindowEvent
import javafx.util.Duration

import java.nio.file.Path

/** A window with what the server said that was started here, as it grows. UI thread only. */
@CompileStatic
final class ServerLog {

    private static final double EVERY_MS = 1000

    private ServerLog() {
    }

    /** @param owner window over which it stands */
    static void show(Window owner, Path log) {
        TextArea text = new TextArea(LocalServer.said(log))
        text.editable = false
        text.style = '-fx-font-family: monospace;'
        VBox.setVgrow(text, Priority.ALWAYS)
        VBox content = new VBox(8, new Label(log.toString()), text)
        content.padding = new Insets(12)
        Stage stage = new Stage()
        stage.initOwner(owner)
        stage.title = 'slideloop: log of the server'
        stage.scene = new Scene(content, 760, 420)
        Timeline reading = new Timeline(new KeyFrame(Duration.millis(EVERY_MS), { ActionEvent it -> update(text, log) } as EventHandler<ActionEvent>))
        reading.cycleCount = Animation.INDEFINITE
        reading.play()
        stage.onHidden = { WindowEvent it -> reading.stop() }
        stage.show()
        text.end()
    }

    private static void update(TextArea text, Path log) {
        String now = LocalServer.said(log)
        if (now != text.text) {
            text.text = now
            text.end()
        }
    }
}
