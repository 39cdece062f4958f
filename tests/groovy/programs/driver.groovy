// A review without a window: does what the lines of stdin say, and prints every view.
// A command is {"do": name, ..}; its answer {"done": name, "found": .., "problem": ..}.
import slideloop.Json
import slideloop.LocalServer
import slideloop.Opening
import slideloop.Outbox
import slideloop.Problem
import slideloop.Review
import slideloop.Server
import slideloop.StudyGrid

import java.nio.file.Path
import java.util.concurrent.Executors

class Driver {
    final ui = Executors.newSingleThreadExecutor { work -> new Thread(work, 'ui').tap { daemon = true } }
    final out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, 'UTF-8')
    volatile String token
    Server server
    Outbox outbox
    Review review

    synchronized void say(Map line) {
        out.println(Json.write(line))
    }

    def connect(Map line) {
        token = line.token
        server = new Server(line.url, { token })
        outbox = new Outbox(Path.of(line.folder), server)
        outbox.onEvent { say(event: it.kind, id: it.entry?.event_id, problem: it.problem?.toMap()) }
        review = new Review(server, outbox, ui)
        review.onChange { tell() }
        outbox.nSetAside()
    }

    void tell() {
        def view = review.view()
        say(view: [
            study: view.study?.name, round_id: view.round?.round_id, round: view.round?.round, session: view.session,
            patches: view.patches*.id, patch: view.patch?.id, state: view.state, position: view.position,
            labels: view.labels, saved: view.saved, progress: view.progress, note: view.note,
            problem: view.problem?.toMap(), waiting: view.waiting, classes: view.classes, next: view.next*.id,
            n_labels: view.study?.n_labels,
            refused: view.refused.collect { [id: it.event_id, code: it.problem.code, text: it.about?.text, time: it.time] },
        ])
    }

    def end() {
        review?.dispose()
        outbox?.close()
    }

    def run(Map line) {
        switch (line.do) {
            case 'connect': return connect(line)
            case 'end': return end()
            case 'token': token = line.token; return outbox.poke()
            case 'append': return outbox.append(line.entry).event_id
            case 'get': return server.get(line.path)
            case 'json': return Json.write(Json.read(line.text))
            case 'folder': return Outbox.folderFor(Path.of(line.base), new Server(line.url, { token })).toString()
            case 'text': return server.toString()
            case 'flush': return outbox.flush(5000)
            case 'elsewhere': return Outbox.leftElsewhere(Path.of(line.base), server)
            case 'may serve': return LocalServer.canAnswerAt(new Server(line.url, { token }))
            case 'serve':
                def starting = new LocalServer(new Server(line.url, { token }), line.command, Path.of(line.log))
                return starting.start { said -> say(said: said) }?.pid()
            case 'like': return StudyGrid.like(line.slide, line.mpp)
            case 'pixel': return Opening.read(line.text)
            case 'waiting': return outbox.waiting()*.event_id
        }
        onUi(line)
    }

    /** Calls what a window calls, in its thread; returns how many ms that took, when listeners were told. */
    double onUi(Map line) {
        def given = (line.given ?: []).collect { it instanceof Long ? it as int : it }
        def start = System.nanoTime()
        ui.submit { review."${line.do}"(*given) }.get()
        def ms = (System.nanoTime() - start) / 1e6d
        ui.submit { }.get()
        ms
    }

    void listen() {
        System.in.eachLine('UTF-8') { text ->
            def line = Json.read(text)
            def answer = [done: line.do]
            try {
                answer.found = run(line)
            } catch (Problem problem) {
                answer.problem = problem.toMap() + [message: problem.message]
            } catch (Throwable fault) {
                fault.printStackTrace()
                answer.problem = [code: 'fault', message: fault.toString()]
            }
            say(answer)
        }
    }
}

new Driver().listen()
System.exit(0)
