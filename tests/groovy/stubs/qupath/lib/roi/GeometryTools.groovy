package qupath.lib.roi

import org.locationtech.jts.geom.Geometry
import org.locationtech.jts.geom.GeometryFactory
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.interfaces.ROI

class GeometryTools {
    static GeometryFactory getDefaultFactory() { throw new UnsupportedOperationException() }
    static ROI geometryToROI(Geometry geometry, ImagePlane plane) { throw new UnsupportedOperationException() }
}
