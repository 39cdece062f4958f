package qupath.lib.images

import qupath.lib.images.servers.ImageServer
import qupath.lib.objects.hierarchy.PathObjectHierarchy

class ImageData<T> {
    static class ImageType {
        String name() { throw new UnsupportedOperationException() }
    }

    ImageType getImageType() { throw new UnsupportedOperationException() }
    ImageServer<T> getServer() { throw new UnsupportedOperationException() }
    PathObjectHierarchy getHierarchy() { throw new UnsupportedOperationException() }
    boolean isChanged() { throw new UnsupportedOperationException() }
    void setChanged(boolean isChanged) { throw new UnsupportedOperationException() }
    String getLastSavedPath() { throw new UnsupportedOperationException() }
}
