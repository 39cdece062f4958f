package qupath.lib.projects

import qupath.lib.images.ImageData

interface ProjectImageEntry<T> {
    void saveImageData(ImageData<T> imageData) throws IOException
}
