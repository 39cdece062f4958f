package qupath.lib.roi.interfaces

interface ROI {
    double getBoundsX()
    double getBoundsY()
    double getBoundsWidth()
    double getBoundsHeight()
}
