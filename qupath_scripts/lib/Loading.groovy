import groovy.transform.CompileStatic
import javafx.application.Platform
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration
import org.slf4j.Logger
import org.slf4j.LoggerFactory
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.UserDirectoryManager

import java.nio.file.Files
import java.nio.file.Path
import java.security.MessageDigest

/**
 * Brings the library beside it into QuPath, and gives it commands.
 *
 * The library is compiled once for each version of itself and of Groovy, which takes seconds; the class
 * files are kept in QuPath's user directory. Never in the thread of the window.
 */
@CompileStatic
final class Loading {

    private static final Logger LOG = LoggerFactory.getLogger('slideloop')
    private static final String KEY = 'slideloop'
    private static final String DONE = 'complete'

    private Loading() {
    }

    /** Install the menu, from the start-up script; an older one is replaced. Any thread; returns at once. */
    static void start(File lib) {
        inBackground(lib) {
            Class<?> starting = load(lib).loadClass('slideloop.Starting')
            starting.getMethod('warm').invoke(null)
            Platform.runLater { starting.getMethod('install').invoke(null) }
        }
    }

    /**
     * Give a command, with the library that the start-up script loaded or else with this one. Any
     * thread; returns at once.
     *
     * @param command a name of slideloop.Commands
     */
    static void run(File lib, String command) {
        if (QuPathGUI.getInstance() == null) {
            throw new IllegalStateException('slideloop works in QuPath\'s window: run this script there, not on the command line.')
        }
        inBackground(lib) {
            Object there = QuPathGUI.getInstance().getStage().getProperties()[KEY]
            Class<?> type = there != null ? there.class : load(lib).loadClass('slideloop.App')
            Platform.runLater {
                Object app = there ?: type.getMethod('current').invoke(null)
                app.class.getMethod('run', String).invoke(app, command)
            }
        }
    }

    /** The library's classes, in a loader of their own. Takes seconds the first time. */
    static ClassLoader load(File lib) {
        ClassLoader quPath = Loading.classLoader.parent
        Path kept = folder(lib)
        if (!Files.exists(kept.resolve(DONE))) {
            compile(lib, kept, quPath)
        }
        new URLClassLoader([kept.toUri().toURL(), lib.toURI().toURL()] as URL[], quPath)
    }

    private static void inBackground(File lib, Runnable work) {
        Thread thread = new Thread({
            try {
                work.run()
            } catch (Throwable err) {
                LOG.error("slideloop cannot start from ${lib}", err)
            }
        } as Runnable, 'slideloop-start')
        thread.daemon = true
        thread.start()
    }

    private static void compile(File lib, Path kept, ClassLoader quPath) {
        Files.createDirectories(kept.parent)
        Path unfinished = Files.createTempDirectory(kept.parent, 'unfinished-')
        CompilerConfiguration settings = new CompilerConfiguration()
        settings.targetDirectory = unfinished.toFile()
        settings.targetBytecode = '17'
        CompilationUnit unit = new CompilationUnit(settings, null, new GroovyClassLoader(quPath, settings))
        sources(lib).each { File source -> unit.addSource(source) }
        unit.compile()
        Files.createFile(unfinished.resolve(DONE))
        if (Files.exists(kept)) {
            kept.toFile().deleteDir()
        }
        try {
            Files.move(unfinished, kept)
        } catch (IOException err) {
            // Another QuPath was quicker.
            unfinished.toFile().deleteDir()
            if (!Files.exists(kept.resolve(DONE))) {
                throw err
            }
        }
    }

    /** Where the class files of this library lie, named by what it is compiled from and with. */
    private static Path folder(File lib) {
        MessageDigest digest = MessageDigest.getInstance('SHA-256')
        digest.update("${GroovySystem.version} ${QuPathGUI.getVersion()}".toString().getBytes('UTF-8'))
        sources(lib).each { File source ->
            digest.update(source.name.getBytes('UTF-8'))
            digest.update(source.bytes)
        }
        Path user = UserDirectoryManager.getInstance().getUserPath() ?: Path.of(System.getProperty('user.home'), '.slideloop')
        user.resolve('slideloop').resolve('classes').resolve(digest.digest().encodeHex().toString().take(16))
    }

    private static List<File> sources(File lib) {
        List<File> found = new File(lib, 'slideloop').listFiles().findAll { File file -> file.name.endsWith('.groovy') }
        found.sort { File file -> file.name }
    }
}
