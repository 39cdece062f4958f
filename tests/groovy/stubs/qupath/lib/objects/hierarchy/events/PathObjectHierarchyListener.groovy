package qupath.lib.objects.hierarchy.events

interface PathObjectHierarchyListener extends EventListener {
    void hierarchyChanged(PathObjectHierarchyEvent event)
}
