package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.images.ImageData
import qupath.lib.objects.PathObject
import qupath.lib.projects.Project
import qupath.lib.projects.ProjectImageEntry

import java.awt.image.BufferedImage
import java.nio.file.Path
import java.util.function.Consumer
import java.util.function.Function
import java.util.function.Predicate
import java.util.function.Supplier

/**
 * The command that predicts other images of the open project by the open study, and brings the masks
 * in: one image after the other, behind the window; those on display through the hierarchy that is seen,
 * the others through the project. Each image is imported and saved whole or not at all. UI thread.
 */
@CompileStatic
final class ProjectPrediction {

    private static final String TITLE = 'Predict other images'
    private static final int WAIT_S = 2

    private final App app
    private final Server server
    private final Map<String, Object> study
    private final Project<BufferedImage> project
    private final String kind
    private final boolean isReplacing
    private final ProjectWindow window
    private final ImportCopies copies
    private volatile boolean isCancelled

    private ProjectPrediction(App app, Map<String, Object> study, String kind, boolean isReplacing,
                              List<ProjectImageEntry<BufferedImage>> entries) {
        this.app = app
        server = app.connection.server
        this.study = study
        project = app.gui.project
        this.kind = kind
        this.isReplacing = isReplacing
        copies = new ImportCopies(project.path.toAbsolutePath().parent)
        window = new ProjectWindow(app.stage, entries.collect { ProjectImageEntry it -> it.imageName }, { isCancelled = true })
    }

    /** Ask which images and what the masks become, and begin. */
    static void start(App app) {
        Map<String, Object> study = app.study
        Project<BufferedImage> project = app.gui.project
        String refusal = project == null ? 'No project is open. Open one that has the images.' :
            study == null ? 'No study is open. Choose Open study first.' : null
        if (refusal != null) {
            Say.sentence(app.stage, TITLE, refusal)
            return
        }
        app.reached(TITLE) {
            Work.start(app.stage, 'Asking the server', { Work work ->
                (Map<String, Object>) app.connection.server.get("/studies/${Server.segment(study['id'])}")
            } as Function<Work, Map<String, Object>>, { Map<String, Object> now ->
                RenamedClasses.settle(app, now) { ask(app, now, project) }
            } as Consumer<Map<String, Object>>)
        }
    }

    private static void ask(App app, Map<String, Object> study, Project<BufferedImage> project) {
        if (!project.is(app.gui.project)) {
            Say.sentence(app.stage, TITLE, 'Another project was opened meanwhile. Try again.')
            return
        }
        ProjectImageEntry<BufferedImage> open = app.gui.imageData == null ? null : project.getEntry(app.gui.imageData)
        ProjectDialog dialog = new ProjectDialog(app.stage, (String) study['name'], project.imageList, open)
        if (dialog.ask()) {
            new ProjectPrediction(app, study, dialog.kind, dialog.replacing, dialog.chosen).begin(dialog.chosen)
        }
    }

    private void begin(List<ProjectImageEntry<BufferedImage>> entries) {
        window.show()
        Thread thread = new Thread({ all(entries) } as Runnable, 'slideloop-project')
        thread.daemon = true
        thread.start()
    }

    // In a thread of its own ------------------------------------------------------------------------

    private void all(List<ProjectImageEntry<BufferedImage>> entries) {
        entries.eachWithIndex { ProjectImageEntry<BufferedImage> entry, int row ->
            String outcome
            boolean isWell = true
            try {
                check()
                outcome = one(entry, row)
            } catch (Problem problem) {
                isWell = false
                outcome = problem.code == 'interrupted' ? 'Left as it was.' : problem.message
            } catch (Exception err) {
                isWell = false
                outcome = Say.words(err)
                System.getLogger('slideloop.ProjectPrediction').log(System.Logger.Level.ERROR, entry.imageName, err)
            }
            boolean wentWell = isWell
            String became = outcome
            Platform.runLater { window.done(row, became, wentWell) }
        }
        Platform.runLater { window.over() }
    }

    private String one(ProjectImageEntry<BufferedImage> entry, int row) {
        tell(row, 'Opening the image.')
        ImageData<BufferedImage> read = null
        try {
            ImageData<BufferedImage> seen = shown(entry)
            read = seen == null ? opened(entry) : null
            String refusal = ImageFacts.refusalOf(seen ?: read)
            if (refusal != null) {
                throw new Problem('skipped', 0, refusal, '', false)
            }
            String slide = predicted(seen ?: read, row)
            tell(row, 'Bringing the mask in.')
            ImageData<BufferedImage> now = shown(entry)
            if (now != null) {
                return onDisplay(entry, now, slide)
            }
            read = read ?: opened(entry)
            return behind(entry, read, slide)
        } finally {
            read?.server?.close()
        }
    }

    private static ImageData<BufferedImage> opened(ProjectImageEntry<BufferedImage> entry) {
        ProjectState.requireWhole(dataOf(entry))
        try {
            ImageData<BufferedImage> imageData = entry.readImageData()
            // In QuPath 0.7 only this opens the file.
            imageData.server.metadata
            return imageData
        } catch (IOException | RuntimeException err) {
            Problem problem = new Problem('image_unreadable', 0, "QuPath cannot open this image: ${err.message ?: err.class.simpleName}.",
                'Look whether its file is there.', false)
            problem.initCause(err)
            throw problem
        }
    }

