package qupath.lib.objects.hierarchy.events

import qupath.lib.objects.PathObject

class PathObjectSelectionModel {
    void deselectObjects(Collection<? extends PathObject> pathObjects) { throw new UnsupportedOperationException() }
}
