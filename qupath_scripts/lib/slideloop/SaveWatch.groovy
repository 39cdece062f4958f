package slideloop

import groovy.transform.CompileStatic
import javafx.animation.PauseTransition
import javafx.application.Platform
import javafx.collections.ListChangeListener
import javafx.event.Event
import javafx.event.EventHandler
import javafx.scene.control.Menu
import javafx.scene.control.MenuItem
import javafx.scene.input.KeyCode
import javafx.scene.input.KeyCodeCombination
import javafx.scene.input.KeyCombination
import javafx.scene.input.KeyEvent
import javafx.stage.Modality
import javafx.stage.Stage
import javafx.stage.Window
import javafx.stage.WindowEvent
import javafx.util.Duration
import qupath.lib.gui.QuPathGUI

/**
 * Notices that QuPath may be about to save, of which it tells nobody: by keys, by the menu, in a
 * dialog that asks whether to ("Save changes?", on the way to another image or out), or on closing.
 * UI thread only.
 */
@CompileStatic
final class SaveWatch {

    private static final KeyCombination SAVE = new KeyCodeCombination(KeyCode.S, KeyCombination.SHORTCUT_DOWN)
    private static final double SETTLE_MS = 400

    private final Stage stage
    private final Runnable before
    private final Runnable after
    private final Menu file
    private final PauseTransition settling = new PauseTransition(Duration.millis(SETTLE_MS))

    private final EventHandler<WindowEvent> closing = { WindowEvent event -> expect() } as EventHandler<WindowEvent>
    private final EventHandler<Event> opening = { Event event -> expect() } as EventHandler<Event>
    private final EventHandler<KeyEvent> pressed = { KeyEvent event ->
        if (SAVE.match(event)) {
            expect()
        }
    } as EventHandler<KeyEvent>
    private final ListChangeListener<Window> asking = { ListChangeListener.Change<? extends Window> change ->
        while (change.next()) {
            if (change.addedSubList.any { Window window -> isQuestion(window) }) {
                expect()
            }
        }
    } as ListChangeListener<Window>

    /**
     * @param before is run each time before something may be saved, also when it already was
     * @param after is run when that is over, whether anything was saved or not
     */
    SaveWatch(QuPathGUI gui, Runnable before, Runnable after) {
        stage = gui.stage
        this.before = before
        this.after = after
        file = gui.menuBar.menus.find { Menu menu -> menu.items.any { MenuItem item -> item.accelerator == SAVE } }
        settling.onFinished = { settle() }
    }

    /** Begin to watch. */
    void start() {
        stage.addEventFilter(KeyEvent.KEY_PRESSED, pressed)
        // A filter: before QuPath itself hears of it.
        stage.addEventFilter(WindowEvent.WINDOW_CLOSE_REQUEST, closing)
        file?.addEventHandler(Menu.ON_SHOWING, opening)
        Window.windows.addListener(asking)
    }

    /** Watch no more; `after` is not run any more. */
    void stop() {
        settling.stop()
        stage.removeEventFilter(KeyEvent.KEY_PRESSED, pressed)
        stage.removeEventFilter(WindowEvent.WINDOW_CLOSE_REQUEST, closing)
        file?.removeEventHandler(Menu.ON_SHOWING, opening)
        Window.windows.removeListener(asking)
    }

    private void expect() {
        before.run()
        settling.playFromStart()
    }

    private void settle() {
        // A dialog waits in a loop of its own, and what it leads to follows at once.
        if (Platform.isNestedLoopRunning() || file?.isShowing()) {
            settling.playFromStart()
        } else {
            after.run()
        }
    }

    private static boolean isQuestion(Window window) {
        window instanceof Stage && ((Stage) window).modality != Modality.NONE && !((Stage) window).title?.startsWith('slideloop')
    }
}
