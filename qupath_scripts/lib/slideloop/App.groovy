package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform
import javafx.beans.property.BooleanProperty
import javafx.beans.value.ChangeListener
import javafx.geometry.Rectangle2D
import javafx.stage.Stage
import qupath.lib.gui.QuPathGUI
import qupath.lib.images.ImageData

import java.awt.image.BufferedImage
import java.util.concurrent.Executor
import java.util.function.Consumer
import java.util.function.Function
import java.util.function.Supplier

/**
 * slideloop within one QuPath: the connection, the review and its window, the patches in the viewers.
 *
 * There is one of it, kept with QuPath's main window, whichever script made it. UI thread only, unless
 * said otherwise.
 */
@CompileStatic
final class App {

    private static final String KEY = 'slideloop'
    private static final String OWN_SERVER = 'slideloop-server'
    private static final int N_TRIES = 20
    private static final long TRY_AGAIN_MS = 100

    final QuPathGUI gui
    final Stage stage
    final Settings settings
    final SlideImages images
    final QuPathHost host
    final Temporary temporary
    final PredictionView prediction

    /** The connection; null until `connect` is done, or while it is not possible (`trouble`). */
    Connection connection
    /** Why there is no connection: no address, the outbox in use by another QuPath. Null if there is one. */
    Problem trouble

    private ReviewWindow window
    private final List<Runnable> listeners = []
    private final Set<String> askedFor = new HashSet<>()
    private final ChangeListener<ImageData<BufferedImage>> imageEar
    private final SaveWatch saveWatch
    private final Heartbeat heartbeat
    private boolean isDisposed

    /** A server, what is on its way to it, and the review of its studies. */
    @CompileStatic
    static final class Connection {
        final Server server
        final Outbox outbox
        final Review review

        Connection(Server server, Outbox outbox, Review review) {
            this.server = server
            this.outbox = outbox
            this.review = review
        }
    }

    private App(QuPathGUI gui) {
        this.gui = gui
        stage = gui.stage
        settings = new Settings()
        images = new SlideImages(gui)
        host = new QuPathHost(images, { settings.classNames.of(study?.get('id') as String) } as Supplier<StudyNames>)
        temporary = new Temporary(gui, images, settings.classNames)
        prediction = new PredictionView(this)
        imageEar = { observed, ImageData<BufferedImage> old, ImageData<BufferedImage> now -> imageChanged(old) } as ChangeListener<ImageData<BufferedImage>>
        heartbeat = new Heartbeat(gui)
        saveWatch = new SaveWatch(gui, {
            keepBounds()
            temporary.suspend()
        }, { temporary.resume() })
    }

    /**
     * The one of this QuPath, made and started if there is none.
     *
     * @return an App; of another class loader's class where another script made it
     */
    static Object current() {
        QuPathGUI gui = QuPathGUI.getInstance()
        Object found = gui.stage.properties[KEY]
        if (found == null) {
            App app = new App(gui)
            gui.stage.properties[KEY] = app
            app.start()
            found = app
        }
        found
    }

    /** The one of this QuPath, made anew: one that is there is ended first. */
    static App renewed() {
        QuPathGUI gui = QuPathGUI.getInstance()
        Object old = gui.stage.properties.remove(KEY)
        if (old != null) {
            // It may be of another class loader's class, so that no cast fits.
            old.class.getMethod('dispose').invoke(old)
        }
        (App) current()
    }

    /** Run a command by its name, as the menu does; see Commands. */
    void run(String command) {
        new Commands(this).run(command)
    }

    /** Have a listener called in the UI thread after changes of connection, review and images. */
    void onChange(Runnable listener) {
        listeners << listener
    }

    /** The study that is open in the review, null for none. */
    Map<String, Object> getStudy() {
        View view = connection?.review?.view()
        view == null || view.state == 'closed' ? null : view.study
    }

    /**
     * Connect to the server of the settings. Nothing is sent yet: it need not be there.
     *
     * @param then is run when it is done, connected or not (`trouble`)
     */
    void connect(Runnable then) {
        Outbox old = leave()
        String url = settings.url.get()
        background('slideloop-connect') {
            old?.close()
            Server server = null
            Outbox outbox = null
            Problem problem = null
            try {
                server = new Server(url, { settings.token() } as Supplier<String>)
                outbox = openOutbox(server)
            } catch (Problem err) {
                problem = err
            }
            Platform.runLater {
                enter(server, outbox, problem)
                then.run()
            }
        }
    }

    /**
     * Run something that needs the connection; says why where there is none.
     *
     * @param title of what is to be done
     */
    void connected(String title, Runnable action) {
        if (connection != null) {
            action.run()
            return
        }
        connect {
            if (connection != null) {
                action.run()
            } else {
                Say.problem(stage, title, trouble)
            }
        }
    }

    /**
     * Run something that needs a server that answers; where none runs on this computer, one is started
     * if the scripts know how.
     *
     * @param title of what is to be done
     */
    void reached(String title, Runnable action) {
        connected(title) {
            Server server = connection.server
            Work.start(stage, 'Looking for the server', { Work work -> reach(server, work) } as Function<Work, Boolean>, { Boolean isStarted ->
                if (isStarted) {
                    connection?.outbox?.poke()
                }
                action.run()
            } as Consumer<Boolean>)
        }
    }

    /** The server that was started by this QuPath; null if none was, or it has ended. */
    Process getOwnServer() {
        Process process = (Process) gui.stage.properties[OWN_SERVER]
        process?.alive ? process : null
    }

