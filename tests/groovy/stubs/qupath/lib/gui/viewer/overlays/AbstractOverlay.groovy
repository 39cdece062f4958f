package qupath.lib.gui.viewer.overlays

import qupath.lib.gui.viewer.OverlayOptions

abstract class AbstractOverlay implements PathOverlay {
    protected AbstractOverlay(OverlayOptions options) { throw new UnsupportedOperationException() }

    boolean isVisible() { throw new UnsupportedOperationException() }
}
