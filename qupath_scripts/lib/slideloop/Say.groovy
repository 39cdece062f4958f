package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform
import javafx.scene.control.Alert
import javafx.scene.control.ButtonBar
import javafx.scene.control.ButtonType
import javafx.scene.control.DialogPane
import javafx.scene.layout.Region
import javafx.stage.Window

import java.util.concurrent.CompletableFuture
import java.util.concurrent.ExecutionException
import java.util.function.Supplier

/** Tells the user something, or asks, in a dialog over QuPath's window. UI thread only, but for `fromBeside`. */
@CompileStatic
final class Say {

    private Say() {
    }

    /** Say why something is not possible, or that it is done, and what to do next. */
    static void sentence(Window owner, String title, String text) {
        alert(Alert.AlertType.INFORMATION, owner, title, text).show()
    }

    /** Say what went wrong, and the way out. */
    static void problem(Window owner, String title, Throwable problem) {
        alert(Alert.AlertType.WARNING, owner, title, words(problem)).show()
    }

    /** What went wrong, and the way out, in words. */
    static String words(Throwable problem) {
        problem instanceof Problem ? problem.message :
            "This should not have happened: ${problem.class.simpleName}${problem.message ? ', ' + problem.message : ''}. " +
                'The details are in View > Show log.'
    }

    /**
     * Ask before something is done.
     *
     * @param action what the button that does it says
     * @return whether that button was pressed
     */
    static boolean confirm(Window owner, String title, String text, String action) {
        Alert alert = alert(Alert.AlertType.CONFIRMATION, owner, title, text)
        ButtonType yes = new ButtonType(action, ButtonBar.ButtonData.OK_DONE)
        alert.buttonTypes.setAll(yes, ButtonType.CANCEL)
        alert.showAndWait().orElse(ButtonType.CANCEL) == yes
    }

    /**
     * Ask in the UI thread, and wait for the answer; from any other thread.
     *
     * @throws Problem `interrupted` if the thread is interrupted meanwhile
     */
    static <T> T fromBeside(Supplier<T> question) {
        CompletableFuture<T> answer = new CompletableFuture<>()
        Platform.runLater {
            try {
                answer.complete(question.get())
            } catch (Throwable err) {
                answer.completeExceptionally(err)
            }
        }
        try {
            return answer.get()
        } catch (InterruptedException ignored) {
            Thread.currentThread().interrupt()
            throw new Problem('interrupted', 0, 'Cancelled.', '', false)
        } catch (ExecutionException err) {
            throw err.cause
        }
    }

    private static Alert alert(Alert.AlertType type, Window owner, String title, String text) {
        Alert alert = new Alert(type)
        alert.initOwner(owner)
        alert.title = "slideloop: ${title}".toString()
        alert.headerText = null
        alert.contentText = text
        DialogPane pane = alert.dialogPane
        pane.prefWidth = 460
        // A long sentence is wrapped, and none of it is cut off.
        pane.minHeight = Region.USE_PREF_SIZE
        alert
    }
}
