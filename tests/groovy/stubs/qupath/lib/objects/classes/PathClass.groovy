package qupath.lib.objects.classes

class PathClass {
    static PathClass fromCollection(Collection<String> names, Integer color) { throw new UnsupportedOperationException() }

    Integer getColor() { throw new UnsupportedOperationException() }
}
