package slideloop

import groovy.transform.CompileStatic
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServer
import qupath.lib.images.servers.ImageServerBuilder
import qupath.lib.projects.Project
import qupath.lib.projects.ProjectImageEntry

import java.awt.image.BufferedImage
import java.nio.file.Path
import java.util.concurrent.ConcurrentHashMap

/**
 * Which of the server's slides is which image here: the one in a viewer, or an entry of the project.
 *
 * One image may be several slides, one for each patch size. An image is known by the file that it was
 * opened from when it was sent; of a slide that others sent, by its path, or by name and size where
 * the server sees another path. `picture`'s threads use `reader`; all else is for the UI thread.
 */
@CompileStatic
final class SlideImages implements Closeable {

    private static final int MOST_OPEN = 6

    /** An image on display, as other threads may use it. */
    private static final class Shown {
        final String uri
        final int width
        final int height
        final ImageServerBuilder.ServerBuilder<BufferedImage> builder

        Shown(ImageServer<BufferedImage> server) {
            uri = ImageFacts.uri(server)
            width = server.width
            height = server.height
            builder = server.builder
        }
    }

    private final QuPathGUI gui
    private final Map<String, Map<String, Object>> slides = new ConcurrentHashMap<>()
    private final Map<String, String> uris = new ConcurrentHashMap<>()
    private volatile List<Shown> shown = []

    // With its lock: images opened for reading, the one used longest ago first.
    private final LinkedHashMap<String, ImageServer<BufferedImage>> readers = new LinkedHashMap<>(8, 0.75f, true)

    SlideImages(QuPathGUI gui) {
        this.gui = gui
    }

    /** Learn of a slide of the server's; any thread. */
    void learn(Map<String, Object> slide) {
        slides[slide['id'] as String] = slide
    }

    /** Learn that a slide was opened from this file; any thread. */
    void learn(Map<String, Object> slide, String uri) {
        uris[slide['id'] as String] = uri
        learn(slide)
    }

    /** Whether anything is known of a slide; any thread. */
    boolean isKnown(String slideId) {
        slides.containsKey(slideId)
    }

    /** To be called when a viewer shows another image, and before `reader` is used. */
    void imagesChanged() {
        shown = gui.allViewers.collect { QuPathViewer it -> it.imageData }.findAll { ImageData it ->
            it != null && ImageFacts.refusal(((ImageData<BufferedImage>) it).server) == null
        }.collect { ImageData it -> new Shown(((ImageData<BufferedImage>) it).server) }
    }

    /** Whether an image is this slide. An image that cannot be used is none. */
    boolean isOf(ImageData<BufferedImage> imageData, String slideId) {
        Map<String, Object> slide = slides[slideId]
        if (imageData == null || slide == null || ImageFacts.refusal(imageData.server) != null) {
            return false
        }
        matches(slide, ImageFacts.uri(imageData.server), imageData.server.width, imageData.server.height)
    }

    /** Of the server's slides those that are this image. */
    static List<Map<String, Object>> of(ImageServer<BufferedImage> server, List<Map<String, Object>> slides) {
        String uri = ImageFacts.uri(server)
        List<Map<String, Object>> sized = slides.findAll { Map<String, Object> it -> isSized(it, server.width, server.height) }
        sized.findAll { Map<String, Object> it -> isPath(it, uri) } ?: sized.findAll { Map<String, Object> it -> isNamed(it, uri) }
    }

    /**
     * Of the server's slides those that are this image: by its file, or where the file is called otherwise
     * now, by its content, which the server looks at. Not in the UI thread.
     */
    static List<Map<String, Object>> find(Server server, ImageServer<BufferedImage> image, List<Map<String, Object>> slides) {
        List<Map<String, Object>> found = of(image, slides)
        if (found || !slides.any { Map<String, Object> it -> isSized(it, image.width, image.height) }) {
            return found
        }
        try {
            return (List<Map<String, Object>>) server.get("/slides?path=${Server.segment(ImageFacts.uri(image))}")
        } catch (Problem problem) {
            if (problem.code in ['file_not_found', 'unreadable_slide']) {
                return found
            }
            throw problem
        }
    }

