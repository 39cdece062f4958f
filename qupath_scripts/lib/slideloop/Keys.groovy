package slideloop

import groovy.transform.CompileStatic
import javafx.scene.input.KeyCode
import javafx.scene.input.KeyEvent

/** Which key of the review window means what. Pure. */
@CompileStatic
final class Keys {

    /** What a key can ask for. */
    static enum Command {
        LABEL, BACK, LEFT, RIGHT, UP, DOWN, CLOSE
    }

    /** More classes than these have no key: they are labelled by mouse. */
    static final int N_CLASS_KEYS = 9

    private static final Map<KeyCode, Command> COMMANDS = [
        (KeyCode.BACK_SPACE): Command.BACK,
        (KeyCode.LEFT)      : Command.LEFT,
        (KeyCode.KP_LEFT)   : Command.LEFT,
        (KeyCode.RIGHT)     : Command.RIGHT,
        (KeyCode.KP_RIGHT)  : Command.RIGHT,
        (KeyCode.UP)        : Command.UP,
        (KeyCode.KP_UP)     : Command.UP,
        (KeyCode.DOWN)      : Command.DOWN,
        (KeyCode.KP_DOWN)   : Command.DOWN,
        (KeyCode.ESCAPE)    : Command.CLOSE,
    ]

    private Keys() {
    }

    /** What a pressed key asks for; null if it is not ours. */
    static Command command(KeyEvent key) {
        if (key.controlDown || key.altDown || key.metaDown) {
            return null
        }
        Command found = key.shiftDown ? null : COMMANDS.get(key.code)
        found ?: (digit(key) > 0 || other(key) ? Command.LABEL : null)
    }

    /**
     * The label that a key gives.
     *
     * @param classes of the study, in order
     * @return the class, `unsure` or `exclude`; null if the study has no class for that key
     */
    static String label(KeyEvent key, List<String> classes) {
        int n = digit(key)
        n == 0 ? other(key) : n <= classes.size() ? classes[n - 1] : null
    }

    private static String other(KeyEvent key) {
        key.code == KeyCode.U ? WindowWords.UNSURE : key.code == KeyCode.X ? WindowWords.EXCLUDE : null
    }

    /**
     * 1 to 9, or 0 for another key. Where the digits need Shift (a French keyboard) it is the
     * character that counts; Shift with a digit's key elsewhere gives another character and nothing.
     */
    private static int digit(KeyEvent key) {
        String text = key.text
        if (text != null && text.length() == 1 && text >= '1' && text <= '9') {
            return Character.digit(text.charAt(0), 10)
        }
        if (key.shiftDown || !key.code.digitKey) {
            return 0
        }
        String name = key.code.name() // DIGIT3, NUMPAD3
        Character.digit(name.charAt(name.length() - 1), 10)
    }
}
