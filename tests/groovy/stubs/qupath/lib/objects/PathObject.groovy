package qupath.lib.objects

import qupath.lib.measurements.MeasurementList
import qupath.lib.objects.classes.PathClass
import qupath.lib.roi.interfaces.ROI

abstract class PathObject {
    boolean isAnnotation() { throw new UnsupportedOperationException() }
    abstract ROI getROI()
    abstract PathClass getPathClass()
    void setPathClass(PathClass pathClass) { throw new UnsupportedOperationException() }
    String getName() { throw new UnsupportedOperationException() }
    void setName(String name) { throw new UnsupportedOperationException() }
    Integer getColor() { throw new UnsupportedOperationException() }
    void setColor(Integer color) { throw new UnsupportedOperationException() }
    void setLocked(boolean locked) { throw new UnsupportedOperationException() }
    void setID(UUID id) throws IllegalArgumentException { throw new UnsupportedOperationException() }
    Map<String, String> getMetadata() { throw new UnsupportedOperationException() }
    UUID getID() { throw new UnsupportedOperationException() }
    boolean hasROI() { throw new UnsupportedOperationException() }
    MeasurementList getMeasurementList() { throw new UnsupportedOperationException() }
}
