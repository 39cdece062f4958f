package slideloop

import groovy.transform.CompileStatic
import javafx.animation.PauseTransition
import javafx.application.Platform
import javafx.beans.property.IntegerProperty
import javafx.util.Duration
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.prefs.PathPrefs
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.images.ImageData
import qupath.lib.objects.PathObject
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.objects.hierarchy.PathObjectHierarchy
import qupath.lib.objects.hierarchy.events.PathObjectHierarchyEvent
import qupath.lib.objects.hierarchy.events.PathObjectHierarchyListener
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.ROIs

import java.awt.image.BufferedImage
import java.nio.charset.StandardCharsets

/**
 * The patches of the open round as annotations in the viewer: temporary, locked, named, and marked.
 *
 * Owns every object with the mark: what the round does not want is removed, from wherever it came (a
 * saved file, QuPath's undo, a crash); what it wants and is not there is added. Objects are looked up
 * by the mark and never remembered, since QuPath's undo replaces them by copies. Our own changes stay
 * out of QuPath's undo and leave the image's changed flag as it was, unless the file on the disk holds
 * patches that have to go. UI thread only; hierarchies may be changed by any thread.
 */
@CompileStatic
final class Temporary {

    /** Key of an annotation's metadata that marks it; its value is the patch's id. */
    static final String MARK = 'slideloop.patch'
    private static final String ROUND = 'slideloop.round'

    private static final String FROM_FILE = 'from the file'
    private static final int UNLABELLED = 0x00b4ff
    private static final double SETTLE_MS = 60

    private final QuPathGUI gui
    private final SlideImages images
    private final ClassNames classNames
    private final PathObjectHierarchyListener ear = { PathObjectHierarchyEvent event -> heard(event) } as PathObjectHierarchyListener
    private final Set<PathObjectHierarchy> listenedTo = Collections.newSetFromMap(new IdentityHashMap<PathObjectHierarchy, Boolean>())
    private final Map<ImageData<BufferedImage>, String> savedBefore = new WeakHashMap<>()
    private final Set<ImageData<BufferedImage>> seen = Collections.newSetFromMap(new WeakHashMap<ImageData<BufferedImage>, Boolean>())
    private final PauseTransition settling = new PauseTransition(Duration.millis(SETTLE_MS))

    private List<Map<String, Object>> patches = []
    private Map<String, String> labels = [:]
    private String roundId
    private String studyId
    private boolean isSuspended
    private volatile boolean isOurs

    /** Labels that the annotations were given by us; what differs from them the user has given. */
    private final Map<String, String> given = [:]
    /** Classes that the user gave to annotations that were taken away, until they are there again. */
    private final Map<String, String> unsent = [:]

    /** @param classNames what the studies' classes are called in QuPath */
    Temporary(QuPathGUI gui, SlideImages images, ClassNames classNames) {
        this.gui = gui
        this.images = images
        this.classNames = classNames
        settling.onFinished = { sync() }
    }

    /** Whether an object is one of these, also one left from before. Any thread. */
    static boolean isTemporary(PathObject object) {
        object != null && object.isAnnotation() && object.metadata.containsKey(MARK)
    }

    /** All of these in a hierarchy, left-overs too. */
    static List<PathObject> all(PathObjectHierarchy hierarchy) {
        hierarchy.annotationObjects.findAll { PathObject it -> isTemporary(it) } as List<PathObject>
    }

    /**
     * Remove all of these from an image, to be called before a save of ours; the round's come back
     * with the next `sync`.
     */
    void removeFrom(ImageData<BufferedImage> imageData) {
        apply(imageData, all(imageData.hierarchy), [], [])
    }

    /** Show the round of a view, or nothing where there is none to label. */
    void show(View view) {
        boolean isOpen = view.state == 'labelling' && view.round?.get('round_id') != null
        String round = isOpen ? view.round['round_id'] as String : null
        if (round == null && roundId == null) {
            return
        }
        if (round != roundId) {
            given.clear()
            unsent.clear()
        }
        roundId = round
        studyId = isOpen ? view.study?.get('id') as String : null
        patches = isOpen ? view.patches : (List<Map<String, Object>>) []
        labels = isOpen ? view.labels : (Map<String, String>) [:]
        sync()
    }

