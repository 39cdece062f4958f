package slideloop

import groovy.transform.CompileStatic
import javafx.event.EventHandler
import javafx.scene.Scene
import javafx.scene.control.Button
import javafx.scene.input.KeyCode
import javafx.scene.input.KeyEvent

/** Enter and Esc in a window of ours that asks something. */
@CompileStatic
final class DialogKeys {

    private DialogKeys() {
    }

    /**
     * Have Enter press a button, whatever has the focus, but for another button: a check box would take
     * it as a click on itself. Esc presses the other one.
     */
    static void install(Scene scene, Button go, Button cancel) {
        scene.addEventFilter(KeyEvent.KEY_PRESSED, { KeyEvent event ->
            Button pressed = event.code == KeyCode.ESCAPE ? cancel :
                event.code == KeyCode.ENTER && !(scene.focusOwner instanceof Button) ? go : null
            if (pressed != null) {
                event.consume()
                pressed.fire()
            }
        } as EventHandler<KeyEvent>)
    }
}
