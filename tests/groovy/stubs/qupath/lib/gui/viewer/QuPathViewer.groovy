package qupath.lib.gui.viewer

import javafx.collections.ObservableList
import qupath.lib.gui.viewer.overlays.PathOverlay
import qupath.lib.images.ImageData

import java.awt.image.BufferedImage

class QuPathViewer {
    ImageData<BufferedImage> getImageData() { throw new UnsupportedOperationException() }
    void setCenterPixelLocation(double x, double y) { throw new UnsupportedOperationException() }
    OverlayOptions getOverlayOptions() { throw new UnsupportedOperationException() }
    ObservableList<PathOverlay> getCustomOverlayLayers() { throw new UnsupportedOperationException() }
    void repaint() { throw new UnsupportedOperationException() }
}
