package slideloop

import groovy.transform.CompileStatic
import qupath.lib.objects.classes.PathClass

import java.util.concurrent.CompletableFuture
import java.util.concurrent.TimeUnit
import java.util.concurrent.TimeoutException
import java.util.function.Consumer
import java.util.function.Function

/**
 * Makes studies and starts sessions: from the image on display and the selected rectangle to the
 * first round. Whatever makes that impossible is said in a sentence before anything is sent. UI thread.
 */
@CompileStatic
final class Sessions {

    private static final String QUERY = 'Query with rectangle'
    private static final String NEW = 'New study'
    private static final String ADD = 'Add this image'
    private static final String OTHER = 'Other'
    private static final long ANSWER_S = 30

    private final App app

    /** What the server said before the dialog. */
    private static final class Known {
        Map<String, Object> info
        List<Map<String, Object>> slides
        List<Map<String, Object>> studies
    }

    Sessions(App app) {
        this.app = app
    }

    /** Add the image on display to the study that is open. */
    void addImage() {
        OpenImage image = OpenImage.of(app.gui)
        Map<String, Object> study = app.study
        String refusal = image == null ? 'No image is open. Open a slide first.' : image.refusal ?:
            study == null ? 'No study is open. Choose Open study first, then open the image that it shall have too.' : null
        if (refusal != null) {
            Say.sentence(app.stage, ADD, refusal)
            return
        }
        app.reached(ADD) {
            Server server = app.connection.server
            Work.start(app.stage, 'Adding the image', { Work work ->
                Map<String, Object> now = (Map<String, Object>) server.get("/studies/${Server.segment(study['id'])}")
                List<Map<String, Object>> here = SlideImages.find(server, image.server, (List<Map<String, Object>>) server.get('/slides'))
                if (here.any { Map<String, Object> slide -> slide['id'] in (List) now['slides'] }) {
                    return [study: now] as Map<String, Object>
                }
                Map<String, Object> opened = open(work, server, image, gridOf(server, image, here, now))
                opened + ([study: settle(work, server, image, (Map<String, Object>) opened['slide'], now, null)] as Map<String, Object>)
            } as Function<Work, Map<String, Object>>, { Map<String, Object> added -> tellAdded(image, added) } as Consumer<Map<String, Object>>)
        }
    }

    private void tellAdded(OpenImage image, Map<String, Object> added) {
        Map<String, Object> study = (Map<String, Object>) added['study']
        if (added['slide'] == null) {
            Say.sentence(app.stage, ADD, "${image.name} is in the study \"${study['name']}\" already.")
            return
        }
        IndexWatch.start(app, (Map<String, Object>) added['job'], image.name)
        app.connection?.review?.refresh()
        Say.sentence(app.stage, ADD, "${image.name} is in the study \"${study['name']}\" now. Its patches may come in the next rounds; " +
            'a rectangle drawn here can be a query.')
    }

    /** Start a session from the selected object's bounds, in a study that is there or in a new one. */
    void query() {
        begin(QUERY, true)
    }

    /** Make a study of the image on display. */
    void newStudy() {
        begin(NEW, false)
    }

    private void begin(String title, boolean isQuery) {
        OpenImage image = OpenImage.of(app.gui)
        String refusal = image == null ? 'No image is open. Open a slide first.' :
            image.refusal ?: isQuery ? image.refusal ?: image.selectionRefusal : null
        if (refusal != null) {
            Say.sentence(app.stage, title, refusal)
            return
        }
        app.reached(title) {
            Server server = app.connection.server
            Work.start(app.stage, 'Asking the server', { Work work -> ask(server, image, isQuery) } as Function<Work, Known>,
                { Known known -> choose(title, image, known, isQuery) } as Consumer<Known>)
        }
    }

