package qupath.lib.gui

import javafx.beans.property.ReadOnlyObjectProperty
import javafx.collections.ObservableList
import javafx.scene.control.Menu
import javafx.scene.control.MenuBar
import javafx.scene.control.MenuItem
import javafx.scene.input.KeyCombination
import javafx.stage.Stage
import qupath.lib.common.Version
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.images.ImageData
import qupath.lib.objects.classes.PathClass
import qupath.lib.projects.Project

import java.awt.image.BufferedImage

class QuPathGUI {
    static QuPathGUI getInstance() { throw new UnsupportedOperationException() }
    static Version getVersion() { throw new UnsupportedOperationException() }
    static boolean openInBrowser(String url) { throw new UnsupportedOperationException() }

    Stage getStage() { throw new UnsupportedOperationException() }
    QuPathViewer getViewer() { throw new UnsupportedOperationException() }
    ObservableList<QuPathViewer> getAllViewers() { throw new UnsupportedOperationException() }
    ImageData<BufferedImage> getImageData() { throw new UnsupportedOperationException() }
    ReadOnlyObjectProperty<ImageData<BufferedImage>> imageDataProperty() { throw new UnsupportedOperationException() }
    ReadOnlyObjectProperty<Project<BufferedImage>> projectProperty() { throw new UnsupportedOperationException() }
    Project<BufferedImage> getProject() { throw new UnsupportedOperationException() }
    ObservableList<PathClass> getAvailablePathClasses() { throw new UnsupportedOperationException() }
    MenuBar getMenuBar() { throw new UnsupportedOperationException() }
    Menu getMenu(String name, boolean createMenu) { throw new UnsupportedOperationException() }
    MenuItem installCommand(String menuPath, Runnable runnable) { throw new UnsupportedOperationException() }
    Object lookupAccelerator(KeyCombination combo) { throw new UnsupportedOperationException() }
    boolean setAccelerator(MenuItem item, KeyCombination combo) { throw new UnsupportedOperationException() }
}
