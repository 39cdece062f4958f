package qupath.lib.images.servers

import qupath.lib.regions.RegionRequest

interface ImageServer<T> extends AutoCloseable {
    String getPath()
    Collection<URI> getURIs()
    String getServerType()
    int getWidth()
    int getHeight()
    boolean isRGB()
    int nZSlices()
    int nTimepoints()
    PixelCalibration getPixelCalibration()
    ImageServerMetadata getMetadata()
    ImageServerBuilder.ServerBuilder<T> getBuilder()
    T readRegion(RegionRequest request) throws IOException
}
