package qupath.lib.images.servers

interface ImageServer<T> {
    String getPath()
    PixelCalibration getPixelCalibration()
}
