package qupath.lib.objects

import qupath.lib.roi.interfaces.ROI

class PathObjects {
    static PathObject createAnnotationObject(ROI roi) { throw new UnsupportedOperationException() }
}
