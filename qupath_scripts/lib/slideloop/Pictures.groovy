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

    private final Host host
    private final Executor ui
    private final long limitBytes
    private final List<Consumer<WantedPicture>> listeners = []
    private final List<Thread> readers = []

    // Below: only under the lock of this object.
    private final LinkedHashMap<String, FoundPicture> kept = new LinkedHashMap<>(64, 0.75f, true)
    private final Deque<WantedPicture> queue = new ArrayDeque<>()
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
    void onArrival(Consumer<WantedPicture> listener) {
        listeners << listener
    }

    /** The picture or its problem if it is there, null if it is still to be read. */
    synchronized FoundPicture get(WantedPicture wanted) {
        kept.get(wanted.key)
    }

    /** Read these, most urgent first, instead of what was wanted before. */
    synchronized void want(Collection<WantedPicture> inOrder) {
        long now = nowMs()
        queue.clear()
        needed.clear()
        for (WantedPicture wanted : inOrder) {
            String key = wanted.key
            if (!needed.add(key)) {
                continue
            }
            FoundPicture found = kept.get(key)
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
        kept.values().removeIf { FoundPicture found -> found.image == null }
    }

    /** Stop reading; the threads end with the picture that they are at. */
    @Override
    synchronized void close() {
        closed = true
        queue.clear()
        notifyAll()
    }

    private void readOn() {
        WantedPicture wanted
        while ((wanted = next()) != null) {
            FoundPicture found = read(wanted)
            keep(wanted.key, found)
            WantedPicture arrived = wanted
            ui.execute { ->
                for (Consumer<WantedPicture> listener : listeners) {
                    listener.accept(arrived)
                }
            }
        }
    }

    private synchronized WantedPicture next() {
        while (!closed) {
            for (Iterator<WantedPicture> waiting = queue.iterator(); waiting.hasNext();) {
                WantedPicture wanted = waiting.next()
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

    private FoundPicture read(WantedPicture wanted) {
        try {
            BufferedImage picture = host.picture(wanted.patch, wanted.context, wanted.px)
            if (picture == null) {
                return new FoundPicture(null, 'The image of this patch cannot be read.', nowMs())
            }
            return new FoundPicture(image(picture), null, nowMs())
        } catch (Exception | LinkageError | OutOfMemoryError err) {
            // Whatever a reader of some format throws, the review goes on with the other patches.
            String why = err.message ?: err.class.simpleName
            return new FoundPicture(null, "The image of this patch cannot be read: $why" as String, nowMs())
        }
    }

    private synchronized void keep(String key, FoundPicture found) {
        beingRead.remove(key)
        if (closed) {
            return
        }
        kept.put(key, found)
        keptBytes = 0
        for (FoundPicture each : kept.values()) {
            keptBytes += bytes(each)
        }
        for (Iterator<Map.Entry<String, FoundPicture>> oldest = kept.entrySet().iterator();
                keptBytes > limitBytes && oldest.hasNext();) {
            Map.Entry<String, FoundPicture> entry = oldest.next()
            if (!needed.contains(entry.key)) {
                keptBytes -= bytes(entry.value)
                oldest.remove()
            }
        }
    }

    private static long bytes(FoundPicture found) {
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
