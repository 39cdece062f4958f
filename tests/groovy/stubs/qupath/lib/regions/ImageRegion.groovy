package qupath.lib.regions

class ImageRegion {
    int getX() { throw new UnsupportedOperationException() }
    int getY() { throw new UnsupportedOperationException() }
    int getWidth() { throw new UnsupportedOperationException() }
    int getHeight() { throw new UnsupportedOperationException() }
}
