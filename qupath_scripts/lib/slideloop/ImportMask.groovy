package slideloop

import groovy.transform.CompileStatic
import javafx.application.Platform
import qupath.lib.images.ImageData
import qupath.lib.objects.PathObject
import qupath.lib.projects.Project

import java.awt.image.BufferedImage
import java.util.function.Consumer
import java.util.function.Function
import java.util.function.Predicate

/** The command that brings the open study's mask into the image on display, and saves it. UI thread. */
@CompileStatic
final class ImportMask {

    private static final String TITLE = 'Import mask'

    private final App app

    ImportMask(App app) {
        this.app = app
    }

    /** Ask what the mask is to become, and do it. */
    void start() {
        MaskTarget.find(app, TITLE) { MaskTarget target ->
            // A class may have been added since the review asked.
            Work.start(app.stage, 'Asking the server', { Work work ->
                (Map<String, Object>) target.server.get("/studies/${Server.segment(target.study['id'])}")
            } as Function<Work, Map<String, Object>>, { Map<String, Object> study -> ask(target, study) } as Consumer<Map<String, Object>>)
        }
    }

    private void ask(MaskTarget target, Map<String, Object> study) {
        ImageData<BufferedImage> imageData = target.imageData
        if (!imageData.is(app.gui.imageData)) {
            Say.sentence(app.stage, TITLE, 'Another image was opened meanwhile. Try again.')
            return
        }
        RenamedClasses.settle(app, study) { show(target, study) }
    }

    private void show(MaskTarget target, Map<String, Object> study) {
        MaskImport mask = new MaskImport(target.server, study, target.slideId, target.imageData,
            { PathObject it -> Temporary.isTemporary(it) } as Predicate<PathObject>, app.settings.classNames.of((String) study['id']))
        ImportDialog dialog = null
        dialog = new ImportDialog(app.stage, study, mask, { List<Runnable> steps ->
            dialog.busy('Adding the objects.')
            next(steps, 0) { save(mask, dialog) }
        } as Consumer<List<Runnable>>)
        dialog.show()
    }

    /** Does one step after the other, and lets the window live in between. */
    private static void next(List<Runnable> steps, int i, Runnable then) {
        if (i == steps.size()) {
            then.run()
            return
        }
        steps[i].run()
        Platform.runLater { next(steps, i + 1, then) }
    }

    /** Saves while the dialog keeps the user from editing objects, and the round's patches are away. */
    private void save(MaskImport mask, ImportDialog dialog) {
        Project<BufferedImage> project = app.gui.project
        dialog.busy('Saving the image.')
        app.temporary.suspend()
        Thread thread = new Thread({
            boolean isSaved = false
            Throwable failure = null
            try {
                isSaved = mask.save(project)
            } catch (Throwable err) {
                failure = err
            }
            Platform.runLater {
                app.temporary.resume()
                dialog.close()
                saved(isSaved, failure)
            }
        } as Runnable, 'slideloop-save')
        thread.start()
    }

    private void saved(boolean isSaved, Throwable failure) {
        if (failure != null) {
            Say.problem(app.stage, TITLE, failure)
        } else if (!isSaved) {
            Say.sentence(app.stage, TITLE, 'The mask is in the image. It belongs to no project, so nothing was saved: ' +
                'File > Save keeps the objects in a data file.')
        }
    }
}
