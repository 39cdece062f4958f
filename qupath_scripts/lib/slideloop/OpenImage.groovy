package slideloop

import groovy.transform.CompileStatic
import qupath.lib.gui.QuPathGUI
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServer
import qupath.lib.objects.PathObject
import qupath.lib.projects.Project
import qupath.lib.projects.ProjectImageEntry
import qupath.lib.roi.interfaces.ROI

import java.awt.image.BufferedImage

/**
 * The image on display and what is selected in it, as it was at one moment: made in the UI thread,
 * then to be used by any. Threads of their own never ask QuPath which image is open.
 */
@CompileStatic
final class OpenImage {

    final ImageServer<BufferedImage> server
    final String name
    /** um/px; null if not known. */
    final Double mpp
    /** Whether it belongs to a project, whose other images may be searched too. */
    final boolean isInProject
    /** Bounds {x, y, width, height} of the selected object in level-0 pixels, within the image; null if there is none. */
    final Map<String, Double> rectangle
    /** Class of the selected object, or null. */
    final String className
    /** Why it cannot be used; null if it can. */
    final String refusal
    /** Why the selection cannot be a query; null if it can. */
    final String selectionRefusal

    private OpenImage(QuPathGUI gui, ImageData<BufferedImage> imageData) {
        server = imageData.server
        refusal = ImageFacts.refusal(server)
        mpp = ImageFacts.mpp(server)
        Project<BufferedImage> project = gui.project
        ProjectImageEntry<BufferedImage> entry = project?.getEntry(imageData)
        isInProject = entry != null
        name = entry != null ? entry.imageName : server.metadata.name
        PathObject selected = imageData.hierarchy.selectionModel.selectedObject
        className = selected?.pathClass?.toString()
        rectangle = selected == null ? null : within(selected.ROI)
        selectionRefusal = Temporary.isTemporary(selected) ?
            'The selected rectangle is a patch of the open round. Draw one of your own, and select it.' :
            rectangle == null ? 'Draw a rectangle on tissue that shows what you are looking for, leave it selected, and try again.' : null
    }

    /** What is open now, null for nothing. UI thread. */
    static OpenImage of(QuPathGUI gui) {
        ImageData<BufferedImage> imageData = gui.imageData
        imageData == null ? null : new OpenImage(gui, imageData)
    }

    /** The rectangle in words. */
    String describe() {
        String size = "${Math.round((double) rectangle['width'])} x ${Math.round((double) rectangle['height'])} px"
        if (mpp != null) {
            size += " (${Math.round((double) (rectangle['width'] * mpp))} x ${Math.round((double) (rectangle['height'] * mpp))} µm)"
        }
        "Rectangle of ${size} in ${name}".toString()
    }

    private Map<String, Double> within(ROI roi) {
        if (roi == null) {
            return null
        }
        double left = Math.max(0d, roi.boundsX), top = Math.max(0d, roi.boundsY)
        double right = Math.min((double) server.width, roi.boundsX + roi.boundsWidth)
        double bottom = Math.min((double) server.height, roi.boundsY + roi.boundsHeight)
        right - left < 1 || bottom - top < 1 ? null : [x: left, y: top, width: right - left, height: bottom - top]
    }
}
