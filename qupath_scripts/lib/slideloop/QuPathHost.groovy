package slideloop

import groovy.transform.CompileStatic
import qupath.lib.gui.viewer.QuPathViewer
import qupath.lib.images.servers.ImageServer
import qupath.lib.objects.classes.PathClass
import qupath.lib.regions.RegionRequest

import java.awt.Color
import java.awt.Graphics2D
import java.awt.RenderingHints
import java.awt.image.BufferedImage
import java.util.function.Supplier

/** What the review window needs of QuPath. */
@CompileStatic
final class QuPathHost implements Host {

    private final SlideImages images
    private final Supplier<StudyNames> names

    /** @param names of the classes of the open study */
    QuPathHost(SlideImages images, Supplier<StudyNames> names) {
        this.images = images
        this.names = names
    }

    /** Centre the viewer on a patch and leave its zoom as it is. UI thread. */
    @Override
    boolean centre(Map patch) {
        QuPathViewer viewer = images.viewer(patch['slide'] as String)
        if (viewer == null) {
            return false
        }
        viewer.setCenterPixelLocation(middle(patch, 'x', 'width'), middle(patch, 'y', 'height'))
        true
    }

    /** As Host says: read from the slide's own image, whichever the viewer shows. Background threads. */
    @Override
    BufferedImage picture(Map patch, double context, int px) {
        ImageServer<BufferedImage> server = images.reader(patch['slide'] as String)
        if (server == null) {
            return null
        }
        double side = context * Math.max(number(patch, 'width'), number(patch, 'height'))
        double left = middle(patch, 'x', 'width') - side / 2, top = middle(patch, 'y', 'height') - side / 2
        int x0 = Math.max(0, (int) Math.floor(left)), y0 = Math.max(0, (int) Math.floor(top))
        int x1 = Math.min(server.width, (int) Math.ceil(left + side)), y1 = Math.min(server.height, (int) Math.ceil(top + side))
        BufferedImage picture = new BufferedImage(px, px, BufferedImage.TYPE_INT_RGB)
        Graphics2D graphics = picture.createGraphics()
        graphics.color = Color.WHITE
        graphics.fillRect(0, 0, px, px)
        if (x1 > x0 && y1 > y0) {
            double downsample = Math.max(1d, (double) (side / px))
            BufferedImage pixels = server.readRegion(
                RegionRequest.createInstance(server.path, downsample, x0, y0, x1 - x0, y1 - y0))
            double scale = px / side
            graphics.setRenderingHint(RenderingHints.KEY_INTERPOLATION, RenderingHints.VALUE_INTERPOLATION_BICUBIC)
            graphics.translate((x0 - left) * scale, (y0 - top) * scale)
            graphics.scale((x1 - x0) * scale / pixels.width, (y1 - y0) * scale / pixels.height)
            graphics.drawImage(pixels, 0, 0, null)
        }
        graphics.dispose()
        picture
    }

    /** As Host says. UI thread. */
    @Override
    String otherImage(String slideId) {
        images.viewer(slideId) == null ? images.name(slideId) : null
    }

    /** Colour that QuPath gives a class. UI thread. */
    @Override
    int colour(String className) {
        Integer colour = PathClass.fromString(names.get().inQuPath(className)).color
        colour == null ? 0x808080 : colour & 0xffffff
    }

    private static double middle(Map patch, String start, String length) {
        number(patch, start) + number(patch, length) / 2
    }

    private static double number(Map patch, String key) {
        ((Number) patch[key]).doubleValue()
    }
}