    /** To be called when a viewer shows another image: its left-overs go, the round's patches of it come. */
    void imagesChanged(ImageData<BufferedImage> gone) {
        List<ImageData<BufferedImage>> open = openImages()
        if (gone != null && !open.any { ImageData it -> it.is(gone) }) {
            stopListening(gone.hierarchy)
            removeFrom(gone)
        }
        sync()
    }

    /** Make what is in every open image what the round wants. */
    void sync() {
        if (!isSuspended) {
            openImages().each { ImageData it ->
                listen(((ImageData<BufferedImage>) it).hierarchy)
                settle((ImageData<BufferedImage>) it)
            }
        }
    }

    /** Take all away while QuPath may be saving or closing, until `resume`. */
    void suspend() {
        unsent.putAll(classified())
        isSuspended = true
        openImages().each { ImageData it -> removeFrom((ImageData<BufferedImage>) it) }
    }

    /** What `suspend` took away comes back, if it is still wanted. */
    void resume() {
        isSuspended = false
        sync()
    }

    /** Take all away for good. */
    void dispose() {
        suspend()
        settling.stop()
        new ArrayList<PathObjectHierarchy>(listenedTo).each { PathObjectHierarchy it -> stopListening(it) }
    }

    /**
     * Labels that the user gave by QuPath's class list and that are not the round's yet: label by patch
     * id. Classes named unsure or exclude are those answers.
     */
    Map<String, String> classified() {
        Map<String, String> found = [:]
        openImages().each { ImageData imageData ->
            all(((ImageData<BufferedImage>) imageData).hierarchy).each { PathObject it ->
                String patch = it.metadata[MARK], name = classOf(it)
                if (name != null && it.metadata[ROUND] == roundId && name != given[patch] && name != labels[patch]) {
                    found[patch] = name
                }
            }
        }
        found
    }

    private void settle(ImageData<BufferedImage> imageData) {
        Map<String, Map<String, Object>> wanted = [:]
        patches.each { Map<String, Object> it ->
            if (images.isOf(imageData, it['slide'] as String)) {
                wanted[it['id'] as String] = it
            }
        }
        List<PathObject> surplus = [], kept = []
        Set<String> there = [] as Set<String>
        all(imageData.hierarchy).each { PathObject it ->
            String patch = it.metadata[MARK]
            boolean isWanted = wanted.containsKey(patch) && it.metadata[ROUND] == roundId && there.add(patch)
            (isWanted ? kept : surplus) << it
        }
        List<PathObject> missing = wanted.findAll { String id, Map<String, Object> patch -> !there.contains(id) }
            .collect { String id, Map<String, Object> patch -> make(patch) }
        if (seen.add(imageData) && (surplus || kept)) {
            // They came with the file: once they are gone, it is to be saved without them.
            savedBefore[imageData] = FROM_FILE
        }
        apply(imageData, surplus, missing, kept.findAll { PathObject it -> isToChange(it) } as List<PathObject>)
    }

    /** Does all of it in one go; nothing happens where there is nothing to do. */
    private void apply(ImageData<BufferedImage> imageData, List<PathObject> surplus, List<PathObject> missing, List<PathObject> changing) {
        if (!surplus && !missing && !changing) {
            return
        }
        PathObjectHierarchy hierarchy = imageData.hierarchy
        IntegerProperty undoSize = PathPrefs.maxUndoHierarchySizeProperty()
        int size = undoSize.get()
        boolean wasChanged = imageData.isChanged()
        boolean isSaved = surplus && savedBefore.containsKey(imageData) && savedBefore[imageData] != stamp(imageData)
        isOurs = true
        undoSize.set(0)
        try {
            if (surplus) {
                hierarchy.selectionModel.deselectObjects(surplus)
                // What the user put into one of them is the user's.
                hierarchy.removeObjects(surplus, true)
            }
            if (missing) {
                hierarchy.addObjects(missing)
                if (savedBefore[imageData] != FROM_FILE || isSaved) {
                    savedBefore[imageData] = stamp(imageData)
                }
            }
            if (changing) {
                changing.each { PathObject it -> dress(it) }
                hierarchy.fireObjectClassificationsChangedEvent(this, changing)
            }
        } finally {
            undoSize.set(size)
            isOurs = false
        }
        imageData.setChanged(wasChanged || isSaved)
        if (isSaved && !missing) {
            savedBefore.remove(imageData)
        }
    }