    /** The viewer that shows a slide, the active one first; null if none does. */
    QuPathViewer viewer(String slideId) {
        List<QuPathViewer> viewers = [gui.viewer] + gui.allViewers
        viewers.find { QuPathViewer it -> it != null && isOf(it.imageData, slideId) }
    }

    /** What to call a slide: the name of its entry in the project, or of its file. */
    String name(String slideId) {
        String entry = entries(slideId).collect { ProjectImageEntry it -> it.imageName }.find()
        entry ?: (slides[slideId] == null ? 'an image that is not known yet' : fileName(slides[slideId]['path'] as String))
    }

    /** The first entry of the project that has a slide's file; null if none has. */
    ProjectImageEntry<BufferedImage> entry(String slideId) {
        entries(slideId).find()
    }

    /**
     * Opens a slide for reading, apart from the viewer's, which QuPath may close at any time. Background
     * threads; the caller does not close it.
     *
     * @return null if no image here is that slide
     */
    ImageServer<BufferedImage> reader(String slideId) {
        synchronized (readers) {
            ImageServer<BufferedImage> open = readers[slideId]
            if (open == null) {
                open = build(slideId)
                if (open != null) {
                    readers[slideId] = open
                    dropOldest()
                }
            }
            return open
        }
    }

    /** Reads no more, and closes what was opened. */
    @Override
    void close() {
        synchronized (readers) {
            readers.values().each { ImageServer it -> it.close() }
            readers.clear()
        }
    }

    private void dropOldest() {
        if (readers.size() > MOST_OPEN) {
            String oldest = readers.keySet().iterator().next()
            readers.remove(oldest).close()
        }
    }

    private ImageServer<BufferedImage> build(String slideId) {
        Map<String, Object> slide = slides[slideId]
        if (slide == null) {
            return null
        }
        List<ImageServerBuilder.ServerBuilder<BufferedImage>> builders = []
        shown.findAll { Shown it -> matches(slide, it.uri, it.width, it.height) }.each { Shown it -> builders << it.builder }
        entries(slideId).each { ProjectImageEntry it -> builders << ((ProjectImageEntry<BufferedImage>) it).serverBuilder }
        for (ImageServerBuilder.ServerBuilder<BufferedImage> builder : builders) {
            ImageServer<BufferedImage> server = builder.build()
            // The same file may be in the project twice, turned the second time.
            if (isSized(slide, server.width, server.height) && ImageFacts.refusal(server) == null) {
                return server
            }
            server.close()
        }
        null
    }

    private List<ProjectImageEntry<BufferedImage>> entries(String slideId) {
        Project<BufferedImage> project = gui.project
        Map<String, Object> slide = slides[slideId]
        if (project == null || slide == null) {
            return []
        }
        List<ProjectImageEntry<BufferedImage>> all = project.imageList
        List<ProjectImageEntry<BufferedImage>> found = all.findAll { ProjectImageEntry it ->
            it.URIs.any { URI uri -> uri.toString() == uris[slideId] || isPath(slide, uri.toString()) }
        } as List<ProjectImageEntry<BufferedImage>>
        found ?: (all.findAll { ProjectImageEntry it ->
            it.URIs.any { URI uri -> isNamed(slide, uri.toString()) }
        } as List<ProjectImageEntry<BufferedImage>>)
    }

    private boolean matches(Map<String, Object> slide, String uri, int width, int height) {
        String bound = uris[slide['id'] as String]
        isSized(slide, width, height) && (bound != null ? bound == uri : isPath(slide, uri) || isNamed(slide, uri))
    }

    private static boolean isSized(Map<String, Object> slide, int width, int height) {
        (slide['width'] as int) == width && (slide['height'] as int) == height
    }

    private static boolean isPath(Map<String, Object> slide, String uri) {
        path(uri) == slide['path']
    }

    private static boolean isNamed(Map<String, Object> slide, String uri) {
        fileName(path(uri)) == fileName(slide['path'] as String)
    }

    private static String fileName(String path) {
        path?.split('[/\\\\]')?.last()
    }

    private static String path(String uri) {
        try {
            return Path.of(URI.create(uri)).toString()
        } catch (RuntimeException ignored) {
            return uri
        }
    }
}
