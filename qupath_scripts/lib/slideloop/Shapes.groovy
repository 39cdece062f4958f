package slideloop

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Coordinate
import org.locationtech.jts.geom.Geometry
import org.locationtech.jts.geom.GeometryFactory
import org.locationtech.jts.geom.LinearRing
import org.locationtech.jts.geom.MultiPolygon
import org.locationtech.jts.geom.Polygon
import org.locationtech.jts.geom.util.GeometryFixer
import org.locationtech.jts.geom.util.PolygonExtracter

/** Areas as GeoJSON writes them and as geometries, both in level-0 pixels. Pure. */
@CompileStatic
final class Shapes {

    private static final GeometryFactory FACTORY = new GeometryFactory()

    private Shapes() {
    }

    /**
     * Reads the geometry of a GeoJSON object.
     *
     * @param geometry a Polygon or MultiPolygon as Json.read gives it
     * @throws IllegalArgumentException for anything else
     */
    static Geometry read(Map<?, ?> geometry) {
        List coordinates = (List) geometry['coordinates']
        switch (geometry['type']) {
            case 'Polygon':
                return polygon(coordinates)
            case 'MultiPolygon':
                return FACTORY.createMultiPolygon(coordinates.collect { Object it -> polygon((List) it) } as Polygon[])
            default:
                throw new IllegalArgumentException("There is no area in a ${geometry['type']}.")
        }
    }

    /**
     * Returns an area as GeoJSON of `type` and `coordinates` alone, two numbers a vertex.
     *
     * @param area polygons; parts that are lines or points are left out
     * @return null if nothing is left
     */
    static Map<String, Object> write(Geometry area) {
        List<List> polygons = PolygonExtracter.getPolygons(area).findAll { Object it -> !((Polygon) it).isEmpty() }
            .collect { Object it -> rings((Polygon) it) }
        if (!polygons) {
            return null
        }
        Object coordinates = polygons.size() == 1 ? polygons[0] : polygons
        [type: polygons.size() == 1 ? 'Polygon' : 'MultiPolygon', coordinates: coordinates] as Map<String, Object>
    }

    /**
     * Returns the area with crossings resolved, as the server does it before it looks what is covered.
     *
     * In normal form: QuPath 0.5 resolves the same crossing in one order of vertices or in another, and
     * what was sent must be known again.
     */
    static Geometry valid(Geometry area) {
        (area.isValid() ? area : GeometryFixer.fix(area)).norm()
    }

    private static Polygon polygon(List<?> rings) {
        List<LinearRing> all = rings.collect { Object it -> ring((List) it) }
        FACTORY.createPolygon(all[0], all.drop(1) as LinearRing[])
    }

    private static LinearRing ring(List<?> positions) {
        FACTORY.createLinearRing(positions.collect { Object it ->
            List<Number> position = (List<Number>) it
            new Coordinate(position[0].doubleValue(), position[1].doubleValue())
        } as Coordinate[])
    }

    private static List<List> rings(Polygon polygon) {
        List<LinearRing> all = [polygon.exteriorRing]
        for (int i = 0; i < polygon.numInteriorRing; i++) {
            all << polygon.getInteriorRingN(i)
        }
        all.collect { LinearRing ring -> ring.coordinates.collect { Coordinate it -> [it.x, it.y] } } as List<List>
    }
}
