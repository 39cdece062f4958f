package qupath.lib.gui

import javafx.collections.ObservableList
import javafx.stage.Stage
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.images.ImageData
import qupath.lib.projects.Project

import java.awt.image.BufferedImage

class QuPathGUI {
    static QuPathGUI getInstance() { throw new UnsupportedOperationException() }

    Stage getStage() { throw new UnsupportedOperationException() }
    QuPathViewer getViewer() { throw new UnsupportedOperationException() }
    ObservableList<QuPathViewer> getAllViewers() { throw new UnsupportedOperationException() }
    ImageData<BufferedImage> getImageData() { throw new UnsupportedOperationException() }
    Project<BufferedImage> getProject() { throw new UnsupportedOperationException() }
}