    private static Known ask(Server server, OpenImage image, boolean isQuery) {
        Map<String, Object> info = (Map<String, Object>) server.get('/info')
        List<Map<String, Object>> slides = SlideImages.find(server, image.server, (List<Map<String, Object>>) server.get('/slides'))
        List<Map<String, Object>> studies = isQuery ? (List<Map<String, Object>>) server.get('/studies?archived=false') : []
        new Known(info: info, slides: slides, studies: studies)
    }

    private void choose(String title, OpenImage image, Known known, boolean isQuery) {
        List<String> all = app.gui.availablePathClasses.findAll { PathClass it -> isChoice(it) }
            .collect { PathClass it -> it.toString() }
        // Of the first study nobody knows the other class yet, and QuPath's list begins with one for it.
        List<String> likely = app.settings.classes.get().readLines() ?: all.findAll { String it -> it == OTHER }
        StudyForm form = new StudyForm(image.name, image.mpp, known.info, all, likely, { String it -> app.host.colour(it) } as Function<String, Integer>)
        List<String> here = known.slides.collect { Map<String, Object> it -> it['id'] as String }
        QueryDialog dialog = new QueryDialog(app.stage, isQuery ? image.describe() : null, candidates(known, here), here, form, all,
            image.className, app.settings.classNames)
        if (!dialog.ask()) {
            return
        }
        Map<String, Object> study = dialog.study
        if (study != null) {
            RenamedClasses.settle(app, study) { go(title, image, known, study, dialog.className, null, null, isQuery) }
            return
        }
        app.settings.classes.set(form.classNames.join('\n'))
        RenamedClasses.list(app, form.classNames)
        go(title, image, known, null, dialog.className, form.slideOptions(), form.studyOptions(), isQuery)
    }

    private void go(String title, OpenImage image, Known known, Map<String, Object> study, String className,
                    Map<String, Object> slideOptions, Map<String, Object> studyOptions, boolean isQuery) {
        App.Connection connection = app.connection
        if (connection == null) {
            Say.sentence(app.stage, title, 'The connection was changed meanwhile. Try again.')
            return
        }
        Work.start(app.stage, 'Opening the slide', { Work work ->
            Map<String, Object> options = slideOptions ?: gridOf(connection.server, image, known.slides, study)
            Map<String, Object> opened = open(work, connection.server, image, options)
            Map<String, Object> slide = (Map<String, Object>) opened['slide']
            Map<String, Object> made = settle(work, connection.server, image, slide, study, studyOptions)
            if (isQuery) {
                work.at('Sending the query')
                send(connection.outbox, made, slide, image, className)
            }
            opened + ([study: made] as Map<String, Object>)
        } as Function<Work, Map<String, Object>>, { Map<String, Object> begun -> follow(image, begun, isQuery) } as Consumer<Map<String, Object>>)
    }

    /**
     * Sends an image to the server, which compares it with the file and starts its index.
     * Not in the UI thread.
     *
     * @param options of the grid; empty for the server's own
     * @return {slide, job}; job is null where the index is complete
     */
    Map<String, Object> open(Work work, Server server, OpenImage image, Map<String, Object> options) {
        work.at('Comparing the image with the file')
        Map<String, Object> facts = ImageFacts.of(image.server)
        work.check()
        Map<String, Object> opened = Opening.open(app.stage, server, facts + options)
        app.images.learn((Map<String, Object>) opened['slide'], ImageFacts.uri(image.server))
        opened
    }

    /** A study's grid on this image: as it is there already, or as on its other slides. Not in the UI thread. */
    private static Map<String, Object> gridOf(Server server, OpenImage image, List<Map<String, Object>> here, Map<String, Object> study) {
        List<String> ids = (List<String>) study['slides']
        Map<String, Object> slide = here.find { Map<String, Object> it -> it['id'] in ids }
        slide != null ? StudyGrid.of(slide) :
            StudyGrid.like((Map<String, Object>) server.get("/slides/${Server.segment(ids[0])}"), image.mpp)
    }

