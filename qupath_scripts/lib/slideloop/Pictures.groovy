package slideloop

import groovy.transform.CompileStatic
import javafx.scene.image.Image
import javafx.scene.image.PixelFormat
import javafx.scene.image.WritableImage

import java.awt.image.BufferedImage
import java.util.concurrent.Executor
import java.util.function.Consumer

/**
 * The pictures of patches: read in the background in the order of need, and kept.
 *
 * The window says again and again which pictures it wants, most urgent first; what was asked before
 * and is not wanted any more is not read. Kept are those used last, up to a number of bytes. All
 * public methods are for the UI thread and return at once.
 */
@CompileStatic
final class Pictures implements AutoCloseable {

    /** A picture that cannot be read is tried again when it is wanted after this long. */
    static final long TRY_AGAIN_MS = 5000

    /** One picture: of which patch, how wide a field, how many pixels. */
    static final class Wanted {
        final Map patch
        final double context
        final int px
        /** What tells this picture from others: the same place in the same size is the same one. */
        final String key

        Wanted(Map patch, double context, int px) {
            this.patch = patch
            this.context = context
            this.px = px
            StringBuilder place = new StringBuilder()
            for (Object part : [patch.slide, patch.x, patch.y, patch.width, context, px]) {
                place.append(part).append(' ')
            }
            key = place.toString()
        }

    }

    /** What came of it: an image, or a sentence why there is none. */
    static final class Found {
        final Image image
        final String problem
        final long atMs

        Found(Image image, String problem, long atMs) {
            this.image = image
            this.problem = problem
            this.atMs = atMs
        }
    }

    private final Host host
    private final Executor ui
    private final long limitBytes
    private final List<Consumer<Wanted>> listeners = []
    private final List<Thread> readers = []

    // Below: only under the lock of this object.
    private final LinkedHashMap<String, Found> kept = new LinkedHashMap<>(64, 0.75f, true)
    private final Deque<Wanted> queue = new ArrayDeque<>()
    private final Set<String> needed = []
    private final Set<String> beingRead = []
    private long keptBytes
    private boolean closed

    /**
     * Start the threads that read.
     *
     * @param ui runs what listeners are to be told, on the UI thread
     * @param limitBytes of pixels to keep; what is wanted right now may exceed it
     * @param nThreads that read at once
     */
    Pictures(Host host, Executor ui, long limitBytes = 128L << 20, int nThreads = 2) {
        this.host = host
        this.ui = ui
        this.limitBytes = limitBytes
        for (int i = 0; i < nThreads; i++) {
            Thread reader = new Thread({ readOn() } as Runnable, "slideloop-pictures-${i}")
            reader.daemon = true
            readers << reader
            reader.start()
        }
    }

    /** Tell a listener, through the UI executor, of each picture that has come or failed. */
    void onArrival(Consumer<Wanted> listener) {
        listeners << listener
    }

    /** The picture or its problem if it is there, null if it is still to be read. */
    synchronized Found get(Wanted wanted) {
        kept.get(wanted.key)
    }

    /** Read these, most urgent first, instead of what was wanted before. */
    synchronized void want(Collection<Wanted> inOrder) {
        long now = nowMs()
        queue.clear()
        needed.clear()
        for (Wanted wanted : inOrder) {
            String key = wanted.key
            if (!needed.add(key)) {
                continue
            }
            Found found = kept.get(key)
            if (found != null && found.image == null && now - found.atMs > TRY_AGAIN_MS) {
                kept.remove(key)
                found = null
            }
            if (found == null) {
                queue.add(wanted)
            }
        }
        notifyAll()
    }

    /** Forget the pictures that could not be read: an image was opened, another try may succeed. */
    synchronized void forgetProblems() {
        kept.values().removeIf { Found found -> found.image == null }
    }

    /** Stop reading; the threads end with the picture that they are at. */
    @Override
    synchronized void close() {
        closed = true
        queue.clear()
        notifyAll()
    }

    private void readOn() {
        Wanted wanted
        while ((wanted = next()) != null) {
            Found found = read(wanted)
            keep(wanted.key, found)
            Wanted arrived = wanted
            ui.execute { ->
                for (Consumer<Wanted> listener : listeners) {
                    listener.accept(arrived)
                }
            }
        }
    }

    private synchronized Wanted next() {
        while (!closed) {
            for (Iterator<Wanted> waiting = queue.iterator(); waiting.hasNext();) {
                Wanted wanted = waiting.next()
                // One that another thread is at stays away from this one, and is not read twice.
                waiting.remove()
                if (beingRead.add(wanted.key)) {
                    return wanted
                }
            }
            wait()
        }
        null
    }

    private Found read(Wanted wanted) {
        try {
            BufferedImage picture = host.picture(wanted.patch, wanted.context, wanted.px)
            if (picture == null) {
                return new Found(null, 'The image of this patch cannot be read.', nowMs())
            }
            return new Found(image(picture), null, nowMs())
        } catch (Exception | LinkageError | OutOfMemoryError err) {
            // Whatever a reader of some format throws, the review goes on with the other patches.
            String why = err.message ?: err.class.simpleName
            return new Found(null, "The image of this patch cannot be read: $why" as String, nowMs())
        }
    }

    private synchronized void keep(String key, Found found) {
        beingRead.remove(key)
        if (closed) {
            return
        }
        kept.put(key, found)
        keptBytes = 0
        for (Found each : kept.values()) {
            keptBytes += bytes(each)
        }
        for (Iterator<Map.Entry<String, Found>> oldest = kept.entrySet().iterator();
                keptBytes > limitBytes && oldest.hasNext();) {
            Map.Entry<String, Found> entry = oldest.next()
            if (!needed.contains(entry.key)) {
                keptBytes -= bytes(entry.value)
                oldest.remove()
            }
        }
    }

    private static long bytes(Found found) {
        found.image == null ? 0L : (long) (4 * found.image.width * found.image.height)
    }

    /** Pixels without javafx.swing, which not every installation has. */
    private static Image image(BufferedImage picture) {
        int width = picture.width, height = picture.height
        int[] argb = picture.getRGB(0, 0, width, height, null, 0, width)
        WritableImage image = new WritableImage(width, height)
        image.pixelWriter.setPixels(0, 0, width, height, PixelFormat.intArgbInstance, argb, 0, width)
        image
    }

    private static long nowMs() {
        (long) (System.nanoTime() / 1_000_000L)
    }
}
