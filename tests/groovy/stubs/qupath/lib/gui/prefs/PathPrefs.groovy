package qupath.lib.gui.prefs

import javafx.beans.property.IntegerProperty

class PathPrefs {
    static IntegerProperty maxUndoHierarchySizeProperty() { throw new UnsupportedOperationException() }
}
