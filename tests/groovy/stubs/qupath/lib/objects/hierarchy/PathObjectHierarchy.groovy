package qupath.lib.objects.hierarchy

import qupath.lib.objects.PathObject
import qupath.lib.objects.hierarchy.events.PathObjectHierarchyListener
import qupath.lib.objects.hierarchy.events.PathObjectSelectionModel

class PathObjectHierarchy {
    Collection<PathObject> getAnnotationObjects() { throw new UnsupportedOperationException() }
    void fireObjectsChangedEvent(Object source, Collection<? extends PathObject> pathObjects) {
        throw new UnsupportedOperationException()
    }
    boolean addObjects(Collection<? extends PathObject> pathObjects) { throw new UnsupportedOperationException() }
    void removeObjects(Collection<? extends PathObject> pathObjects, boolean keepChildren) { throw new UnsupportedOperationException() }
    PathObjectSelectionModel getSelectionModel() { throw new UnsupportedOperationException() }
    void fireObjectClassificationsChangedEvent(Object source, Collection<? extends PathObject> pathObjects) { throw new UnsupportedOperationException() }
    void addListener(PathObjectHierarchyListener listener) { throw new UnsupportedOperationException() }
    void removeListener(PathObjectHierarchyListener listener) { throw new UnsupportedOperationException() }
    Collection<PathObject> getAllObjects(boolean includeRoot) { throw new UnsupportedOperationException() }
}
