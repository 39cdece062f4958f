package slideloop

import groovy.transform.CompileStatic
import javafx.scene.Node
import javafx.scene.control.ButtonBar
import javafx.scene.control.ButtonType
import javafx.scene.control.CheckBox
import javafx.scene.control.Dialog
import javafx.scene.control.Label
import javafx.scene.control.ListCell
import javafx.scene.control.ListView
import javafx.scene.layout.Priority
import javafx.scene.layout.VBox

import java.util.function.Consumer
import java.util.function.Function

/** Finds the studies of the image on display, or all of the server's, and opens one. UI thread. */
@CompileStatic
final class OpenStudy {

    private static final String TITLE = 'Open study'
    private static final Map<String, String> STATES = [
        new: 'no query yet', indexing: 'the slide is being looked at', labelling: 'a round is open',
        training: 'learning', session_over: 'the last session is over', exhausted: 'every patch was shown',
    ].asImmutable()

    private final App app

    OpenStudy(App app) {
        this.app = app
    }

    /** Ask the server which there are, let the user choose, and open it. */
    void start() {
        OpenImage image = OpenImage.of(app.gui)
        app.reached(TITLE) {
            Server server = app.connection.server
            Work.start(app.stage, 'Asking the server', { Work work ->
                List<Map<String, Object>> slides = (List<Map<String, Object>>) server.get('/slides')
                List<Map<String, Object>> here = image == null || image.refusal != null ? (List<Map<String, Object>>) [] :
                    SlideImages.find(server, image.server, slides)
                [slides: slides, here: here, studies: server.get('/studies?archived=false')] as Map<String, Object>
            } as Function<Work, Map<String, Object>>, { Map<String, Object> found -> choose(image, found) } as Consumer<Map<String, Object>>)
        }
    }

    private void choose(OpenImage image, Map<String, Object> found) {
        List<Map<String, Object>> slides = (List<Map<String, Object>>) found['slides']
        slides.each { Map<String, Object> it -> app.images.learn(it) }
        List<Map<String, Object>> here = (List<Map<String, Object>>) found['here']
        here.each { Map<String, Object> it -> app.images.learn(it, ImageFacts.uri(image.server)) }
        List<String> ids = here.collect { Map<String, Object> it -> it['id'] as String }
        List<Map<String, Object>> all = ((List<Map<String, Object>>) found['studies']).reverse()
        List<Map<String, Object>> ofImage = image == null ? all : all.findAll { Map<String, Object> it -> ((List) it['slides']).any { Object id -> id in ids } }
        if (!all) {
            Say.sentence(app.stage, TITLE, 'The server has no study yet. Draw a rectangle on tissue that shows what you are looking ' +
                'for, leave it selected, and choose Query with rectangle.')
            return
        }
        Map<String, Object> study = ask(ofImage, all)
        if (study != null) {
            RenamedClasses.settle(app, study) {
                open(image, study, here.find { Map<String, Object> slide -> slide['id'] in (List) study['slides'] })
            }
        }
    }

    private void open(OpenImage image, Map<String, Object> study, Map<String, Object> slide) {
        if (study['state'] == 'new') {
            Say.sentence(app.stage, TITLE, "\"${study['name']}\" has no query yet. Draw a rectangle on tissue that shows what you are " +
                'looking for, leave it selected, and choose Query with rectangle.')
            return
        }
        App.Connection connection = app.connection
        if (slide == null || connection == null) {
            app.connected(TITLE) { app.review(study['id'] as String) }
            return
        }
        // The file may lie elsewhere by now, or be another one under the same name.
        Work.start(app.stage, 'Opening the slide', { Work work ->
            new Sessions(app).open(work, connection.server, image, StudyGrid.of(slide))
        } as Function<Work, Map<String, Object>>, { Map<String, Object> opened ->
            IndexWatch.start(app, (Map<String, Object>) opened['job'], image.name)
            app.review(study['id'] as String)
            if (((List<Map>) study['sessions']).any { Map it -> (it['rounds_done'] as int) > 0 }) {
                app.prediction.showWith(study['id'] as String)
            }
        } as Consumer<Map<String, Object>>)
    }

    private Map<String, Object> ask(List<Map<String, Object>> ofImage, List<Map<String, Object>> all) {
        Dialog<ButtonType> dialog = new Dialog<>()
        ButtonType go = new ButtonType('Open', ButtonBar.ButtonData.OK_DONE)
        dialog.initOwner(app.stage)
        dialog.title = 'slideloop: open study'
        dialog.resizable = true
        dialog.dialogPane.buttonTypes.setAll(go, ButtonType.CANCEL)
        ListView<Map<String, Object>> list = new ListView<>()
        list.cellFactory = { ListView<Map<String, Object>> it -> new StudyCell() }
        list.prefHeight = 260
        Label none = new Label('No study has this image.')
        list.placeholder = none
        CheckBox everything = new CheckBox('Also studies of other images')
        Node button = dialog.dialogPane.lookupButton(go)
        list.selectionModel.selectedItemProperty().addListener { observed, old, now -> button.disable = now == null }
        everything.selectedProperty().addListener { observed, was, is -> fill(list, is as boolean ? all : ofImage) }
        list.onMouseClicked = { javafx.scene.input.MouseEvent click ->
            if (click.clickCount == 2 && list.selectionModel.selectedItem != null) {
                ((javafx.scene.control.Button) button).fire()
            }
        }
        button.disable = true
        fill(list, ofImage)
        VBox content = new VBox(8, list, everything)
        VBox.setVgrow(list, Priority.ALWAYS)
        content.prefWidth = 480
        dialog.dialogPane.content = content
        ButtonType answer = dialog.showAndWait().orElse(ButtonType.CANCEL)
        answer == go ? list.selectionModel.selectedItem : null
    }

    private static void fill(ListView<Map<String, Object>> list, List<Map<String, Object>> studies) {
        list.items.setAll(studies)
        list.selectionModel.selectFirst()
    }

    /** A study in two lines. */
    private static final class StudyCell extends ListCell<Map<String, Object>> {
        @Override
        protected void updateItem(Map<String, Object> study, boolean isEmpty) {
            super.updateItem(study, isEmpty)
            if (isEmpty || study == null) {
                setGraphic(null)
                return
            }
            Label name = new Label(study['name'] as String)
            name.style = '-fx-font-weight: bold;'
            long n = 0
            ((Map<String, Number>) study['n_labels']).values().each { Number it -> n += it.longValue() }
            Label about = new Label("${((List) study['classes']).join(', ')} · ${WindowWords.count(n, 'label')} · " +
                "${WindowWords.count(((List) study['sessions']).size(), 'session')} · ${STATES[study['state'] as String] ?: study['state']}")
            setGraphic(new VBox(2, name, about))
        }
    }
}
