package slideloop

import groovy.transform.CompileStatic
import javafx.beans.property.BooleanProperty
import javafx.beans.property.StringProperty
import qupath.lib.gui.UserDirectoryManager
import qupath.lib.gui.prefs.PathPrefs

import java.nio.file.Path

/**
 * What is remembered from one start of QuPath to the next, as preferences of QuPath's, and where our
 * files lie. UI thread, but for `token`, which requests ask for in their own threads.
 */
@CompileStatic
final class Settings {

    /** Address of the server. */
    final StringProperty url = PathPrefs.createPersistentPreference('slideloopUrl', 'http://127.0.0.1:8765')

    /** Who judges; stands in the journal of every study; blank for nobody. */
    final StringProperty reader = PathPrefs.createPersistentPreference('slideloopReader', '')

    /** Names of the classes of the study made last, a line each. */
    final StringProperty classes = PathPrefs.createPersistentPreference('slideloopClasses', '')

    /** Whether a server that was started here is stopped when QuPath ends. */
    final BooleanProperty stopsServer = PathPrefs.createPersistentPreference('slideloopStopsServer', true)

    /** What classes of studies are called here, where they were renamed. */
    final ClassNames classNames = new ClassNames(PathPrefs.createPersistentPreference('slideloopClassNames', ''))

    /** Place of the review window: x, y, width, height in logical pixels; blank before it was shown. */
    final StringProperty reviewBounds = PathPrefs.createPersistentPreference('slideloopReviewBounds', '')

    private final StringProperty tokenKept = PathPrefs.createPersistentPreference('slideloopToken', '')
    private volatile String tokenNow

    Settings() {
        tokenNow = tokenKept.get()
    }

    /** The server's token, blank for none; from any thread. */
    String token() {
        tokenNow
    }

    /** Remember another token. */
    void setToken(String token) {
        tokenNow = (token ?: '').trim()
        tokenKept.set(tokenNow)
    }

    /** Folder of the outboxes. */
    static Path outboxes() {
        folder().resolve('outbox')
    }

    /** File with what a server said that was started here. */
    static Path serverLog() {
        folder().resolve('server.log')
    }

    /** Ours in QuPath's user directory, or where there is none, in the user's home. */
    private static Path folder() {
        Path user = UserDirectoryManager.getInstance().getUserPath()
        (user ?: Path.of(System.getProperty('user.home'), '.slideloop')).resolve('slideloop')
    }
}
