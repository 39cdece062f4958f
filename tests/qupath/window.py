"""A running QuPath, read by the titles of its windows."""

from __future__ import annotations

from typing import Any

from tests.qupath.opened import Opened

IMPORTS = """
import java.awt.image.BufferedImage
import javafx.scene.*
import javafx.scene.control.*
import javafx.stage.*
import qupath.lib.images.servers.ImageServerProvider
import qupath.lib.objects.*
import qupath.lib.objects.classes.PathClass
import qupath.lib.projects.Projects
import qupath.lib.regions.*
import qupath.lib.roi.*
"""
DRAW = """
import qupath.lib.objects.PathObjects
import qupath.lib.objects.classes.PathClass
import qupath.lib.regions.ImagePlane
import qupath.lib.roi.ROIs
def (x, y, width, height) = given.rectangle
def roi = ROIs.createRectangleROI(x, y, width, height, ImagePlane.getDefaultPlane())
def drawn = PathObjects.createAnnotationObject(roi, PathClass.fromString('Tumor'))
gui.imageData.hierarchy.addObject(drawn)
gui.imageData.hierarchy.selectionModel.setSelectedObject(drawn)
1
"""
"""An annotation of the class Tumor over `given.rectangle`, selected."""

PROJECT = """
def project = Projects.createProject(new File(given.folder), BufferedImage)
given.images.each {
    def uri = new File(it).toURI().toString()
    def support = ImageServerProvider.getPreferredUriImageSupport(BufferedImage, uri)
    project.addImage(support.builders[0]).imageName = new File(it).name
}
project.syncChanges()
gui.project = project
1
"""
"""A project in `given.folder` with the files `given.images`, opened."""

LISTED = """
import qupath.lib.objects.classes.PathClass
given.classes.each { gui.availablePathClasses.add(PathClass.fromString(it)) }
1
"""
"""The study's classes in QuPath's list, as those of a project that its query was drawn in."""

FIND = "Window.windows.find { it instanceof Stage && it.title?.contains('TITLE') }"
TEXTS = f"""
{IMPORTS}
def texts = [], walk = null
walk = {{ node ->
    if (!node.visible) return
    if (node instanceof Labeled && node.text) texts << node.text
    if (node instanceof Parent) node.childrenUnmodifiable.each(walk)
}}
{FIND}?.with {{ walk(it.scene.root) }}
texts.unique()
"""


class Window:
    """A running QuPath, read by the titles of its windows."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    def __call__(self, code: str, **given: Any) -> Any:
        """Evaluate Groovy in the thread of the window; return its value."""
        return self._opened.do(f"{IMPORTS}{code}", **given)

    def wait(self, code: str) -> Any:
        """Evaluate Groovy until its value is true; return it."""
        return self._opened.wait(f"{IMPORTS}{code}")

    def reads(self, title: str, words: str) -> str:
        """Wait until something with these words can be read there; return all of it, each once."""
        texts = TEXTS.replace("TITLE", title)
        found = self._opened.until(texts, lambda all: words in _plain(all))
        return _plain(found)

    def press(self, title: str, key: str) -> None:
        """Press a real key when the window has the focus."""
        self.wait(FIND.replace("TITLE", title) + "?.focused")
        self._opened.press(key)

    def gone(self, title: str) -> None:
        """Wait until there is no such window."""
        self.wait(FIND.replace("TITLE", title) + " == null")

    def open(self, name: str) -> None:
        """Open an image of the project; changes of the one before are not asked about."""
        entry = f"gui.project.imageList.find {{ it.imageName == '{name}.tif' }}"
        self(f"gui.imageData?.changed = false; gui.openImageEntry({entry}); 1")


def _plain(texts: list[str]) -> str:
    return "\n".join(texts).replace("\u00a0", " ").replace("\u202f", " ")
