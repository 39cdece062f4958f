package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform
import javafx.beans.value.ChangeListener
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.images.ImageData
import qupath.lib.projects.Project

import java.awt.image.BufferedImage
import java.nio.file.Files
import java.nio.file.Path
import java.util.concurrent.Executors
import java.util.concurrent.ScheduledExecutorService
import java.util.concurrent.ThreadFactory
import java.util.concurrent.TimeUnit

/**
 * Tells programs that write into QuPath projects, by a file in the project's folder, that this QuPath
 * has it open, and which of its images are not saved: QuPath has no lock. The file is written again every
 * half minute, and goes with the project. `start` and `stop` in the UI thread; files are written in a thread of their own.
 */
@CompileStatic
final class Heartbeat {

    /** Of the file's name; what follows tells one QuPath from another. */
    static final String PREFIX = '.slideloop-open-'
    private static final long EVERY_S = 30

    private final QuPathGUI gui
    private final String name = "${PREFIX}${UUID.randomUUID()}.json"
    private final Map<String, Object> facts
    private final ScheduledExecutorService beating
    private final ChangeListener<Project<BufferedImage>> ear
    // In the thread of `beating` only.
    private Path file

    Heartbeat(QuPathGUI gui) {
        this.gui = gui
        facts = [user: System.getProperty('user.name'), host: host(), pid: ProcessHandle.current().pid(),
                 qupath: QuPathGUI.version?.toString()] as Map<String, Object>
        beating = Executors.newSingleThreadScheduledExecutor({ Runnable it ->
            Thread thread = new Thread(it, 'slideloop-heartbeat')
            thread.daemon = true
            thread
        } as ThreadFactory)
        ear = { observed, Project<BufferedImage> old, Project<BufferedImage> now -> follow(now) } as ChangeListener<Project<BufferedImage>>
    }

    /** Begin. */
    void start() {
        gui.projectProperty().addListener(ear)
        follow(gui.project)
        beating.scheduleWithFixedDelay({ Platform.runLater { beat() } } as Runnable, EVERY_S, EVERY_S, TimeUnit.SECONDS)
    }

    /** Cease, and take the file away. */
    void stop() {
        gui.projectProperty().removeListener(ear)
        follow(null)
        beating.shutdown()
    }

    private void follow(Project<BufferedImage> project) {
        // A project's path is that of its file.
        Path folder = project?.path?.toAbsolutePath()?.parent
        beating.execute {
            Path wanted = folder?.resolve(name)
            if (file != wanted) {
                away()
                file = wanted
                file?.toFile()?.deleteOnExit()
            }
        }
        beat()
    }

    /** UI thread: only there is it known what is not saved. */
    private void beat() {
        if (!beating.shutdown) {
            String said = Json.write(facts + ([unsaved: unsaved()] as Map<String, Object>))
            beating.execute { write(said) }
        }
    }

    /** Ids of the project's images that QuPath would ask about now, were they closed. */
    private List<String> unsaved() {
        List<ImageData<BufferedImage>> changed = gui.allViewers.collect { QuPathViewer it -> it.imageData }
            .findAll { ImageData<BufferedImage> it -> it?.changed }
        changed.collect { ImageData<BufferedImage> it -> gui.project?.getEntry(it)?.getID() }.findAll()
    }

    private void write(String said) {
        try {
            if (file != null) {
                Files.writeString(file, said)
            }
        } catch (IOException ignored) {
            // Who cannot write here cannot save here either, and nobody's import meets it.
        }
    }

    private void away() {
        try {
            if (file != null) {
                Files.deleteIfExists(file)
            }
        } catch (IOException ignored) {
            // It will be old in two minutes.
        }
    }

    /** Only for people to read; asking the network for it could take seconds. */
    private static String host() {
        System.getenv('COMPUTERNAME') ?: System.getenv('HOSTNAME')
    }
}
