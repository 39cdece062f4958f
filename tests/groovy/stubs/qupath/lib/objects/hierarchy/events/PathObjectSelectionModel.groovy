package qupath.lib.objects.hierarchy.events

import qupath.lib.objects.PathObject

class PathObjectSelectionModel {
    PathObject getSelectedObject() { throw new UnsupportedOperationException() }
    void deselectObjects(Collection<? extends PathObject> pathObjects) { throw new UnsupportedOperationException() }
}
