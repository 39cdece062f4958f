package qupath.lib.projects

import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServerBuilder

interface ProjectImageEntry<T> {
    String getImageName()
    Collection<URI> getURIs() throws IOException
    ImageServerBuilder.ServerBuilder<T> getServerBuilder()
    void saveImageData(ImageData<T> imageData) throws IOException
}
