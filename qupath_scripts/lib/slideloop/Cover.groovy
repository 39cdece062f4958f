package slideloop

import groovy.transform.CompileStatic
import org.locationtech.jts.geom.Coordinate
import org.locationtech.jts.geom.Envelope
import org.locationtech.jts.geom.Geometry
import org.locationtech.jts.geom.GeometryFactory
import org.locationtech.jts.geom.prep.PreparedGeometry
import org.locationtech.jts.geom.prep.PreparedGeometryFactory

/** Which patches of a slide an area covers to at least half, as the server counts them. Pure. */
@CompileStatic
final class Cover {

    private static final double LEAST_SHARE = 0.5
    private static final GeometryFactory FACTORY = new GeometryFactory()

    private final int side, step
    private final int[] column, row
    /** Whether background is among the patches, since nobody knows yet where it is: then a count is the most it can be. */
    final boolean isUpperBound

    /** The patches that a prediction has: those on tissue. */
    Cover(Prediction prediction) {
        side = prediction.patch_px0
        step = prediction.stride_px0
        column = prediction.column
        row = prediction.row
        isUpperBound = false
    }

    /**
     * All squares of a slide's grid, for want of a prediction.
     *
     * @param slide as the server gives it
     */
    Cover(Map<?, ?> slide) {
        Map grid = (Map) slide['grid']
        side = ((Number) grid['patch_px0']).intValue()
        step = ((Number) grid['stride_px0']).intValue()
        int nColumns = (((Number) slide['width']).intValue() - side).intdiv(step) + 1
        int nRows = (((Number) slide['height']).intValue() - side).intdiv(step) + 1
        column = new int[nColumns * nRows]
        row = new int[nColumns * nRows]
        for (int i = 0; i < column.length; i++) {
            column[i] = i % nColumns
            row[i] = i.intdiv(nColumns)
        }
        isUpperBound = true
    }

    /** Returns the indices of the patches that a valid area (level-0 pixels) covers to at least half. */
    BitSet patches(Geometry area) {
        BitSet found = new BitSet(column.length)
        Envelope bounds = area.envelopeInternal
        PreparedGeometry prepared = PreparedGeometryFactory.prepare(area)
        for (int i = 0; i < column.length; i++) {
            double x = column[i] * (double) step, y = row[i] * (double) step
            if (x > bounds.maxX || x + side < bounds.minX || y > bounds.maxY || y + side < bounds.minY) {
                continue
            }
            Geometry square = squareAt(x, y)
            boolean isInside = prepared.containsProperly(square)
            if (isInside || prepared.intersects(square) && isHalf(area, square)) {
                found.set(i)
            }
        }
        found
    }

    private boolean isHalf(Geometry area, Geometry square) {
        area.intersection(square).area / (side * (double) side) >= LEAST_SHARE - 1e-9d
    }

    private Geometry squareAt(double x, double y) {
        FACTORY.createPolygon([new Coordinate(x, y), new Coordinate(x + side, y), new Coordinate(x + side, y + side),
                               new Coordinate(x, y + side), new Coordinate(x, y)] as Coordinate[])
    }
}
