package qupath.lib.roi.interfaces

import org.locationtech.jts.geom.Geometry
import qupath.lib.geom.Point2

interface ROI {
    double getBoundsX()
    double getBoundsY()
    double getBoundsWidth()
    double getBoundsHeight()
    boolean isArea()
    boolean isEmpty()
    List<Point2> getAllPoints()
    Geometry getGeometry()
}
