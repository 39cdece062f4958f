package slideloop

import groovy.transform.CompileStatic
import javafx.geometry.Rectangle2D
import javafx.scene.Scene
import javafx.scene.input.KeyEvent
import javafx.stage.Screen
import javafx.stage.Stage
import javafx.stage.Window
import javafx.stage.WindowEvent

import java.util.function.LongSupplier

/**
 * The window in which patches are judged, one key each. Owned by the main window and not modal: the
 * viewer stays usable, and keys are ours only while this window has the focus. UI thread only.
 */
@CompileStatic
final class ReviewWindow {

    private static final double WIDTH = 1180
    private static final double HEIGHT = 800
    private static final double LEAST_WIDTH = 760
    private static final double LEAST_HEIGHT = 520

    private final Review review
    private final ReviewPane pane
    private final KeyGate gate
    private final Stage stage = new Stage()
    private Runnable closed = { }

    /**
     * Make the window; `show` shows it.
     *
     * @param owner the program's main window, null for none
     */
    ReviewWindow(Review review, Host host, Window owner) {
        this.review = review
        gate = new KeyGate({ (long) (System.nanoTime() / 1_000_000L) } as LongSupplier)
        pane = new ReviewPane(review, host, gate)
        Rectangle2D screen = (screenOf(owner) ?: Screen.primary).visualBounds
        Scene scene = new Scene(pane)
        URL style = ReviewWindow.getResource('review.css')
        scene.stylesheets.add(style.toExternalForm())
        scene.addEventFilter(KeyEvent.ANY) { KeyEvent event -> key(event) }
        stage.initOwner(owner)
        stage.title = 'slideloop: review'
        stage.scene = scene
        stage.width = Math.min(WIDTH, screen.width * 0.94d)
        stage.height = Math.min(HEIGHT, screen.height * 0.94d)
        stage.focusedProperty().addListener { observed, was, is -> pane.showFocus(is as boolean) }
        stage.addEventHandler(WindowEvent.WINDOW_HIDDEN) { WindowEvent event ->
            pane.awake = false
            closed.run()
        }
    }

    /**
     * Load and link what a window is made of, so that the first one opens sooner. For a background
     * thread, once, ahead of time; shows nothing.
     */
    static void warm() {
        ReviewPane.warm()
    }

    /** Show the window, or bring it to the front. */
    void show() {
        if (!stage.showing) {
            double width = stage.width, height = stage.height
            stage.show()
            // Some window managers give a new window a size of their own.
            stage.minWidth = Math.min(LEAST_WIDTH, width)
            stage.minHeight = Math.min(LEAST_HEIGHT, height)
            stage.width = width
            stage.height = height
            pane.awake = true
        }
        stage.toFront()
        stage.requestFocus()
    }

    /** Close the window; it can be shown again. Labels on their way are sent all the same. */
    void hide() {
        stage.hide()
    }

    /** Whether the window is there. */
    boolean isShowing() {
        stage.showing
    }

    /** Run something whenever the window has been closed, by Esc, by its frame or by `hide`. */
    void onClosed(Runnable action) {
        closed = action
    }

    /** Place and size on the screen, for whoever remembers it: logical pixels. */
    Rectangle2D getBounds() {
        new Rectangle2D(stage.x, stage.y, stage.width, stage.height)
    }

    /** Put the window where it was, if a good part of that place is still on a screen. */
    void setBounds(Rectangle2D bounds) {
        boolean isVisible = Screen.getScreensForRectangle(bounds).any { Screen screen ->
            Rectangle2D seen = screen.visualBounds
            seen.contains(bounds.minX + bounds.width / 2, bounds.minY + 20)
        }
        if (isVisible) {
            stage.x = bounds.minX
            stage.y = bounds.minY
            stage.width = bounds.width
            stage.height = bounds.height
        }
    }

    /** To be called when the program around shows another image, or none. */
    void imagesChanged() {
        pane.imagesChanged()
    }

    /** Close for good: reads no more pictures. */
    void dispose() {
        stage.hide()
        pane.dispose()
    }

    private void key(KeyEvent event) {
        KeyCommand command = Keys.command(event)
        if (event.eventType == KeyEvent.KEY_RELEASED) {
            gate.released(event.code.name())
        }
        if (command == null) {
            return
        }
        // Consumed even if it does nothing: no key of ours may also do something else.
        event.consume()
        if (event.eventType != KeyEvent.KEY_PRESSED) {
            return
        }
        boolean fresh = gate.pressed(event.code.name())
        switch (command) {
            case KeyCommand.LEFT: pane.move(-1, 0); break
            case KeyCommand.RIGHT: pane.move(1, 0); break
            case KeyCommand.UP: pane.move(0, -1); break
            case KeyCommand.DOWN: pane.move(0, 1); break
            default:
                if (fresh) {
                    once(command, event)
                }
        }
    }

    /** What a key that is held down must not do again. */
    private void once(KeyCommand command, KeyEvent event) {
        switch (command) {
            case KeyCommand.BACK: pane.back(); break
            case KeyCommand.CLOSE: hide(); break
            case KeyCommand.LABEL:
                String answer = Keys.label(event, review.view().classes)
                if (answer != null) {
                    pane.label(answer)
                }
        }
    }

    private static Screen screenOf(Window owner) {
        if (owner == null || Double.isNaN(owner.x)) {
            return null
        }
        Screen.getScreensForRectangle(owner.x, owner.y, owner.width, owner.height).find()
    }
}
