package qupath.lib.objects

import qupath.lib.objects.classes.PathClass
import qupath.lib.roi.interfaces.ROI

class PathObjects {
    static PathObject createAnnotationObject(ROI roi) { throw new UnsupportedOperationException() }
    static PathObject createAnnotationObject(ROI roi, PathClass pathClass) { throw new UnsupportedOperationException() }
    static PathObject createDetectionObject(ROI roi, PathClass pathClass) { throw new UnsupportedOperationException() }
    static PathObject createTileObject(ROI roi, PathClass pathClass) { throw new UnsupportedOperationException() }
}
