package qupath.lib.common

class Version {
}
