package qupath.lib.gui.viewer

class OverlayOptions {
}
