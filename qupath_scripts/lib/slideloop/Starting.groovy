package slideloop

import groovy.transform.CompileStatic
import javafx.scene.Parent
import javafx.scene.Scene
import javafx.scene.control.ButtonType
import javafx.scene.control.CheckBox
import javafx.scene.control.DialogPane
import javafx.scene.control.Hyperlink
import javafx.scene.control.ProgressBar
import javafx.scene.control.ProgressIndicator
import javafx.scene.control.RadioButton
import javafx.scene.control.ScrollPane
import javafx.scene.control.Slider
import javafx.scene.layout.GridPane
import javafx.scene.layout.VBox

import java.util.function.Function

/** The start of slideloop in a QuPath, by the start-up script. */
@CompileStatic
final class Starting {

    private Starting() {
    }

    /** Load and link classes before they are needed, and lay out what they show once; not in the UI thread. */
    static void warm() {
        loadAll()
        ReviewWindow.warm()
        // Nodes that are in no window may be made by any thread.
        DialogPane dialog = new DialogPane()
        dialog.buttonTypes.setAll(ButtonType.OK, ButtonType.CANCEL)
        dialog.content = new VBox(form(), new ProgressBar(-1d))
        layOut(dialog)
        layOut(new VBox(new Slider(0d, 1d, 0.5d), new RadioButton('A'), new CheckBox('A'), new Hyperlink('A'),
            new ProgressIndicator(-1d), new ScrollPane(new GridPane())))
        ClassLegend legend = new ClassLegend({ String answer -> }, { })
        ThumbnailStrip strip = new ThumbnailStrip({ Map patch -> })
        strip.hold(5, 5)
        VBox review = new VBox(new HeaderLine(), new PatchPane(), legend, strip, new StatusLine({ }), new RefusedPanel({ String id -> }, { String id -> }))
        review.styleClass.add('slideloop-review')
        review.stylesheets.add(Starting.getResource('review.css').toExternalForm())
        layOut(review)
    }

    /**
     * Load every class of the library, closures too: what is loaded when it is needed first stops the
     * window for some ms each, a second in all.
     */
    private static void loadAll() {
        File folder = new File(new File(Starting.protectionDomain.codeSource.location.toURI()), 'slideloop')
        folder.listFiles().findAll { File it -> it.name.endsWith('.class') }.each { File it ->
            Class<?> type = Class.forName("slideloop.${it.name - '.class'}", true, Starting.classLoader)
            GroovySystem.metaClassRegistry.getMetaClass(type)
        }
    }

    private static StudyForm form() {
        Map<String, Object> info = [strategies: ['cnfp'], engines: ['linear'], defaults: [patch_px: 256, rounds: 5, k: 5]] as Map<String, Object>
        new StudyForm('', null, info, ['A', 'B'], [], { String name -> 0 } as Function<String, Integer>)
    }

    private static void layOut(Parent node) {
        new Scene(node)
        node.applyCss()
        node.layout()
    }

    /** Make slideloop anew in this QuPath, and install its menu. UI thread. */
    static void install() {
        MenuInstaller.install(App.renewed())
    }
}
