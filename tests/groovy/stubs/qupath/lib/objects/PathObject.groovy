package qupath.lib.objects

import qupath.lib.measurements.MeasurementList
import qupath.lib.objects.classes.PathClass
import qupath.lib.roi.interfaces.ROI

abstract class PathObject {
    UUID getID() { throw new UnsupportedOperationException() }
    void setID(UUID id) { throw new UnsupportedOperationException() }
    String getName() { throw new UnsupportedOperationException() }
    void setName(String name) { throw new UnsupportedOperationException() }
    void setLocked(boolean locked) { throw new UnsupportedOperationException() }
    boolean isAnnotation() { throw new UnsupportedOperationException() }
    boolean hasROI() { throw new UnsupportedOperationException() }
    abstract ROI getROI()
    abstract PathClass getPathClass()
    MeasurementList getMeasurementList() { throw new UnsupportedOperationException() }
}
