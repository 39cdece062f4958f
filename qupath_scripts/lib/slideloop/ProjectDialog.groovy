package slideloop

import groovy.transform.CompileStatic
import javafx.scene.Node
import javafx.scene.control.Button
import javafx.scene.control.ButtonBar
import javafx.scene.control.ButtonType
import javafx.scene.control.CheckBox
import javafx.scene.control.Dialog
import javafx.scene.control.Label
import javafx.scene.control.RadioButton
import javafx.scene.control.ScrollPane
import javafx.scene.control.ToggleGroup
import javafx.scene.layout.HBox
import javafx.scene.layout.VBox
import javafx.stage.Window
import qupath.lib.projects.ProjectImageEntry

import java.awt.image.BufferedImage

/** Asks which images of a project are predicted, and what their masks become. UI thread only. */
@CompileStatic
final class ProjectDialog {

    private static final double WIDTH = 480, LIST_HEIGHT = 220

    private final Dialog<ButtonType> dialog = new Dialog<>()
    private final Map<ProjectImageEntry<BufferedImage>, CheckBox> boxes = [:]
    private final ToggleGroup kinds = new ToggleGroup()
    private final CheckBox replace = new CheckBox('Replace masks of this study that are there already')
    private final Node go

    /**
     * @param images of the project
     * @param open the one on display, which is not proposed; null for none
     */
    ProjectDialog(Window owner, String studyName, List<ProjectImageEntry<BufferedImage>> images, ProjectImageEntry<BufferedImage> open) {
        ButtonType predict = new ButtonType('Predict', ButtonBar.ButtonData.OK_DONE)
        dialog.initOwner(owner)
        dialog.title = 'slideloop: predict other images'
        dialog.resizable = true
        dialog.dialogPane.buttonTypes.setAll(predict, ButtonType.CANCEL)
        go = dialog.dialogPane.lookupButton(predict)
        VBox list = new VBox(6)
        images.each { ProjectImageEntry<BufferedImage> it ->
            CheckBox box = new CheckBox(it.imageName)
            // A mnemonic would swallow underscores of the name.
            box.mnemonicParsing = false
            box.selected = it.getID() != open?.getID()
            box.selectedProperty().addListener { observed, was, is -> look() }
            boxes[it] = box
            list.children << box
        }
        ScrollPane scroll = new ScrollPane(list)
        scroll.fitToWidth = true
        scroll.prefHeight = LIST_HEIGHT
        Label what = new Label("The study \"${studyName}\" predicts each image, and its mask is saved with it. Go on working meanwhile; " +
            'what is replaced is kept in the project\'s folder "slideloop".')
        what.wrapText = true
        VBox content = new VBox(10, what, new HBox(8, choosing('All', true), choosing('None', false)), scroll)
        MaskImport.KINDS.each { String it ->
            RadioButton button = new RadioButton(ImportDialog.WORDS[it])
            button.userData = it
            button.toggleGroup = kinds
            button.selected = it == MaskImport.KINDS[0]
            content.children << button
        }
        content.children << replace
        content.prefWidth = WIDTH
        dialog.dialogPane.content = content
        look()
    }

    /** Show it, and wait. Returns whether to go on. */
    boolean ask() {
        dialog.showAndWait().map { ButtonType it -> it.buttonData == ButtonBar.ButtonData.OK_DONE }.orElse(false)
    }

    /** The images wanted, in the project's order. */
    List<ProjectImageEntry<BufferedImage>> getChosen() {
        boxes.findAll { ProjectImageEntry<BufferedImage> entry, CheckBox box -> box.selected }.keySet() as List<ProjectImageEntry<BufferedImage>>
    }

    /** One of MaskImport.KINDS. */
    String getKind() {
        kinds.selectedToggle.userData
    }

    /** Whether masks that are there are replaced; otherwise such images are left as they are. */
    boolean isReplacing() {
        replace.selected
    }

    private Button choosing(String words, boolean isChosen) {
        Button button = new Button(words)
        button.onAction = { boxes.values().each { CheckBox box -> box.selected = isChosen } }
        button
    }

    private void look() {
        go.disable = !boxes.values().any { CheckBox it -> it.selected }
    }
}
