package slideloop

import groovy.transform.CompileStatic
import javafx.beans.property.IntegerProperty
import qupath.lib.gui.QuPathGUI
import qupath.lib.gui.prefs.PathPrefs
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.images.ImageData
import qupath.lib.objects.PathObject
import qupath.lib.objects.hierarchy.PathObjectHierarchy
import qupath.lib.projects.Project
import qupath.lib.projects.ProjectImageEntry

import java.awt.image.BufferedImage
import java.util.function.Predicate

/**
 * Brings the mask of a study into an image as QuPath objects: `fetch`, `plan`, run the `steps`, `save`.
 * Between plan and the last step the image's objects must not change, or it is planned again.
 */
@CompileStatic
final class MaskImport {

    /** What a mask can become: one object per connected part, twice, or a square for each patch. */
    static final List<String> KINDS = ['detections', 'annotations', 'tiles'].asImmutable()

    /** Objects that QuPath is handed at a time, so that its window stays alive. */
    private static final int AT_ONCE = 10_000

    private final Server server
    private final Map<String, Object> study
    private final String slideId
    private final ImageData<BufferedImage> imageData
    private final Predicate<PathObject> isTemporary
    private final StudyNames names

    /**
     * @param study as the server gives it
     * @param slideId of the slide that the image shows
     * @param imageData the image, as it was when the import was asked for
     * @param isTemporary says which of the image's objects are patches of an open round: none of an import's business
     * @param names what the study's classes are called in QuPath
     */
    MaskImport(Server server, Map<String, Object> study, String slideId, ImageData<BufferedImage> imageData,
               Predicate<PathObject> isTemporary, StudyNames names = StudyNames.SAME) {
        this.server = server
        this.study = study
        this.slideId = slideId
        this.imageData = imageData
        this.isTemporary = isTemporary
        this.names = names
    }

    /**
     * Asks the server for the mask. Blocks: never on the JavaFX thread.
     *
     * @param kind one of KINDS
     * @param classes of the study, those wanted; none: its positive class
     * @param threshold patches of a lower probability are left out; null: none
     * @throws Problem as Server.get; `not_trained` before two classes were labelled
     */
    List<MaskFeature> fetch(String kind, Collection<String> classes, Double threshold) {
        List<String> query = ["slide=${Server.segment(slideId)}" as String, 'format=geojson', "as=${Server.segment(kind)}" as String]
        classes.each { String it -> query << "classes=${Server.segment(it)}".toString() }
        if (threshold != null) {
            query << "threshold=${threshold}".toString()
        }
        Object found = server.get("/studies/${Server.segment(studyId())}/prediction?${query.join('&')}")
        MaskFeature.all(studyId(), (Map) found)
    }

    /**
     * Looks what an import of the mask would do. Changes nothing; takes some 5 us for each object of
     * the image that an import made.
     *
     * @param discardEdits whether objects of earlier imports that were edited go too
     */
    ImportPlan plan(List<MaskFeature> features, boolean discardEdits) {
        List<String> classes = (List<String>) study['classes']
        List<ImportPlan.Held> held = imageData.hierarchy.getAllObjects(false)
            .findAll { PathObject it -> !isTemporary.test(it) }
            .collect { PathObject it -> SlideObjects.held(it, classes, names) }
        new ImportPlan(studyId(), held, features, discardEdits)
    }

    /**
     * Returns what is to be done in turn, each within some ten ms: in the JavaFX thread where QuPath has
     * windows. All together are one step of its undo. The objects are made here, in any thread.
     *
     * @param replace whether objects of earlier imports may be removed
     * @throws Problem `already_imported` if there are any and they may not
     */
    List<Runnable> steps(ImportPlan plan, boolean replace) {
        if (plan.replacing && !replace) {
            int n = plan.untouched.size() + plan.edited.size()
            throw new Problem('already_imported', 0, "The image has ${WindowWords.count(n, 'object')} of this study already.",
                'Import it as a replacement.', false)
        }
        PathObjectHierarchy hierarchy = imageData.hierarchy
        List<PathObject> removed = (List<PathObject>) plan.removed()
        List<List<PathObject>> portions = plan.added.collect { MaskFeature it -> SlideObjects.of(it, names) }.collate(AT_ONCE)
        List<Runnable> steps = []
        if (removed) {
            steps << ({
                unrecorded {
                    hierarchy.selectionModel.deselectObjects(removed)
                    // What the user drew inside an imported annotation is the user's.
                    hierarchy.removeObjects(removed, true)
                }
            } as Runnable)
        }
        portions.each { List<PathObject> portion -> steps << ({ unrecorded { hierarchy.addObjects(portion) } } as Runnable) }
        List<PathObject> any = (portions ? portions[0] : removed).take(1)
        if (any) {
            // QuPath 0.5 records no change of many objects; one of a single object it does, and all with it.
            steps << ({ hierarchy.fireObjectsChangedEvent(this, any) } as Runnable)
        }
        steps
    }

    /**
     * Saves the image's data with its project. Blocks: not on the JavaFX thread. Nobody may edit the
     * image's objects in the meantime: that would break the writing off, and leave half a file.
     *
     * @return whether there was a project to save it with
     * @throws Problem `not_saved`
     */
    boolean save(Project<BufferedImage> project) {
        ProjectImageEntry<BufferedImage> entry = project?.getEntry(imageData)
        if (entry == null) {
            return false
        }
        try {
            entry.saveImageData(imageData)
            project.syncChanges()
        } catch (IOException err) {
            Problem problem = new Problem('not_saved', 0, "The mask is in the image, but the project cannot be written: ${err.message ?: err}.",
                'Look whether its disk is full or write-protected, then save with Ctrl+S.', false)
            problem.initCause(err)
            throw problem
        }
        true
    }

    private String studyId() {
        (String) study['id']
    }

    /** Keeps a change out of QuPath's undo, which is there for images on display. */
    private void unrecorded(Runnable change) {
        if (!QuPathGUI.instance?.allViewers?.any { QuPathViewer it -> imageData.is(it.imageData) }) {
            change.run()
            return
        }
        IntegerProperty size = PathPrefs.maxUndoHierarchySizeProperty()
        int before = size.get()
        size.set(0)
        try {
            change.run()
        } finally {
            size.set(before)
        }
    }
}
