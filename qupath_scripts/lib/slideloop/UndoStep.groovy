package slideloop

import groovy.transform.CompileStatic

import java.util.function.Consumer
import java.util.function.Function

/** Takes back the latest step of the open study, whatever it was; asks before it is more than a label. UI thread. */
@CompileStatic
final class UndoStep {

    private static final String TITLE = 'Undo'

    private final App app

    UndoStep(App app) {
        this.app = app
    }

    /** Find out what the latest step is, and take it back. */
    void start() {
        Map<String, Object> study = app.study
        if (study == null) {
            Say.sentence(app.stage, TITLE, 'No study is open, so there is nothing to take back. Choose Open study first.')
            return
        }
        Server server = app.connection.server
        Outbox outbox = app.connection.outbox
        Work.start(app.stage, 'Asking the server', { Work work -> latest(server, outbox, study['id'] as String) } as Function<Work, Map<String, Object>>,
            { Map<String, Object> step -> decide(study, step) } as Consumer<Map<String, Object>>)
    }

    /** @return the step, of type `label` where labels are still on their way; null if there is none */
    private static Map<String, Object> latest(Server server, Outbox outbox, String studyId) {
        boolean isOnItsWay = outbox.waiting().any { Map<String, Object> it ->
            (it['path'] as String).startsWith("/studies/${Server.segment(studyId)}/")
        }
        isOnItsWay ? [type: 'label'] as Map<String, Object> : Journal.latestAction(server, studyId)
    }

    private void decide(Map<String, Object> study, Map<String, Object> step) {
        if (app.connection == null || app.study?.get('id') != study['id']) {
            return
        }
        switch (step?.get('type')) {
            case null:
                Say.sentence(app.stage, TITLE, 'There is nothing to take back: this study is as it was made.')
                break
            case 'label':
                app.connection.review.back()
                break
            case 'region':
                Map region = (Map) step['data']
                if (Say.confirm(app.stage, TITLE, "This takes back a region labelled ${region['label']}, with the labels of all its " +
                    'patches. What was learnt since is learnt again without it.', 'Take it back')) {
                    send(study, "Take back the region labelled ${region['label']}")
                }
                break
            default:
                Map query = (Map) step['data']
                if (Say.confirm(app.stage, TITLE, "This takes back the query for ${query['label'] ?: 'this session'} itself: its " +
                    'session is gone, and the one before is open again. The rectangle stays in QuPath.', 'Take the query back')) {
                    send(study, "Take back the query for ${query['label'] ?: 'a session'}")
                }
        }
    }

    private void send(Map<String, Object> study, String text) {
        String id = UUID.randomUUID().toString()
        Outbox outbox = app.connection.outbox
        Review review = app.connection.review
        Consumer<Outbox.Event> ear = null
        ear = { Outbox.Event event ->
            if (event.entry != null && event.entry['event_id'] == id && event.kind in ['saved', 'refused', 'dropped']) {
                outbox.removeListener(ear)
                javafx.application.Platform.runLater { answered(review, study, event) }
            }
        } as Consumer<Outbox.Event>
        outbox.onEvent(ear)
        outbox.append([event_id: id, method: 'POST', path: "/studies/${Server.segment(study['id'])}/undo".toString(),
                       body: [scope: 'last'], about: [study: study['name'], text: text]] as Map<String, Object>)
    }

    private void answered(Review review, Map<String, Object> study, Outbox.Event event) {
        if (event.kind == 'saved' && event.answer['state'] == 'new' && review.view().study?.get('id') == study['id']) {
            review.close()
            Say.sentence(app.stage, TITLE, "\"${study['name']}\" has no query any more. Select a rectangle and choose Query with " +
                'rectangle to go on with it.')
        }
    }
}
