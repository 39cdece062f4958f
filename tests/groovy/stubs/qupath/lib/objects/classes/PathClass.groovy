package qupath.lib.objects.classes

class PathClass {
    public static final PathClass NULL_CLASS = null
    static PathClass fromString(String string) { throw new UnsupportedOperationException() }
    Integer getColor() { throw new UnsupportedOperationException() }
    static PathClass fromCollection(Collection<String> names, Integer color) { throw new UnsupportedOperationException() }
}
