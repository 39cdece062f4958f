package slideloop

import groovy.transform.CompileStatic
import qupath.lib.images.ImageData

import java.awt.image.BufferedImage
import java.util.function.Consumer
import java.util.function.Function

/** The open study and the image on display that is one of its slides: what masks and corrections are about. */
@CompileStatic
final class MaskTarget {

    final Server server
    final Outbox outbox
    /** As the review knew it. */
    final Map<String, Object> study
    final String slideId
    final ImageData<BufferedImage> imageData

    private MaskTarget(App app, Map<String, Object> study, String slideId, ImageData<BufferedImage> imageData) {
        server = app.connection.server
        outbox = app.connection.outbox
        this.study = study
        this.slideId = slideId
        this.imageData = imageData
    }

    /**
     * Find it, and say why and what to do next where that is not possible. UI thread.
     *
     * @param title of what is to be done
     * @param then gets it in the UI thread, perhaps after the server was asked
     */
    static void find(App app, String title, Consumer<MaskTarget> then) {
        ImageData<BufferedImage> imageData = app.gui.imageData
        Map<String, Object> study = app.study
        if (imageData == null) {
            Say.sentence(app.stage, title, 'No image is open. Open a slide first.')
            return
        }
        if (study == null) {
            Say.sentence(app.stage, title, 'No study is open. Choose Open study first, or start one with Query with rectangle.')
            return
        }
        Server server = app.connection.server
        List<String> unknown = ((List<String>) study['slides']).findAll { String it -> !app.images.isKnown(it) }
        if (!unknown) {
            arrive(app, title, study, imageData, then)
            return
        }
        Work.start(app.stage, 'Asking the server', { Work work ->
            unknown.collect { String it -> server.get("/slides/${Server.segment(it)}") }
        } as Function<Work, List<Object>>, { List<Object> slides ->
            slides.each { Object it -> app.images.learn((Map<String, Object>) it) }
            arrive(app, title, study, imageData, then)
        } as Consumer<List<Object>>)
    }

    private static void arrive(App app, String title, Map<String, Object> study, ImageData<BufferedImage> imageData, Consumer<MaskTarget> then) {
        String slide = ((List<String>) study['slides']).find { String it -> app.images.isOf(imageData, it) }
        if (slide == null) {
            Say.sentence(app.stage, title, "This image is not in the study \"${study['name']}\". Open one of its images, or choose Open study.")
        } else if (app.connection != null) {
            then.accept(new MaskTarget(app, study, slide, imageData))
        }
    }
}