    private static Path dataOf(ProjectImageEntry<BufferedImage> entry) {
        entry.entryPath.resolve(ImportCopies.DATA)
    }

    /** Has the server index and predict an image; returns its slide. */
    private String predicted(ImageData<BufferedImage> imageData, int row) {
        String known = ((List<String>) study['slides'])[0]
        Map<String, Object> options = StudyGrid.like((Map<String, Object>) server.get("/slides/${Server.segment(known)}"),
            ImageFacts.mpp(imageData.server))
        check()
        Map<String, Object> opened = Opening.open(app.stage, server, ImageFacts.of(imageData.server) + options)
        Map<String, Object> slide = (Map<String, Object>) opened['slide']
        app.images.learn(slide, ImageFacts.uri(imageData.server))
        settle(opened, row, 'The server looks at it')
        settle((Map<String, Object>) server.send('POST', "/studies/${Server.segment(study['id'])}/predictions",
            [slides: [slide['id']], event_id: UUID.randomUUID().toString()]), row, 'The server predicts it')
        slide['id'] as String
    }

    /** Waits for a job; where the user cancels, the job is cancelled too. */
    private void settle(Map<String, Object> answer, int row, String what) {
        Jobs.settle(server, answer, WAIT_S, { Map<String, Object> job ->
            if (isCancelled) {
                server.send('DELETE', "/jobs/${Server.segment(job['id'])}", null)
            }
            check()
            tell(row, "${what}, ${Math.round((double) (100 * ((Number) job['progress']).doubleValue()))} %.".toString())
        } as Consumer<Map<String, Object>>)
    }

    /** Saved in the UI thread, as QuPath itself does it: nobody may edit objects that are being written. */
    private String onDisplay(ProjectImageEntry<BufferedImage> entry, ImageData<BufferedImage> imageData, String slide) {
        MaskImport mask = importOf(imageData, slide)
        ImportPlan plan = planned(mask)
        List<Runnable> steps = mask.steps(plan, isReplacing)
        check()
        copies.keep(entry.getID(), dataOf(entry))
        Say.fromBeside({
            steps.each { Runnable step -> step.run() }
            app.temporary.suspend()
            try {
                mask.save(project)
            } finally {
                app.temporary.resume()
            }
        } as Supplier<Boolean>)
        copies.note(entry.getID(), dataOf(entry))
        words(plan)
    }

    private String behind(ProjectImageEntry<BufferedImage> entry, ImageData<BufferedImage> imageData, String slide) {
        MaskImport mask = importOf(imageData, slide)
        ImportPlan plan = planned(mask)
        mask.steps(plan, isReplacing).each { Runnable it -> it.run() }
        check()
        ImageData<BufferedImage> now = shown(entry)
        if (now != null) {
            // It was opened in the last moment: what is on display is what counts.
            return onDisplay(entry, now, slide)
        }
        copies.keep(entry.getID(), dataOf(entry))
        mask.save(project)
        copies.note(entry.getID(), dataOf(entry))
        words(plan) + (shown(entry) == null ? '' : ' It was opened meanwhile: choose File > Reload data before you save it.')
    }

    private MaskImport importOf(ImageData<BufferedImage> imageData, String slide) {
        new MaskImport(server, study, slide, imageData, { PathObject it -> Temporary.isTemporary(it) } as Predicate<PathObject>,
            app.settings.classNames.of((String) study['id']))
    }

    private ImportPlan planned(MaskImport mask) {
        ImportPlan plan = mask.plan(mask.fetch(kind, [], null), false)
        if (plan.replacing && !isReplacing) {
            throw new Problem('skipped', 0, 'It has a mask of this study already, which was not to be replaced.', '', false)
        }
        plan
    }

    private static String words(ImportPlan plan) {
        String edited = plan.edited ? "; ${WindowWords.count(plan.edited.size(), 'edited one')} kept" : ''
        "${WindowWords.count(plan.added.size(), 'object')} added, ${WindowWords.grouped(plan.removed().size())} removed${edited}; saved."
    }

    /** The data of an image that a viewer shows; null if none does. */
    private ImageData<BufferedImage> shown(ProjectImageEntry<BufferedImage> entry) {
        Say.fromBeside({
            if (!project.is(app.gui.project)) {
                throw new Problem('project_closed', 0, 'The project was closed.', 'Open it, and choose the command again.', false)
            }
            app.gui.allViewers.collect { QuPathViewer viewer -> viewer.imageData }
                .find { ImageData<BufferedImage> open -> open != null && project.getEntry(open)?.getID() == entry.getID() }
        } as Supplier<ImageData<BufferedImage>>)
    }

    private void tell(int row, String text) {
        Platform.runLater { window.at(row, text) }
    }

    private void check() {
        if (isCancelled) {
            throw new Problem('interrupted', 0, 'Cancelled.', '', false)
        }
    }
}
