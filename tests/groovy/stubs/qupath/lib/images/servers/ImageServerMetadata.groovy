package qupath.lib.images.servers

class ImageServerMetadata {
    String getName() { throw new UnsupportedOperationException() }
}