    /** Makes the study, or adds the slide to it where it lacks it. */
    private static Map<String, Object> settle(Work work, Server server, OpenImage image, Map<String, Object> slide,
                                              Map<String, Object> study, Map<String, Object> options) {
        String event = UUID.randomUUID().toString()
        if (study == null) {
            work.at('Making the study')
            Map<String, Object> body = options + ([slides: [slide['id']], event_id: event] as Map<String, Object>)
            if (!image.isInProject) {
                // There is nowhere to open another image from.
                body['search_slides'] = [slide['id']]
            }
            return (Map<String, Object>) server.send('POST', '/studies', body)
        }
        if (slide['id'] in (List) study['slides']) {
            return study
        }
        work.at('Adding the slide to the study')
        (Map<String, Object>) server.send('POST', "/studies/${Server.segment(study['id'])}/slides",
            [slide: slide['id'], event_id: event])
    }

    /**
     * Sends the query behind the labels that wait, and waits for the answer.
     *
     * @throws Problem what the server refused, which is then not kept; `query_waits` if it is away
     */
    private void send(Outbox outbox, Map<String, Object> study, Map<String, Object> slide, OpenImage image, String className) {
        Map<String, Object> body = [slide: slide['id'], label: className] as Map<String, Object>
        body.putAll(image.rectangle)
        String reader = app.settings.reader.get()
        if (reader) {
            body['reader'] = reader
        }
        String id = UUID.randomUUID().toString()
        CompletableFuture<Problem> answer = new CompletableFuture<>()
        Consumer<Outbox.Event> ear = { Outbox.Event event ->
            if (event.entry != null && event.entry['event_id'] == id && event.kind in ['saved', 'refused']) {
                answer.complete(event.problem)
            }
        } as Consumer<Outbox.Event>
        outbox.onEvent(ear)
        try {
            outbox.append([event_id: id, method: 'POST', path: "/studies/${Server.segment(study['id'])}/queries".toString(), body: body,
                           about: [study: study['name'], slide: slide['id'], label: className,
                                   text: "Query for ${className} in ${image.name}".toString()]] as Map<String, Object>)
            Problem refused = answer.get(ANSWER_S, TimeUnit.SECONDS)
            if (refused != null) {
                outbox.drop(id)
                throw refused
            }
        } catch (TimeoutException ignored) {
            Problem away = outbox.trouble()
            throw new Problem('query_waits', 0, "The query waits on this computer. ${away?.detail ?: 'The server is busy.'}",
                'It is sent by itself when the server takes it; then open the study with Review.', true)
        } catch (InterruptedException ignored) {
            outbox.drop(id)
            throw new Problem('interrupted', 0, 'Cancelled.', '', false)
        } finally {
            outbox.removeListener(ear)
        }
    }

    private void follow(OpenImage image, Map<String, Object> begun, boolean isQuery) {
        Map<String, Object> study = (Map<String, Object>) begun['study']
        IndexWatch.start(app, (Map<String, Object>) begun['job'], image.name)
        if (isQuery) {
            app.review(study['id'] as String)
        } else {
            Say.sentence(app.stage, NEW, "The study \"${study['name']}\" is made. Draw a rectangle on tissue that shows what you " +
                'are looking for, leave it selected, and choose Query with rectangle.')
        }
    }

    /** Studies that a query may go on with: the open one, then those with this image, the newest first. */
    private List<Map<String, Object>> candidates(Known known, List<String> here) {
        Object open = app.study?.get('id')
        List<Map<String, Object>> found = known.studies.findAll { Map<String, Object> it ->
            it['mode'] == 'classes' && (it['id'] == open || ((List) it['slides']).any { Object slide -> slide in here })
        }.reverse()
        found.findAll { Map<String, Object> it -> it['id'] == open } + found.findAll { Map<String, Object> it -> it['id'] != open }
    }

    private static boolean isChoice(PathClass pathClass) {
        pathClass != null && pathClass != PathClass.NULL_CLASS && !pathClass.toString().endsWith('*')
    }
}
