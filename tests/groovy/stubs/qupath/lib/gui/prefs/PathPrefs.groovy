package qupath.lib.gui.prefs

import javafx.beans.property.BooleanProperty
import javafx.beans.property.IntegerProperty
import javafx.beans.property.StringProperty

class PathPrefs {
    static IntegerProperty maxUndoHierarchySizeProperty() { throw new UnsupportedOperationException() }
    static BooleanProperty createPersistentPreference(String name, boolean defaultValue) { throw new UnsupportedOperationException() }
    static StringProperty createPersistentPreference(String name, String defaultValue) { throw new UnsupportedOperationException() }
}
