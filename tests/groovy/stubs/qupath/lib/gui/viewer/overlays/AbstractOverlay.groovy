package qupath.lib.gui.viewer.overlays

import qupath.lib.gui.viewer.OverlayOptions
import qupath.lib.images.ImageData

import java.awt.image.BufferedImage

abstract class AbstractOverlay implements PathOverlay {
    protected AbstractOverlay(OverlayOptions options) { throw new UnsupportedOperationException() }
    String getLocationString(ImageData<BufferedImage> imageData, double x, double y, int z, int t) {
        throw new UnsupportedOperationException()
    }
}
