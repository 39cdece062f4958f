package qupath.lib.projects

import qupath.lib.images.ImageData

interface Project<T> {
    List<ProjectImageEntry<T>> getImageList()
    ProjectImageEntry<T> getEntry(ImageData<T> imageData)
    void syncChanges() throws IOException
}
