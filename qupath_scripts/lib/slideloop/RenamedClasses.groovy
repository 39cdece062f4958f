package slideloop

import groovy.transform.CompileStatic
import javafx.scene.control.ButtonBar
import javafx.scene.control.ButtonType
import javafx.scene.control.ComboBox
import javafx.scene.control.Dialog
import javafx.scene.control.Label
import javafx.scene.layout.GridPane
import javafx.scene.layout.VBox
import qupath.lib.objects.classes.PathClass

/**
 * Notices that QuPath's list lacks classes of a study, perhaps since they were renamed there, and asks
 * what they are called now. UI thread.
 */
@CompileStatic
final class RenamedClasses {

    private RenamedClasses() {
    }

    /**
     * Go on once it is known what the study's classes are called here.
     *
     * @param study as the server gives it
     * @param then is not run where the user cancels
     */
    static void settle(App app, Map<String, Object> study, Runnable then) {
        String id = study['id']
        List<String> classes = (List<String>) study['classes']
        List<String> there = listed(app)
        StudyNames names = app.settings.classNames.of(id)
        List<String> missing = classes.findAll { String it -> ObjectId.classOf(there, names.inQuPath(it)) == null }
        if (missing) {
            List<String> free = there.findAll { String it -> !(names.inStudy(it) in classes) }
            Map<String, String> answers = ask(app, study, missing, free)
            if (answers == null) {
                return
            }
            app.settings.classNames.rename(id, answers)
            list(app, answers.values())
            app.namesChanged()
        }
        then.run()
    }

    /** Names of QuPath's classes that a study may have. */
    static List<String> listed(App app) {
        app.gui.availablePathClasses.findAll { PathClass it -> it != null && it != PathClass.NULL_CLASS }
            .collect { PathClass it -> it.toString() }
    }

    /** Put classes into QuPath's list, so that they have a colour and can be drawn with. */
    static void list(App app, Collection<String> names) {
        List<PathClass> known = app.gui.availablePathClasses
        names.collect { String it -> PathClass.fromString(it) }.findAll { PathClass it -> !(it in known) }
            .each { PathClass it -> known.add(it) }
    }

    /** QuPath's name for each class that is missing; null if cancelled. */
    private static Map<String, String> ask(App app, Map<String, Object> study, List<String> missing, List<String> free) {
        Dialog<ButtonType> dialog = new Dialog<>()
        ButtonType go = new ButtonType('Go on', ButtonBar.ButtonData.OK_DONE)
        dialog.initOwner(app.stage)
        dialog.title = 'slideloop: classes of the study'
        dialog.dialogPane.buttonTypes.setAll(go, ButtonType.CANCEL)
        Label what = new Label("QuPath's class list lacks ${missing.join(', ')} of the study \"${study['name']}\". Was a class renamed? " +
            'Say what it is called now; the study keeps its own name for it.')
        what.wrapText = true
        GridPane rows = new GridPane()
        rows.hgap = 10
        rows.vgap = 8
        Map<String, ComboBox<String>> boxes = [:]
        missing.eachWithIndex { String name, int row ->
            ComboBox<String> box = new ComboBox<String>()
            box.items.setAll([addition(name)] + free)
            box.value = box.items.first()
            rows.addRow(row, new Label(name), box)
            boxes[name] = box
        }
        VBox content = new VBox(12, what, rows)
        content.prefWidth = 440
        dialog.dialogPane.content = content
        if (dialog.showAndWait().orElse(ButtonType.CANCEL) != go) {
            return null
        }
        boxes.collectEntries { String name, ComboBox<String> box -> [(name): box.value == addition(name) ? name : box.value] } as Map<String, String>
    }

    private static String addition(String name) {
        "${name} (put it into QuPath's list)".toString()
    }
}
