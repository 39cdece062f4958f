package qupath.lib.objects.hierarchy.events

class PathObjectHierarchyEvent {
    boolean isChanging() { throw new UnsupportedOperationException() }
}
