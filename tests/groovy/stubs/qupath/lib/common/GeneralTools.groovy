package qupath.lib.common

class GeneralTools {
    static String getVersion() { throw new UnsupportedOperationException() }
}
