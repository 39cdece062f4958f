// The review window as a person meets it: SLIDE_PNG SLIDE_ID. Does what the lines of stdin say.
// A command is {"do": name, ..}; its answer {"done": name, "found": .., "problem": ..}. Every view is printed.
import groovy.transform.CompileStatic
import javafx.application.Platform
import javafx.scene.Node
import javafx.scene.Scene
import javafx.scene.control.Labeled
import javafx.scene.input.KeyEvent
import javafx.scene.input.MouseEvent
import javafx.scene.layout.StackPane
import javafx.stage.Stage
import javafx.stage.Window
import slideloop.Host
import slideloop.Json
import slideloop.Outbox
import slideloop.Review
import slideloop.ReviewWindow
import slideloop.Server

import javax.imageio.ImageIO
import java.awt.Color
import java.awt.RenderingHints
import java.awt.geom.AffineTransform
import java.awt.image.BufferedImage
import java.lang.management.ManagementFactory
import java.lang.management.ThreadMXBean
import java.nio.file.Path
import java.util.concurrent.CompletableFuture
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.CopyOnWriteArrayList
import java.util.concurrent.Executors

/** Pictures from a PNG of the slide, as slow as they are wanted. */
class PngHost implements Host {
    BufferedImage slide
    String slideId
    volatile int delayMs
    volatile boolean isUnreadable
    final List<String> centred = new CopyOnWriteArrayList<>()
    final Set<String> read = ConcurrentHashMap.newKeySet()

    boolean centre(Map patch) {
        centred << patch.id
        patch.slide == slideId
    }

    BufferedImage picture(Map patch, double context, int px) {
        sleep(delayMs)
        if (isUnreadable) {
            return null
        }
        double side = patch.width * context
        double x = patch.x + patch.width / 2 - side / 2, y = patch.y + patch.height / 2 - side / 2
        def picture = new BufferedImage(px, px, BufferedImage.TYPE_INT_RGB)
        def pen = picture.createGraphics()
        pen.color = Color.WHITE
        pen.fillRect(0, 0, px, px)
        pen.setRenderingHint(RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BILINEAR)
        double scale = px / side
        pen.drawImage(slide, new AffineTransform(scale, 0, 0, scale, -x * scale, -y * scale), null)
        pen.dispose()
        read << "${patch.id} ${context}".toString()
        picture
    }

    String otherImage(String id) {
        id == slideId ? null : "Präparat $id"
    }

    int colour(String name) {
        name.hashCode() & 0xffffff
    }
}

/**
 * How long the window kept the FX thread: what was computed there, and how long our code waited there.
 * Not counted are what this program asks of that thread itself, and processors that others have.
 */
@CompileStatic
class Watch extends Thread {
    final Thread fx
    volatile boolean isDisturbed
    volatile double longestMs

    Watch(Thread fx) {
        this.fx = fx
        daemon = true
    }

    void run() {
        ThreadMXBean times = ManagementFactory.threadMXBean
        while (true) {
            sleep(10)
            CompletableFuture<Void> done = new CompletableFuture<>()
            isDisturbed = false
            long cpu = times.getThreadCpuTime(fx.id), waited = 0
            Platform.runLater { done.complete(null) }
            while (!done.done) {
                long start = System.nanoTime()
                boolean isOurs = isWaitingForUs()
                sleep(2)
                waited += isOurs && isWaitingForUs() ? System.nanoTime() - start : 0
            }
            if (!isDisturbed) {
                longestMs = Math.max(longestMs, (times.getThreadCpuTime(fx.id) - cpu + waited) / 1e6d)
            }
        }
    }

    private boolean isWaitingForUs() {
        fx.state != Thread.State.RUNNABLE && fx.stackTrace.any { it.className.startsWith('slideloop') }
    }
}

