package slideloop

import groovy.transform.CompileStatic
import qupath.lib.gui.QuPathGUI

import java.nio.file.Files
import java.nio.file.Path
import java.util.function.Consumer
import java.util.function.Function

/**
 * What the user can ask for, by name. Every command can always be given; one that is not possible
 * says why, and what to do next. UI thread.
 */
@CompileStatic
final class Commands {

    /** One command: its name for scripts, its words in the menu, its keys (null for none). */
    static final class Command {
        final String name
        final String words
        final String keys

        Command(String name, String words, String keys) {
            this.name = name
            this.words = words
            this.keys = keys
        }
    }

    /** All of them in the order of the menu. The keys are free in QuPath 0.5 to 0.7. */
    static final List<Command> ALL = [
        new Command('connect', 'Connect / doctor', null),
        new Command('new_study', 'New study', null),
        new Command('open_study', 'Open study', null),
        new Command('query', 'Query with rectangle', 'shift+q'),
        new Command('add_image', 'Add this image to the study', null),
        new Command('review', 'Review', 'shift+r'),
        new Command('send_labels', 'Send labels', null),
        new Command('undo', 'Undo', null),
        new Command('show_prediction', 'Show or hide prediction', null),
        new Command('import_mask', 'Import mask as detections', null),
        new Command('send_corrections', 'Send corrections', null),
        new Command('predict_images', 'Predict other images of the project', null),
        new Command('open_report', 'Open report', null),
    ].asImmutable()

    private final App app

    Commands(App app) {
        this.app = app
    }

    /** Give a command by its name. */
    void run(String name) {
        switch (name) {
            case 'connect': new ConnectDialog(app).show(); break
            case 'new_study': new Sessions(app).newStudy(); break
            case 'open_study': new OpenStudy(app).start(); break
            case 'query': new Sessions(app).query(); break
            case 'add_image': new Sessions(app).addImage(); break
            case 'review': review(); break
            case 'send_labels': sendLabels(); break
            case 'undo': new UndoStep(app).start(); break
            case 'show_prediction': app.prediction.toggle(); break
            case 'import_mask': new ImportMask(app).start(); break
            case 'send_corrections': new SendCorrections(app).start(); break
            case 'predict_images': ProjectPrediction.start(app); break
            case 'open_report': openReport(); break
            default: throw new IllegalArgumentException("There is no command ${name}.")
        }
    }

    private void review() {
        app.connected('Review') {
            if (app.study == null && app.connection.review.view().state == 'closed' && !app.connection.outbox.refused()) {
                // What there is to review is a study, so that is asked for.
                new OpenStudy(app).start()
            } else {
                app.showReview()
            }
        }
    }

    /** Take the classes that the user gave the round's annotations by QuPath's class list as labels. */
    private void sendLabels() {
        Map<String, Object> study = app.study
        Review review = app.connection?.review
        if (study == null || review.view().state != 'labelling') {
            Say.sentence(app.stage, 'Send labels', 'No round is open, so there is nothing to label. Choose Review, or query with a rectangle.')
            return
        }
        List<String> answers = (List<String>) study['classes'] + Review.OTHER_ANSWERS
        Map<String, String> found = app.temporary.classified()
        Map<String, String> known = found.findAll { String patch, String label -> label in answers }
        List<String> unknown = (found.values() - known.values()).unique() as List<String>
        known.each { String patch, String label ->
            review.select(patch)
            review.label(label)
        }
        if (unknown) {
            Say.sentence(app.stage, 'Send labels', "${WindowWords.count(known.size(), 'label')} taken. This study has no class " +
                "${unknown.join(', ')}: its classes are ${((List<String>) study['classes']).join(', ')}.")
        } else if (!known) {
            Say.sentence(app.stage, 'Send labels', 'No patch has a class that is not sent yet. Select patches of the round in the ' +
                'Annotations list, choose a class, press Set selected, and try again.')
        }
    }

    private void openReport() {
        Map<String, Object> study = app.study
        if (study == null) {
            Say.sentence(app.stage, 'Open report', 'No study is open. Choose Open study first.')
            return
        }
        Server server = app.connection.server
        // Fetched here, since a browser knows no token.
        Work.start(app.stage, 'Making the report', { Work work ->
            byte[] page = server.bytes("/studies/${Server.segment(study['id'])}/report?format=html")
            Path file = Files.createTempFile('slideloop-report-', '.html')
            Files.write(file, page)
            file.toUri().toString()
        } as Function<Work, String>, { String uri -> QuPathGUI.openInBrowser(uri) } as Consumer<String>)
    }
}
