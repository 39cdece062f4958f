package slideloop

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Envelope
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.objects.PathObject

import java.util.function.Consumer
import java.util.function.Function
import java.util.function.Predicate

/**
 * The command that sends what the user corrected in the image on display to the open study, after
 * showing how many patches each correction labels. UI thread.
 */
@CompileStatic
final class SendCorrections {

    private static final String TITLE = 'Send corrections'

    private final App app

    /** What there is to send, and what the study knew when it was looked for. */
    private static final class Looked {
        Map<String, Object> study
        Corrections.Found found
        CorrectionPlan plan
    }

    SendCorrections(App app) {
        this.app = app
    }

    /** Look for corrections, show them, and send those that the user wants sent. */
    void start() {
        MaskTarget.find(app, TITLE) { MaskTarget target -> RenamedClasses.settle(app, target.study) { find(target) } }
    }

    private void find(MaskTarget target) {
        Corrections corrections = new Corrections(target.server, (String) target.study['id'], target.slideId, target.imageData,
            { PathObject it -> Temporary.isTemporary(it) } as Predicate<PathObject>, app.settings.classNames.of((String) target.study['id']))
        Work.start(app.stage, 'Looking for corrections', { Work work -> look(target, corrections) } as Function<Work, Looked>,
            { Looked looked -> show(target, looked) } as Consumer<Looked>)
    }

    private static Looked look(MaskTarget target, Corrections corrections) {
        Map<String, Object> study = (Map<String, Object>) target.server.get("/studies/${Server.segment(target.study['id'])}")
        Corrections.Found found = corrections.find(study)
        new Looked(study: study, found: found, plan: found.drawn ? corrections.plan(found, target.outbox.waiting()) : null)
    }

    private void show(MaskTarget target, Looked looked) {
        if (!looked.found.drawn) {
            Say.sentence(app.stage, TITLE, nothing(looked))
            return
        }
        Map<String, Integer> colours = (looked.plan.corrections*.drawn*.label as Set<String>).collectEntries { String it ->
            [(it): app.host.colour(it == 'exclude' ? Corrections.IGNORE : it)]
        } as Map<String, Integer>
        CorrectionsDialog dialog = new CorrectionsDialog(app.stage, looked.plan, colours, leftOut(looked.found))
        dialog.looked = { CorrectionPlan.Drawn it -> centre(target, it) } as Consumer<CorrectionPlan.Drawn>
        dialog.chosen = { List<CorrectionPlan.Correction> it -> send(target, looked, it, dialog.isLearningNow()) } as Consumer<List<CorrectionPlan.Correction>>
        dialog.show(looked.study['state'] != 'labelling')
    }

    private static String nothing(Looked looked) {
        String classes = ((List<String>) looked.study['classes']).join(', ')
        String left = leftOut(looked.found)
        "There is nothing to correct in this image. Draw an annotation over what is wrong and give it one of the study's classes " +
            "(${classes}), or give an imported object another class.${left ? ' ' + left : ''}"
    }

    private static String leftOut(Corrections.Found found) {
        List<String> parts = []
        if (found.unknownClasses) {
            parts << "Left out: annotations of ${found.unknownClasses.join(', ')}, which this study does not have.".toString()
        }
        if (found.nWithoutArea) {
            parts << "Left out: ${WindowWords.count(found.nWithoutArea, 'annotation')} without an area (lines, points).".toString()
        }
        parts.join(' ')
    }

    /** Shows where a correction lies, if its image is still on display. */
    private void centre(MaskTarget target, CorrectionPlan.Drawn drawn) {
        QuPathViewer viewer = app.gui.viewer
        if (target.imageData.is(viewer?.imageData)) {
            Envelope box = drawn.area.envelopeInternal
            viewer.setCenterPixelLocation((box.minX + box.maxX) / 2d, (box.minY + box.maxY) / 2d)
        }
    }

    private void send(MaskTarget target, Looked looked, List<CorrectionPlan.Correction> wanted, boolean isLearningNow) {
        Sending sending = new Sending(target.outbox, target.study, looked.plan, wanted, isLearningNow)
        Work.start(app.stage, 'Sending corrections', { Work work -> sending.send(work) } as Function<Work, String>,
            { String outcome ->
                app.connection?.review?.refresh()
                Say.sentence(app.stage, TITLE, outcome)
            } as Consumer<String>)
    }
}
