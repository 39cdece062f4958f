package qupath.lib.regions

class RegionRequest {
    static RegionRequest createInstance(String path, double downsample, int x, int y, int width, int height) { throw new UnsupportedOperationException() }
}
