package qupath.lib.gui.viewer.overlays

import qupath.lib.images.ImageData
import qupath.lib.regions.ImageRegion

import java.awt.Graphics2D
import java.awt.image.BufferedImage

interface PathOverlay {
    void paintOverlay(Graphics2D g2d, ImageRegion imageRegion, double downsampleFactor, ImageData<BufferedImage> imageData,
                      boolean paintCompletely)
}