    private PathObject make(Map<String, Object> patch) {
        double x = ((Number) patch['x']).doubleValue(), y = ((Number) patch['y']).doubleValue()
        double width = ((Number) patch['width']).doubleValue(), height = ((Number) patch['height']).doubleValue()
        String id = patch['id']
        PathObject made = PathObjects.createAnnotationObject(
            ROIs.createRectangleROI(x, y, width, height, ImagePlane.defaultPlane))
        made.setID(UUID.nameUUIDFromBytes("slideloop/${roundId}/${id}".toString().getBytes(StandardCharsets.UTF_8)))
        made.metadata[MARK] = id
        made.metadata[ROUND] = roundId
        made.metadata['slideloop.study'] = studyId ?: ''
        made.locked = true
        given.remove(id)
        dress(made)
        String className = unsent.remove(id)
        if (className != null && className != labels[id]) {
            made.setPathClass(pathClass(className))
            dress(made)
        }
        made
    }

    /** Whether name, class or colour are not what they should be. */
    private boolean isToChange(PathObject object) {
        String patch = object.metadata[MARK]
        boolean isColoured = object.pathClass == null
        labels[patch] != given[patch] || object.name != name(patch, classOf(object)) ||
            (object.color != null) != isColoured
    }

    /** Name, class and colour as the label wants them. A class that the user gave stays until it is sent. */
    private void dress(PathObject object) {
        String patch = object.metadata[MARK], label = labels[patch]
        if (label != given[patch]) {
            boolean isClass = label != null && !(label in Review.OTHER_ANSWERS)
            object.setPathClass(isClass ? pathClass(label) : (PathClass) null)
            if (label == null) {
                given.remove(patch)
            } else {
                given[patch] = label
            }
        }
        // A colour of its own would hide that of the class.
        object.setColor(object.pathClass == null ? (Integer) UNLABELLED : (Integer) null)
        object.name = name(patch, classOf(object))
    }

    /** QuPath's class for one of the study's. */
    private PathClass pathClass(String label) {
        PathClass.fromString(classNames.of(studyId).inQuPath(label))
    }

    /** An object's class by the study's name for it; null for none. */
    private String classOf(PathObject object) {
        String name = object.pathClass?.toString()
        name == null ? null : classNames.of(studyId).inStudy(name)
    }

    private String name(String patch, String className) {
        int number = 1 + patches.findIndexOf { Map<String, Object> it -> it['id'] == patch }
        String label = labels[patch]
        String answer = label == null ? (className == null ? '' : ', not sent yet') :
            label in Review.OTHER_ANSWERS ? ", ${label}" : className != null && className != label ? ', not sent yet' : ''
        "slideloop patch ${number} of ${patches.size()}${answer}".toString()
    }

    // Noticing --------------------------------------------------------------------------------------

    private void listen(PathObjectHierarchy hierarchy) {
        if (listenedTo.add(hierarchy)) {
            hierarchy.addListener(ear)
        }
    }

    private void stopListening(PathObjectHierarchy hierarchy) {
        if (listenedTo.remove(hierarchy)) {
            hierarchy.removeListener(ear)
        }
    }

    private void heard(PathObjectHierarchyEvent event) {
        if (!isOurs && !event.isChanging()) {
            Platform.runLater { settling.playFromStart() }
        }
    }

    private List<ImageData<BufferedImage>> openImages() {
        List<ImageData<BufferedImage>> found = []
        gui.allViewers.each { QuPathViewer it ->
            ImageData<BufferedImage> imageData = it.imageData
            if (imageData != null && !found.any { ImageData other -> other.is(imageData) }) {
                found << imageData
            }
        }
        found
    }

    /** Which file QuPath saved the image to, and when: another one later means that it was saved since. */
    private static String stamp(ImageData<BufferedImage> imageData) {
        String path = imageData.lastSavedPath
        path == null ? '' : "${path} ${new File(path).lastModified()}".toString()
    }
}
