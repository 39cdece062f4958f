package qupath.lib.geom

class Point2 {
    double getX() { throw new UnsupportedOperationException() }
    double getY() { throw new UnsupportedOperationException() }
}
