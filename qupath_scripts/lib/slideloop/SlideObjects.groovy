package slideloop

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Coordinate
import org.locationtech.jts.geom.Geometry
import org.locationtech.jts.geom.Polygon
import qupath.lib.geom.Point2
import qupath.lib.objects.PathObject
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.GeometryTools
import qupath.lib.roi.ROIs
import qupath.lib.roi.interfaces.ROI

/** Between QuPath's objects and ours; level-0 pixels on both sides. From any thread. */
@CompileStatic
final class SlideObjects {

    private SlideObjects() {
    }

    /**
     * Returns what is to be known of an object to tell whether an import made it.
     *
     * @param classes of the study
     * @param names what they are called in QuPath
     */
    static ImportPlan.Held held(PathObject object, List<String> classes, StudyNames names) {
        List<Point2> points = object.hasROI() ? object.ROI.allPoints : (List<Point2>) []
        double[] x = new double[points.size()], y = new double[points.size()]
        points.eachWithIndex { Point2 it, int i ->
            x[i] = it.x
            y[i] = it.y
        }
        new ImportPlan.Held(object, object.getID(), object.name, classOf(object, classes, names), x, y)
    }

    /** Returns an object's class as the study writes it; null for none, or one that the study does not have. */
    static String classOf(PathObject object, List<String> classes, StudyNames names) {
        ObjectId.classOf(classes, names.inStudy(object.pathClass?.toString()))
    }

    /** Returns the area of an object, valid; null if it has none (a line, points). */
    static Geometry areaOf(PathObject object) {
        object.hasROI() && object.ROI.isArea() && !object.ROI.isEmpty() ? Shapes.valid(object.ROI.geometry) : null
    }

    /** Makes one object of a mask; annotations are locked, so that no drag of the mouse moves them. */
    static PathObject of(MaskFeature feature, StudyNames names) {
        PathClass pathClass = PathClass.fromCollection(ObjectId.nameParts(names.inQuPath(feature.className)), feature.rgb)
        ROI roi = roiOf(feature.outline)
        PathObject made
        switch (feature.type) {
            case 'tile':
                made = PathObjects.createTileObject(roi, pathClass)
                break
            case 'annotation':
                made = PathObjects.createAnnotationObject(roi, pathClass)
                made.locked = true
                break
            default:
                made = PathObjects.createDetectionObject(roi, pathClass)
        }
        made.setID(feature.id)
        made.name = ObjectId.marker(feature.studyId)
        if (!Double.isNaN(feature.probability)) {
            made.measurementList.put(MaskFeature.PROBABILITY, feature.probability)
        }
        made
    }

    private static ROI roiOf(Geometry outline) {
        ImagePlane plane = ImagePlane.defaultPlane
        Coordinate[] corners = outline.coordinates
        if (outline.isRectangle()) {
            double x = corners*.x.min(), y = corners*.y.min()
            return ROIs.createRectangleROI(x, y, corners*.x.max() - x, corners*.y.max() - y, plane)
        }
        if (outline instanceof Polygon && ((Polygon) outline).numInteriorRing == 0) {
            // Without holes it can be edited by its vertices. The last one repeats the first.
            Coordinate[] open = Arrays.copyOf(corners, corners.length - 1)
            return ROIs.createPolygonROI(open*.x as double[], open*.y as double[], plane)
        }
        // QuPath warns of geometries of another precision than its own.
        GeometryTools.geometryToROI(GeometryTools.defaultFactory.createGeometry(outline), plane)
    }
}
