package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform
import javafx.geometry.Insets
import javafx.scene.control.Button
import javafx.scene.control.ButtonBar
import javafx.scene.control.ButtonType
import javafx.scene.control.CheckBox
import javafx.scene.control.Dialog
import javafx.scene.control.Label
import javafx.scene.control.PasswordField
import javafx.scene.control.ScrollPane
import javafx.scene.control.TextField
import javafx.scene.layout.GridPane
import javafx.scene.layout.HBox
import javafx.scene.layout.Priority
import javafx.scene.layout.Region
import javafx.scene.layout.VBox

import java.nio.file.Files

/** Asks for the server's address and token, and says what works and what does not. UI thread only. */
@CompileStatic
final class ConnectDialog {

    private static final double WIDTH = 520

    private final App app
    private final Dialog<ButtonType> dialog = new Dialog<>()
    private final TextField url = new TextField()
    private final PasswordField token = new PasswordField()
    private final TextField reader = new TextField()
    private final VBox findings = new VBox(6)
    private final Button check = new Button('Check')
    private final Button log = new Button('Log of the server')
    private final Button stop = new Button('Stop the server')
    private final CheckBox stops = new CheckBox('A server that was started here ends with QuPath')
    private int nChecks

    ConnectDialog(App app) {
        this.app = app
        dialog.initOwner(app.stage)
        dialog.title = 'slideloop: connect, and see what works'
        dialog.resizable = true
        ButtonType connect = new ButtonType('Connect', ButtonBar.ButtonData.OK_DONE)
        dialog.dialogPane.buttonTypes.setAll(connect, ButtonType.CANCEL)
        url.text = app.settings.url.get()
        token.text = app.settings.token()
        reader.text = app.settings.reader.get()
        token.promptText = 'none is needed for a server on this computer'
        reader.promptText = 'stands beside your labels in the journal'
        stops.selected = app.settings.stopsServer.get()
        check.onAction = { examine() }
        log.onAction = { ServerLog.show(dialog.dialogPane.scene.window, Settings.serverLog()) }
        stop.onAction = { stopServer() }
        dialog.dialogPane.content = content()
    }

    /** Show it, and connect to what was entered. */
    void show() {
        examine()
        ButtonType answer = dialog.showAndWait().orElse(ButtonType.CANCEL)
        if (answer.buttonData != ButtonBar.ButtonData.OK_DONE) {
            return
        }
        app.settings.stopsServer.set(stops.selected)
        boolean isSame = app.connection != null && app.settings.url.get() == url.text.trim()
        app.settings.url.set(url.text.trim())
        app.settings.setToken(token.text)
        app.settings.reader.set(reader.text.trim())
        if (isSame) {
            app.connection.review.reader = app.settings.reader.get() ?: null
            arrive()
            return
        }
        app.connect { arrive() }
    }

    private void arrive() {
        app.reached('Connect') {
            app.connection?.outbox?.poke()
            app.connection?.review?.refresh()
        }
    }

    private void stopServer() {
        Process process = app.ownServer
        if (process == null) {
            return
        }
        stop.disable = true
        LocalServer.stop(process)
        process.onExit().thenRun { Platform.runLater { examine() } }
    }

    private VBox content() {
        GridPane fields = new GridPane()
        fields.hgap = 10
        fields.vgap = 8
        fields.addRow(0, new Label('Server'), url)
        fields.addRow(1, new Label('Token'), token)
        fields.addRow(2, new Label('Your name'), reader)
        [url, token, reader].each { TextField it -> GridPane.setHgrow(it, Priority.ALWAYS) }
        fields.add(stops, 1, 3)
        fields.add(new HBox(8, check, log, stop), 1, 4)
        ScrollPane scroll = new ScrollPane(findings)
        scroll.fitToWidth = true
        scroll.prefHeight = 230
        findings.padding = new Insets(8)
        VBox.setVgrow(scroll, Priority.ALWAYS)
        VBox content = new VBox(10, fields, scroll)
        content.prefWidth = WIDTH
        content
    }

    private void examine() {
        int ours = ++nChecks
        check.disable = true
        stop.disable = app.ownServer == null
        log.disable = !Files.exists(Settings.serverLog())
        findings.children.setAll(new Label('Looking …'))
        Doctor doctor = new Doctor(app, url.text, token.text)
        Thread looking = new Thread({
            List<Doctor.Finding> found = doctor.examine()
            Platform.runLater {
                if (ours == nChecks) {
                    check.disable = false
                    findings.children.setAll(found.collect { Doctor.Finding finding -> line(finding) })
                }
            }
        } as Runnable, 'slideloop-doctor')
        looking.daemon = true
        looking.start()
    }

    private static Label line(Doctor.Finding finding) {
        Label line = new Label("${finding.isWell ? '✓' : '!'}  ${finding.text}".toString())
        line.wrapText = true
        line.minHeight = Region.USE_PREF_SIZE
        line.maxWidth = WIDTH - 40
        if (!finding.isWell) {
            line.style = '-fx-font-weight: bold;'
        }
        line
    }
}
