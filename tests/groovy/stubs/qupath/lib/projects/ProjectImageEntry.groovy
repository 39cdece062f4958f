package qupath.lib.projects

import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServerBuilder

import java.nio.file.Path

interface ProjectImageEntry<T> {
    String getID()
    String getImageName()
    Path getEntryPath()
    Collection<URI> getURIs() throws IOException
    ImageServerBuilder.ServerBuilder<T> getServerBuilder()
    ImageData<T> readImageData() throws IOException
    void saveImageData(ImageData<T> imageData) throws IOException
}
