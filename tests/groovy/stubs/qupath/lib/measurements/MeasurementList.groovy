package qupath.lib.measurements

interface MeasurementList {
    void put(String name, double value)
}
