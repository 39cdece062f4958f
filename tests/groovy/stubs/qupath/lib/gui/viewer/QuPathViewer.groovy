package qupath.lib.gui.viewer

import qupath.lib.images.ImageData

import java.awt.image.BufferedImage

class QuPathViewer {
    ImageData<BufferedImage> getImageData() { throw new UnsupportedOperationException() }
    void setCenterPixelLocation(double x, double y) { throw new UnsupportedOperationException() }
}
