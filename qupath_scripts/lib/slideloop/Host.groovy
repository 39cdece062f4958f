package slideloop

import java.awt.image.BufferedImage

/**
 * What the review window needs of the program around it: pictures, names, colours, a viewer to move.
 *
 * A `patch` is a map as the server sends it: `id, slide, x, y, width, height, ...` in level-0 pixels.
 */
interface Host {

    /**
     * Centre the viewer that shows the patch's slide. UI thread.
     *
     * @return false if no viewer shows that slide
     */
    boolean centre(Map patch)

    /**
     * Read a square field of view around the middle of a patch. Background threads, several at once.
     *
     * @param context side of the field in sides of the patch, at least 1
     * @param px side of the picture in pixels, to which the field is scaled; a small patch is
     *     enlarged by it: smoothly, since people look at it
     * @return the picture, white where there is no slide; null when the image cannot be read
     */
    BufferedImage picture(Map patch, double context, int px)

    /** Name of the image that has this slide, null when it is the one on display. UI thread. */
    String otherImage(String slideId)

    /** Colour of a class, as 0xRRGGBB. UI thread. */
    int colour(String className)
}
