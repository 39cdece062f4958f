package slideloop

import groovy.transform.CompileStatic

/** The start of slideloop in a QuPath, by the start-up script. */
@CompileStatic
final class Starting {

    /** What a first window needs; loading them on the way would freeze QuPath for up to a second. */
    private static final List<Class<?>> NEEDED = [
        ReviewWindow, ReviewPane, Pictures, Thumbnail, RefusedPanel, StatusLine, QueryDialog, StudyForm, ConnectDialog, OpenStudy,
        Sessions, UndoStep, Work, ProgressWindow, Say, Doctor, IndexWatch, ImageFacts, QuPathHost, Temporary, App,
        PredictionView, PredictionWindow, PredictionOverlay, ImportMask, ImportDialog, SendCorrections, CorrectionsDialog,
    ].asImmutable() as List<Class<?>>

    private Starting() {
    }

    /** Load and link classes before they are needed; not in the UI thread. */
    static void warm() {
        NEEDED.each { Class<?> it -> Class.forName(it.name, true, it.classLoader) }
    }

    /** Make slideloop anew in this QuPath, and install its menu. UI thread. */
    static void install() {
        MenuInstaller.install(App.renewed())
    }
}
