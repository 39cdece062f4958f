package slideloop

import groovy.transform.CompileStatic

/**
 * Loads classes before they are needed, beside the UI thread: the first window of a kind would
 * otherwise freeze QuPath for up to a second.
 */
@CompileStatic
final class Warming {

    private static final List<Class<?>> WINDOWS = [
        ReviewWindow, ReviewPane, Pictures, Thumbnail, RefusedPanel, StatusLine, QueryDialog, StudyForm, ConnectDialog, OpenStudy,
        Sessions, UndoStep, Work, ProgressWindow, Say, Doctor, IndexWatch, ImageFacts, QuPathHost, Temporary,
    ].asImmutable() as List<Class<?>>

    private Warming() {
    }

    /** Load and link all of it; not in the UI thread. */
    static void warm() {
        WINDOWS.each { Class<?> it -> Class.forName(it.name, true, it.classLoader) }
    }
}
