package qupath.lib.projects

import qupath.lib.images.ImageData

import java.nio.file.Path

interface Project<T> {
    List<ProjectImageEntry<T>> getImageList()
    Path getPath()
    ProjectImageEntry<T> getEntry(ImageData<T> imageData)
    void syncChanges() throws IOException
}
