package slideloop

import groovy.transform.CompileStatic

import java.util.concurrent.Executor

/** Skeleton of the public API; behaviour follows. */
@CompileStatic
final class Review implements Closeable {

    /** Who judges, as it stands in the journal; null for nobody named. */
    String reader
    private final List<Runnable> listeners = []
    private volatile View snapshot = new View([state: 'closed'] as Map<String, Object>)

    Review(Server server, Outbox outbox, Executor ui) { }

    void open(String studyId) { }
    void refresh() { }
    @Override
    void close() { }
    void onChange(Runnable listener) { listeners << listener }
    View view() { snapshot }
    void label(String name) { }
    void move(int step) { }
    void select(String patchId) { }
    void back() { }
    void drop(String eventId) { }
    void retry(String eventId) { }
}
