package slideloop

import groovy.transform.CompileStatic
import qupath.lib.gui.viewer.OverlayOptions
import qupath.lib.gui.viewer.overlays.AbstractOverlay
import qupath.lib.images.ImageData
import qupath.lib.regions.ImageRegion

import java.awt.AlphaComposite
import java.awt.BasicStroke
import java.awt.Color
import java.awt.Graphics2D
import java.awt.RenderingHints
import java.awt.image.BufferedImage

/**
 * A prediction over the slide it was made of, and over no other image: QuPath keeps overlays when the
 * image changes. Each patch has its class's colour, the stronger the more probable; the expert's own are
 * outlined. Touches no object, no changed flag and no undo.
 *
 * `show` in the UI thread; QuPath paints in whichever it likes.
 */
@CompileStatic
final class PredictionOverlay extends AbstractOverlay {

    /** Strength of a patch that could as well be of any other class. */
    private static final double WEAKEST = 0.15
    /** Screen pixels that a patch must have for its outline to be drawn. */
    private static final double LEAST_OUTLINED = 6

    /** What is painted; never changes. */
    private static final class Picture {
        final Prediction prediction
        final BufferedImage cells
        final int first_px0, stride_px0
        final int[] rgb

        Picture(Prediction prediction, int[] rgb) {
            this.prediction = prediction
            this.rgb = rgb
            stride_px0 = prediction.stride_px0
            // A cell is centred on its patch, as in the mask.
            first_px0 = Math.floorDiv(prediction.patch_px0 - stride_px0, 2)
            int nColumns = 1, nRows = 1
            for (int i = 0; i < prediction.n; i++) {
                nColumns = Math.max(nColumns, prediction.column[i] + 1)
                nRows = Math.max(nRows, prediction.row[i] + 1)
            }
            cells = new BufferedImage(nColumns, nRows, BufferedImage.TYPE_INT_ARGB)
            int nClasses = prediction.classes.size()
            for (int i = 0; i < prediction.n; i++) {
                int label = prediction.label[i]
                if (label >= 0 && rgb[label] >= 0) {
                    int alpha = (int) Math.round(255 * strength(prediction.probability[i], nClasses))
                    cells.setRGB(prediction.column[i], prediction.row[i], alpha << 24 | rgb[label])
                }
            }
        }

        private static double strength(double probability, int nClasses) {
            double even = 1d / nClasses
            WEAKEST + (1 - WEAKEST) * Math.max(0d, Math.min(1d, (probability - even) / (1 - even)))
        }
    }

    /** Path of the server of the image that it belongs to. */
    final String path
    private final int width, height
    private volatile Picture picture
    private volatile float opaqueness = 0.5f

    /**
     * @param path, width, height of the image's server
     */
    PredictionOverlay(OverlayOptions options, String path, int width, int height) {
        super(options)
        this.path = path
        this.width = width
        this.height = height
    }

    /**
     * Paints another prediction from the next repaint on.
     *
     * @param prediction of this image; null for nothing
     * @param colours 0xRRGGBB of the classes that are to be seen
     */
    void show(Prediction prediction, Map<String, Integer> colours) {
        picture = prediction == null ? null : new Picture(prediction, prediction.classes.collect { String it ->
            colours.containsKey(it) ? colours[it] & 0xffffff : -1
        } as int[])
    }

    /** Paints with this opacity, 0 to 1, from the next repaint on. */
    void setOpaqueness(double opaqueness) {
        this.opaqueness = (float) Math.max(0d, Math.min(1d, opaqueness))
    }

    @Override
    void paintOverlay(Graphics2D g2d, ImageRegion imageRegion, double downsampleFactor, ImageData<BufferedImage> imageData,
                      boolean paintCompletely) {
        Picture shown = picture
        if (shown == null || imageData == null || imageData.server.path != path) {
            return
        }
        Graphics2D g = (Graphics2D) g2d.create()
        try {
            g.clipRect(0, 0, width, height)
            g.composite = AlphaComposite.getInstance(AlphaComposite.SRC_OVER, opaqueness)
            g.setRenderingHint(RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_NEAREST_NEIGHBOR)
            paint(g, shown, imageRegion)
            if (shown.stride_px0 / downsampleFactor >= LEAST_OUTLINED) {
                outline(g, shown, imageRegion, downsampleFactor)
            }
        } finally {
            g.dispose()
        }
    }

    /** What the mouse is over, for the corner of the viewer. */
    @Override
    String getLocationString(ImageData<BufferedImage> imageData, double x, double y, int z, int t) {
        Picture shown = picture
        if (shown == null || imageData == null || imageData.server.path != path) {
            return null
        }
        int column = cellOf(x, shown), row = cellOf(y, shown)
        Prediction prediction = shown.prediction
        int i = 0
        while (i < prediction.n && !(prediction.column[i] == column && prediction.row[i] == row)) {
            i++
        }
        if (i == prediction.n) {
            return null
        }
        String name = prediction.label[i] < 0 ? 'excluded' : prediction.classes[prediction.label[i]]
        prediction.given[i] ? "${name} (given)" : "${name} ${Math.round(100 * (double) prediction.probability[i])} %"
    }

    private static void paint(Graphics2D g, Picture shown, ImageRegion region) {
        // Only the cells that are seen: a picture scaled to the whole slide loses its precision.
        int c0 = Math.max(0, cellOf(region.x, shown)), c1 = Math.min(shown.cells.width, cellOf(region.x + region.width, shown) + 1)
        int r0 = Math.max(0, cellOf(region.y, shown)), r1 = Math.min(shown.cells.height, cellOf(region.y + region.height, shown) + 1)
        if (c1 > c0 && r1 > r0) {
            g.drawImage(shown.cells, edge(c0, shown), edge(r0, shown), edge(c1, shown), edge(r1, shown), c0, r0, c1, r1, null)
        }
    }

    private static void outline(Graphics2D g, Picture shown, ImageRegion region, double downsample) {
        g.stroke = new BasicStroke((float) (1.5 * downsample))
        Prediction prediction = shown.prediction
        int inset = (int) Math.ceil(downsample)
        int side = shown.stride_px0 - 2 * inset
        for (int i = 0; i < prediction.n; i++) {
            int label = prediction.label[i]
            int x = edge(prediction.column[i], shown), y = edge(prediction.row[i], shown)
            boolean isSeen = x < region.x + region.width && x + shown.stride_px0 > region.x &&
                y < region.y + region.height && y + shown.stride_px0 > region.y
            if (isSeen && prediction.given[i] && label >= 0 && shown.rgb[label] >= 0) {
                g.color = new Color(shown.rgb[label])
                g.drawRect(x + inset, y + inset, side, side)
            }
        }
    }

    private static int edge(int cell, Picture shown) {
        shown.first_px0 + cell * shown.stride_px0
    }

    private static int cellOf(double position, Picture shown) {
        (int) Math.floor((position - shown.first_px0) / shown.stride_px0)
    }
}
