package qupath.lib.gui

import java.nio.file.Path

class UserDirectoryManager {
    static UserDirectoryManager getInstance() { throw new UnsupportedOperationException() }

    Path getUserPath() { throw new UnsupportedOperationException() }
}
