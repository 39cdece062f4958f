package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.images.ImageData
import qupath.lib.images.servers.PixelCalibration

import java.awt.image.BufferedImage
import java.util.concurrent.Executor
import java.util.function.BiConsumer
import java.util.function.Consumer

/**
 * The prediction of the open study over all images of it that viewers show, with its window; kept
 * current after each training. UI thread.
 */
@CompileStatic
final class PredictionView {

    private static final String TITLE = 'Show prediction'

    private final App app
    private String studyId
    private PredictionWatch watch
    private PredictionWindow window
    private Problem trouble
    private String awaited
    private final Map<String, PredictionOverlay> overlays = [:]
    private final Map<String, Prediction> predictions = [:]

    PredictionView(App app) {
        this.app = app
        app.onChange { sync() }
    }

    /** Show it, or hide it. */
    void toggle() {
        if (watch != null) {
            hide()
            return
        }
        MaskTarget.find(app, TITLE) { MaskTarget target ->
            if (watch == null) {
                show(target)
            }
        }
    }

    /** Show it as soon as this study is open, if an image of it is on display then. */
    void showWith(String study) {
        awaited = study
        sync()
    }

    /** Hide it. */
    void hide() {
        watch?.close()
        watch = null
        window?.close()
        window = null
        viewers().each { QuPathViewer viewer ->
            viewer.customOverlayLayers.removeAll(overlays.values())
        }
        overlays.clear()
        predictions.clear()
        trouble = null
        studyId = null
    }

    private void show(MaskTarget target) {
        studyId = target.study['id']
        window = new PredictionWindow(app.stage)
        window.changed = { paint() }
        window.closed = { hide() }
        window.show((String) target.study['name'], colours(target.study), (String) target.study['positive'])
        watch = new PredictionWatch(target.server, studyId, { Runnable it -> Platform.runLater(it) } as Executor,
            { Map<String, Object> study, Prediction it -> arrived(study, it) } as BiConsumer<Map<String, Object>, Prediction>,
            { Problem it -> failed(it) } as Consumer<Problem>)
        sync()
    }

    private void arrived(Map<String, Object> study, Prediction prediction) {
        window.setClasses(colours(study), (String) study['positive'])
        predictions[prediction.slide] = prediction
        paint()
    }

    private void failed(Problem problem) {
        trouble = problem
        tell()
    }

    /** Makes every viewer that shows an image of the study have its overlay. */
    private void sync() {
        if (awaited != null && app.study?.get('id') == awaited) {
            awaited = null
            if (watch == null && slideOf(app.study, app.gui.imageData) != null) {
                toggle()
            }
        }
        if (watch == null) {
            return
        }
        Map<String, Object> study = app.study
        if (study == null || study['id'] != studyId) {
            hide()
            return
        }
        List<String> slides = []
        viewers().each { QuPathViewer viewer ->
            String slide = slideOf(study, viewer.imageData)
            if (slide != null) {
                slides << slide
                PredictionOverlay overlay = overlayFor(slide, viewer)
                if (!viewer.customOverlayLayers.contains(overlay)) {
                    viewer.customOverlayLayers << overlay
                }
            }
        }
        watch.setSlides(slides)
        tell()
    }

    /** The overlay of a slide; made anew where another file shows it now. */
    private PredictionOverlay overlayFor(String slide, QuPathViewer viewer) {
        String path = viewer.imageData.server.path
        PredictionOverlay overlay = overlays[slide]
        if (overlay == null || overlay.path != path) {
            viewers().each { QuPathViewer it -> it.customOverlayLayers.remove(overlay) }
            overlay = new PredictionOverlay(viewer.overlayOptions, path, viewer.imageData.server.width, viewer.imageData.server.height)
            overlays[slide] = overlay
            dress(slide, overlay)
        }
        overlay
    }

    private void paint() {
        overlays.each { String slide, PredictionOverlay it -> dress(slide, it) }
        viewers().each { QuPathViewer it -> it.repaint() }
        tell()
    }

    private void dress(String slide, PredictionOverlay overlay) {
        overlay.opaqueness = window.opaqueness()
        overlay.show(predictions[slide], window.shown())
    }

    private void tell() {
        ImageData<BufferedImage> imageData = app.gui.imageData
        String slide = app.study == null ? null : slideOf(app.study, imageData)
        if (slide == null) {
            window.tell(imageData == null ? 'No image is open.' : 'This image is not in the study.', null, null)
            return
        }
        Prediction prediction = predictions[slide]
        if (prediction != null) {
            window.tell(app.images.name(slide), new PredictionFacts(prediction, pixel_um2(imageData)), trouble)
        } else {
            window.tell(trouble == null ? 'Asking the server.' : trouble.code == 'not_trained' ?
                'Nothing was learnt yet: the prediction comes when patches of two classes are labelled.' : 'There is no prediction yet.',
                null, trouble?.code == 'not_trained' ? null : trouble)
        }
    }

    private String slideOf(Map<String, Object> study, ImageData<BufferedImage> imageData) {
        imageData == null ? null : ((List<String>) study['slides']).find { String it -> app.images.isOf(imageData, it) }
    }

    private Map<String, Integer> colours(Map<String, Object> study) {
        ((List<String>) study['classes']).collectEntries { String it -> [(it): app.host.colour(it)] } as Map<String, Integer>
    }

    private List<QuPathViewer> viewers() {
        new ArrayList<QuPathViewer>(app.gui.allViewers)
    }

    private static Double pixel_um2(ImageData<BufferedImage> imageData) {
        PixelCalibration size = imageData.server.pixelCalibration
        size.hasPixelSizeMicrons() ? (Double) (size.pixelWidthMicrons * size.pixelHeightMicrons) : null
    }
}