class Program {
    final out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, 'UTF-8')
    final teller = Executors.newSingleThreadExecutor { work -> new Thread(work).tap { daemon = true } }
    Watch watch
    final presses = new CopyOnWriteArrayList<String>()
    final leaked = new CopyOnWriteArrayList<String>()
    volatile int nClicks
    PngHost host
    Stage main
    Outbox outbox
    Review review
    ReviewWindow window

    synchronized void say(Map line) {
        out.println(Json.write(line))
    }

    void start(String png, String slideId) {
        ReviewWindow.warm()
        host = new PngHost(slide: ImageIO.read(new File(png)), slideId: slideId)
        fx {
            main = new Stage()
            main.title = 'main'
            main.scene = new Scene(new StackPane(), 200, 100)
            main.scene.addEventFilter(KeyEvent.KEY_PRESSED) { leaked << it.code.name() }
            main.x = 0
            main.y = 0
            main.show()
        }
        watch = new Watch(fx { Thread.currentThread() })
        watch.start()
    }

    def fx(Closure work) {
        def done = new CompletableFuture()
        Platform.runLater {
            watch?.isDisturbed = true
            try {
                done.complete(work.call())
            } catch (Throwable fault) {
                done.completeExceptionally(fault)
            }
            watch?.isDisturbed = true
        }
        done.get()
    }

    void connect(Map line) {
        def server = new Server(line.url, { null })
        outbox = new Outbox(Path.of(line.folder), server)
        fx {
            review = new Review(server, outbox, Platform.&runLater)
            review.onChange {
                watch.isDisturbed = true
                def view = review.view()
                teller.execute { tell(view) }
            }
            window = new ReviewWindow(review, host, main)
            if (line.style) {
                stage().scene.root.style = line.style
            }
            window.show()
            stage().scene.addEventFilter(KeyEvent.KEY_PRESSED) { presses << it.code.name() }
            stage().scene.addEventFilter(MouseEvent.MOUSE_PRESSED) { nClicks++ }
        }
        presses.clear()
        leaked.clear()
        host.centred.clear()
        host.delayMs = 0
        host.isUnreadable = false
        watch.longestMs = 0
    }

    void end() {
        fx {
            window?.dispose()
            review?.dispose()
        }
        outbox?.close()
    }

    void tell(view) {
        say(view: [
            round_id: view.round?.round_id, round: view.round?.round, patches: view.patches, patch: view.patch?.id,
            state: view.state, position: view.position, labels: view.labels, saved: view.saved, note: view.note,
            problem: view.problem?.code, waiting: view.waiting, refused: view.refused*.event_id, classes: view.classes,
        ])
    }

    Stage stage() {
        Window.windows.find { it instanceof Stage && it.title?.startsWith('slideloop') } as Stage ?: window.@stage
    }

    List<Node> nodes(String styleClass) {
        stage().scene.root.lookupAll('.' + styleClass).findAll { visible(it) } as List
    }

    boolean visible(Node node) {
        node == null || (node.visible && visible(node.parent))
    }

    /** Everything that can be read in the window. */
    List<String> texts() {
        nodes('label').collect { ((Labeled) it).text }.findAll() + nodes('button').collect { ((Labeled) it).text }
    }

    /** The middle of a node on the screen. */
    List middle(Node node) {
        def bounds = node.localToScreen(node.layoutBounds)
        [bounds.centerX, bounds.centerY]
    }

    List box(Node node) {
        def bounds = node.localToScreen(node.layoutBounds)
        [bounds.minX, bounds.minY, bounds.width, bounds.height]
    }

    def run(Map line) {
        switch (line.do) {
            case 'connect': return connect(line)
            case 'end': return end()
            case 'host': line.fields.each { name, value -> host."$name" = value }; return null
            case 'show': return fx { window.show() }
            case 'main': return fx { main.requestFocus() }
            case 'size': return fx { stage().width = line.width; stage().height = line.height }
            case 'images': return fx { window.imagesChanged() }
            case 'seen': return fx {
                [showing: window.showing, focused: stage().focused, texts: texts(), presses: presses as List,
                 leaked: leaked as List, n_clicks: nClicks, is_seen: window.@gate.mayLabelByClick(), centred: host.centred as List, n_read: host.read.size(), longest_ms: watch.longestMs]
            }
            case 'reset': presses.clear(); host.centred.clear(); watch.longestMs = 0; return null
            case 'thumbnail': return fx { middle(nodes('thumbnail')[line.index as int]) }
            case 'row': return fx {
                middle(nodes('legend-row').find { row -> row.lookupAll('.label').any { it.text == line.text } })
            }
            case 'button': return fx { middle(nodes('button').find { it.text == line.text }) }
            case 'boxes': return fx { nodes(line.style).collect { box(it) } }
            case 'snapshot': return fx { snapshot(stage().scene.root, new File(line.file)) }
            case 'picture': return fx { snapshot(nodes('picture')[line.scale as int], new File(line.file)) }
        }
        fx { review."${line.do}"(*(line.given ?: []).collect { it instanceof Long ? (int) it : it }) }
        null
    }

    static void snapshot(Node node, File file) {
        def image = node.snapshot(null, null)
        def copy = new BufferedImage((int) image.width, (int) image.height, BufferedImage.TYPE_INT_RGB)
        for (int y = 0; y < copy.height; y++) {
            for (int x = 0; x < copy.width; x++) {
                copy.setRGB(x, y, image.pixelReader.getArgb(x, y))
            }
        }
        ImageIO.write(copy, 'png', file)
    }

    void listen() {
        System.in.eachLine('UTF-8') { text ->
            def line = Json.read(text)
            def start = System.nanoTime()
            def answer = [done: line.do]
            try {
                answer.found = run(line)
            } catch (Throwable fault) {
                fault.printStackTrace()
                answer.problem = [code: 'fault', message: fault.toString()]
            }
            answer.ms = (System.nanoTime() - start) / 1e6d
            say(answer)
        }
    }
}

Platform.implicitExit = false
def started = new CompletableFuture()
Platform.startup { started.complete(null) }
started.get()
def program = new Program()
program.start(args[0], args[1])
program.listen()
System.exit(0)
