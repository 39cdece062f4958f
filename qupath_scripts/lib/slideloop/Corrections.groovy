package slideloop

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Geometry
import qupath.lib.images.ImageData
import qupath.lib.objects.PathObject
import qupath.lib.roi.interfaces.ROI

import java.awt.image.BufferedImage
import java.util.function.Predicate

/**
 * What the user corrected in an image, for the study to learn from: annotations with one of its classes,
 * and imported objects that were given another class or outline. Left out are the query's rectangles,
 * the temporary patches of a round, imported objects as they were, and all that is no area.
 */
@CompileStatic
final class Corrections {

    /** QuPath's class for what is not to be looked at: such a region is excluded. */
    static final String IGNORE = 'Ignore*'
    private static final String EXCLUDE = 'exclude'
    private static final String MARK = ObjectId.marker('')
    private static final double SAME_PX = 0.6

    private final Server server
    private final String studyId
    private final String slideId
    private final ImageData<BufferedImage> imageData
    private final Predicate<PathObject> isTemporary
    private final StudyNames names

    /** What was found in an image. */
    @CompileStatic
    static final class Found {
        final List<CorrectionPlan.Drawn> drawn = []
        /** Classes, as QuPath writes them, that the study does not have: their annotations are left out. */
        final Set<String> unknownClasses = new TreeSet<>()
        /** Annotations with one of the study's classes that are lines or points. */
        int nWithoutArea
    }

    /**
     * @param slideId of the slide that the image shows
     * @param imageData the image, as it was when it was asked for
     * @param isTemporary says which of the image's objects are patches of an open round
     * @param names what the study's classes are called in QuPath
     */
    Corrections(Server server, String studyId, String slideId, ImageData<BufferedImage> imageData,
                Predicate<PathObject> isTemporary, StudyNames names = StudyNames.SAME) {
        this.server = server
        this.studyId = studyId
        this.slideId = slideId
        this.imageData = imageData
        this.isTemporary = isTemporary
        this.names = names
    }

    /**
     * Looks what would be sent. Asks the server what it has already: never on the JavaFX thread.
     *
     * @param waiting entries of the outbox, on their way
     * @throws Problem as Server.get
     */
    CorrectionPlan plan(Found found, List<Map<String, Object>> waiting) {
        new CorrectionPlan(slideId, found.drawn, SentRegions.read(server, studyId, waiting), cover())
    }

    /**
     * Looks through the image. Takes long for thousands of objects that were edited: not on the JavaFX thread.
     *
     * @param study as the server gives it, newly: its queries tell which rectangles are theirs
     */
    Found find(Map<String, Object> study) {
        List<String> classes = (List<String>) study['classes']
        List<Map> queries = ((List<Map>) study['sessions']).collect { Map it -> (Map) it['query'] }
            .findAll { Map it -> it['slide'] == slideId } as List<Map>
        Found found = new Found()
        imageData.hierarchy.getAllObjects(false).each { PathObject it ->
            String how = isTemporary.test(it) ? null : howOf(it, classes, queries)
            if (how != null) {
                add(found, it, how, classes)
            }
        }
        found
    }

    private void add(Found found, PathObject object, String how, List<String> classes) {
        String name = object.pathClass.toString()
        String label = SlideObjects.classOf(object, classes, names) ?: name == IGNORE ? EXCLUDE : null
        if (label == null) {
            found.unknownClasses << name
            return
        }
        Geometry area = SlideObjects.areaOf(object)
        if (area == null || area.isEmpty()) {
            found.nWithoutArea++
        } else {
            found.drawn << new CorrectionPlan.Drawn(object.getID(), label, area, how)
        }
    }

    /** Returns in which way an object is a correction; null if it is none. */
    private String howOf(PathObject object, List<String> classes, List<Map> queries) {
        if (object.pathClass == null || !object.hasROI()) {
            return null
        }
        ImportPlan.Held held = SlideObjects.held(object, classes, names)
        if (held.isOf(studyId)) {
            return !held.isEdited(studyId) ? null : wasReclassified(held, classes) ? 'reclassified' : 'edited'
        }
        boolean isForeign = object.name != null && object.name.startsWith(MARK)
        object.isAnnotation() && !isForeign && !queries.any { Map it -> isQuery(object.ROI, it) } ? 'drawn' : null
    }

    /** Whether its id fits its outline with another class of the study. */
    private boolean wasReclassified(ImportPlan.Held held, List<String> classes) {
        classes.any { String it -> held.id == ObjectId.of(studyId, it, held.x, held.y) }
    }

    /** Whether an object's bounds are what was sent as a query: cut off at the image's edges. */
    private boolean isQuery(ROI roi, Map query) {
        List<Double> drawn = within(roi.boundsX, roi.boundsWidth, imageData.server.width) +
            within(roi.boundsY, roi.boundsHeight, imageData.server.height)
        List<Object> sent = [query['x'], query['width'], query['y'], query['height']]
        (0..3).every { int i -> Math.abs(drawn[i] - ((Number) sent[i]).doubleValue()) < SAME_PX }
    }

    private static List<Double> within(double start, double length, int size) {
        double from = Math.max(0d, start), to = Math.min(size as double, start + length)
        [from, (double) (to - from)]
    }

    private Cover cover() {
        try {
            new Cover(new Prediction((Map) server.get("/studies/${Server.segment(studyId)}/prediction?slide=${Server.segment(slideId)}&format=arrays")))
        } catch (Problem problem) {
            if (problem.code in ['not_trained', 'not_predicted']) {
                return new Cover((Map) server.get("/slides/${Server.segment(slideId)}"))
            }
            throw problem
        }
    }
}
