package qupath.lib.regions

class ImagePlane {
    static ImagePlane getDefaultPlane() { throw new UnsupportedOperationException() }
}
