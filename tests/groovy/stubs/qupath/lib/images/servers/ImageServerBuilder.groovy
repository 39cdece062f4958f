package qupath.lib.images.servers

interface ImageServerBuilder<T> {

    interface ServerBuilder<T> {
        ImageServer<T> build() throws Exception
    }
}
