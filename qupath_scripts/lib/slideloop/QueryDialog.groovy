package slideloop

import groovy.transform.CompileStatic
import javafx.scene.Node
import javafx.scene.control.ButtonBar
import javafx.scene.control.ButtonType
import javafx.scene.control.ComboBox
import javafx.scene.control.Dialog
import javafx.scene.control.Label
import javafx.scene.layout.GridPane
import javafx.scene.layout.Priority
import javafx.scene.layout.Region
import javafx.scene.layout.VBox
import javafx.stage.Window

/**
 * Asks for what a query needs beside its rectangle: the class, and the study, or a new one's settings.
 * UI thread only.
 */
@CompileStatic
final class QueryDialog {

    private static final String NEW = 'New study'

    private final Dialog<ButtonType> dialog = new Dialog<>()
    private final ComboBox<String> studyBox = new ComboBox<>()
    private final ComboBox<String> classBox = new ComboBox<>()
    private final Label warning = new Label()
    private final StudyForm form
    private final List<Map<String, Object>> studies
    private final List<String> allClasses
    private final List<String> here
    private final ClassNames names
    private final String likely
    private final Node start
    private final boolean isQuery
    /** The class that the user chose; null if it is still a proposal. */
    private String picked
    private boolean isProposing

    /**
     * @param rectangle the query in words; null to make a study without one
     * @param studies those that may be continued, the likeliest first; may be empty
     * @param here slides that are the image of the rectangle
     * @param form for a new one
     * @param allClasses QuPath's class list
     * @param likely class of the rectangle's annotation, as QuPath has it, or null
     * @param names what the studies' classes are called in QuPath
     */
    QueryDialog(Window owner, String rectangle, List<Map<String, Object>> studies, List<String> here, StudyForm form,
                List<String> allClasses, String likely, ClassNames names) {
        this.studies = studies
        this.here = here
        this.names = names
        this.form = form
        this.allClasses = allClasses
        this.likely = likely
        isQuery = rectangle != null
        ButtonType go = new ButtonType(isQuery ? 'Start' : 'Make the study', ButtonBar.ButtonData.OK_DONE)
        dialog.initOwner(owner)
        dialog.title = isQuery ? 'slideloop: query with rectangle' : 'slideloop: new study'
        dialog.resizable = true
        dialog.dialogPane.buttonTypes.setAll(go, ButtonType.CANCEL)
        start = dialog.dialogPane.lookupButton(go)
        studyBox.items.setAll(studies.collect { Map<String, Object> it -> title(it) } + [NEW])
        studyBox.maxWidth = Double.MAX_VALUE
        studyBox.value = studyBox.items.first()
        classBox.maxWidth = Double.MAX_VALUE
        layOut(rectangle)
        form.changed = { check() }
        studyBox.valueProperty().addListener { observed, old, now -> studyChosen() }
        classBox.valueProperty().addListener { observed, old, String now ->
            if (!isProposing) {
                picked = now
                classChosen()
            }
        }
        studyChosen()
    }

    /** Show it, and wait. Returns whether to start. */
    boolean ask() {
        dialog.showAndWait().map { ButtonType it -> it.buttonData == ButtonBar.ButtonData.OK_DONE }.orElse(false)
    }

    /** The study to continue; null for a new one. */
    Map<String, Object> getStudy() {
        int index = studyBox.selectionModel.selectedIndex
        index < studies.size() ? studies[index] : null
    }

    /** The query's class. */
    String getClassName() {
        classBox.value
    }

    private void layOut(String rectangle) {
        GridPane top = new GridPane()
        top.hgap = 10
        top.vgap = 8
        Label what = new Label(rectangle ?: '')
        what.wrapText = true
        if (isQuery) {
            top.add(what, 0, 0, 2, 1)
            top.addRow(1, new Label('Study'), studyBox)
            top.addRow(2, new Label('It shows'), classBox)
            GridPane.setHgrow(studyBox, Priority.ALWAYS)
            GridPane.setHgrow(classBox, Priority.ALWAYS)
        }
        warning.wrapText = true
        warning.minHeight = Region.USE_PREF_SIZE
        VBox content = new VBox(10, top, form, warning)
        content.prefWidth = 460
        dialog.dialogPane.content = content
    }

    private void studyChosen() {
        Map<String, Object> found = getStudy()
        form.visible = found == null
        form.managed = found == null
        List<String> classes = found == null ? allClasses : (List<String>) found['classes']
        String drawn = found == null ? likely : names.of(found['id'] as String).inStudy(likely)
        isProposing = true
        classBox.items.setAll(classes)
        classBox.value = [picked, drawn, found?.get('positive') as String].find { String it -> it in classes }
        isProposing = false
        classChosen()
        fit()
    }

    /** Makes the window as large as what is in it: the form comes and goes, and the warning has one line or two. */
    private void fit() {
        dialog.dialogPane.scene?.window?.sizeToScene()
    }

    private void classChosen() {
        if (getStudy() == null && classBox.value != null) {
            form.seek(classBox.value)
        }
        check()
    }

    private void check() {
        boolean isNew = getStudy() == null
        String problem = isQuery && classBox.value == null ? 'Choose the class that the rectangle shows.' :
            isNew ? form.problem() : null
        if (problem == null && isNew && isQuery && !(classBox.value in form.classNames)) {
            problem = "The study needs the class of the rectangle, ${classBox.value}."
        }
        String text = problem ?: [
            isNew || ((List) getStudy()['slides']).any { Object it -> it in here } ? null : 'This image is not in the study yet: it will be added.',
            getStudy()?.get('state') == 'labelling' ?
                'A round is open in this study. The query ends it: its labels stay, and a new session begins.' : null,
        ].findAll().join(' ')
        start.disable = problem != null
        if (warning.text != text) {
            warning.text = text
            fit()
        }
    }

    private static String title(Map<String, Object> study) {
        long n = 0
        ((Map<String, Number>) study['n_labels']).values().each { Number it -> n += it.longValue() }
        "${study['name']} (${((List) study['classes']).join(', ')}; ${WindowWords.count(n, 'label')})".toString()
    }
}
