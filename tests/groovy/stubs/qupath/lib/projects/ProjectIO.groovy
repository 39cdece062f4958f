package qupath.lib.projects

class ProjectIO {
    static <T> Project<T> loadProject(File file, Class<T> cls) throws IOException { throw new UnsupportedOperationException() }
}
