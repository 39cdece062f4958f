package qupath.lib.images.servers

class PixelCalibration {
    boolean hasPixelSizeMicrons() { throw new UnsupportedOperationException() }
    double getAveragedPixelSizeMicrons() { throw new UnsupportedOperationException() }
    double getPixelWidthMicrons() { throw new UnsupportedOperationException() }
    double getPixelHeightMicrons() { throw new UnsupportedOperationException() }
}
