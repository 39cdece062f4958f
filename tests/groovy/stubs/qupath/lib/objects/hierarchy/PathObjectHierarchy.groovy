package qupath.lib.objects.hierarchy

import qupath.lib.objects.PathObject
import qupath.lib.objects.hierarchy.events.PathObjectSelectionModel

final class PathObjectHierarchy {
    PathObjectSelectionModel getSelectionModel() { throw new UnsupportedOperationException() }
    Collection<PathObject> getAllObjects(boolean includeRoot) { throw new UnsupportedOperationException() }
    boolean addObjects(Collection<? extends PathObject> pathObjects) { throw new UnsupportedOperationException() }
    void removeObjects(Collection<? extends PathObject> pathObjects, boolean keepChildren) {
        throw new UnsupportedOperationException()
    }
}