    /** To be called when classes of the open study got other names here. */
    void namesChanged() {
        temporary.sync()
        changed()
    }

    /** Whether the server was started, since it was not there. Not in the UI thread. */
    private boolean reach(Server server, Work work) {
        try {
            server.get('/health')
            return false
        } catch (Problem problem) {
            List<String> command = LocalServer.noted()
            if (problem.code != Problem.UNREACHABLE || command == null || !LocalServer.canAnswerAt(server)) {
                throw problem
            }
            work.at('Starting the server')
            own(new LocalServer(server, command, Settings.serverLog()).start { String said -> work.at("Starting the server. ${said}".toString()) })
            return true
        }
    }

    /** Has a server that was started here end with QuPath, if that is wanted then. */
    private void own(Process process) {
        if (process == null) {
            return
        }
        BooleanProperty stops = settings.stopsServer
        Runtime.runtime.addShutdownHook(new Thread({
            if (stops.get()) {
                LocalServer.stop(process)
            }
        } as Runnable, 'slideloop-stop-server'))
        Platform.runLater { gui.stage.properties[OWN_SERVER] = process }
    }

    /** Open a study in the review, and show the review's window. */
    void review(String studyId) {
        Map<String, Object> open = getStudy()
        if (open == null || open['id'] != studyId) {
            connection.review.open(studyId)
        } else {
            connection.review.refresh()
        }
        showReview()
    }

    /** Show the review's window. */
    void showReview() {
        if (window == null) {
            window = new ReviewWindow(connection.review, host, stage)
            window.onClosed { keepBounds() }
            List<String> kept = settings.reviewBounds.get().split(' ') as List<String>
            if (kept.size() == 4) {
                List<Double> numbers = kept.collect { String it -> Double.parseDouble(it) }
                window.setBounds(new Rectangle2D(numbers[0], numbers[1], numbers[2], numbers[3]))
            }
        }
        window.show()
    }

    /** End it: the windows, the connection, the patches in the viewers. What waits stays on the disk. */
    void dispose() {
        isDisposed = true
        gui.imageDataProperty().removeListener(imageEar)
        saveWatch.stop()
        heartbeat.stop()
        temporary.dispose()
        prediction.hide()
        Outbox old = leave()
        background('slideloop-close') {
            old?.close()
            images.close()
        }
    }

    private void start() {
        gui.imageDataProperty().addListener(imageEar)
        saveWatch.start()
        heartbeat.start()
        images.imagesChanged()
        temporary.sync()
        connect { }
    }

    private void enter(Server server, Outbox outbox, Problem problem) {
        if (isDisposed) {
            background('slideloop-close') { outbox?.close() }
            return
        }
        trouble = problem
        if (problem == null) {
            Review review = new Review(server, outbox, { Runnable it -> Platform.runLater(it) } as Executor)
            review.reader = settings.reader.get() ?: null
            review.onChange { reviewChanged() }
            connection = new Connection(server, outbox, review)
        }
        changed()
    }

    /** Ends the connection; the outbox is returned to be closed by another thread: it waits for the disk. */
    private Outbox leave() {
        Connection old = connection
        connection = null
        window?.dispose()
        window = null
        if (old != null) {
            old.review.dispose()
            temporary.show(old.review.view())
        }
        old?.outbox
    }

    /** One that was just closed may still hold the folder. */
    private static Outbox openOutbox(Server server) {
        for (int left = N_TRIES; ; left--) {
            try {
                return new Outbox(Outbox.folderFor(Settings.outboxes(), server), server)
            } catch (Problem err) {
                if (err.code != 'outbox_in_use' || left == 0) {
                    throw err
                }
                sleep(TRY_AGAIN_MS)
            }
        }
    }

    private static void background(String name, Runnable work) {
        Thread thread = new Thread(work, name)
        thread.daemon = true
        thread.start()
    }

    private void reviewChanged() {
        View view = connection?.review?.view()
        if (view == null) {
            return
        }
        learnSlides(view)
        temporary.show(view)
        changed()
    }

    /** Ask for the slides of the study that nothing is known of yet: pictures and annotations need them. */
    private void learnSlides(View view) {
        List<String> ids = ((List<String>) view.study?.get('slides')) ?: (List<String>) []
        List<String> unknown = ids.findAll { String it -> !images.isKnown(it) && askedFor.add(it) }
        if (!unknown) {
            return
        }
        Server server = connection.server
        background('slideloop-slides') {
            boolean isLearnt = false
            unknown.each { String id ->
                try {
                    images.learn((Map<String, Object>) server.get("/slides/${Server.segment(id)}"))
                    isLearnt = true
                } catch (Problem ignored) {
                    // Asked again with the next change; the window says that the picture is missing.
                    Platform.runLater { askedFor.remove(id) }
                }
            }
            if (isLearnt) {
                Platform.runLater {
                    window?.imagesChanged()
                    temporary.sync()
                    changed()
                }
            }
        }
    }

    private void imageChanged(ImageData<BufferedImage> old) {
        images.imagesChanged()
        temporary.imagesChanged(old)
        window?.imagesChanged()
        changed()
    }

    private void keepBounds() {
        Rectangle2D bounds = window?.bounds
        if (bounds != null && !Double.isNaN(bounds.minX)) {
            settings.reviewBounds.set("${bounds.minX} ${bounds.minY} ${bounds.width} ${bounds.height}".toString())
        }
    }

    private void changed() {
        new ArrayList<Runnable>(listeners).each { Runnable it -> it.run() }
    }
}
