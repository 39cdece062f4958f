package qupath.lib.roi

import qupath.lib.regions.ImagePlane
import qupath.lib.roi.interfaces.ROI

class ROIs {
    static ROI createRectangleROI(double x, double y, double width, double height, ImagePlane plane) { throw new UnsupportedOperationException() }
    static ROI createPolygonROI(double[] x, double[] y, ImagePlane plane) { throw new UnsupportedOperationException() }
}
