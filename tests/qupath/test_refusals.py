"""What cannot be done is said in QuPath's window; scripts run without the menu."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tests.groovy.conftest import Site
from tests.qupath.installed import LIB, QuPath
from tests.qupath.opened import Desk, Opened
from tests.qupath.window import DRAW, Window

SCRIPTS = LIB.parent
PROJECT = """
import qupath.lib.images.servers.RotatedImageServer
def project = Projects.createProject(new File(given.folder), BufferedImage)
def builder = { file ->
    def uri = new File(file).toURI().toString()
    ImageServerProvider.getPreferredUriImageSupport(BufferedImage, uri).builders[0]
}
given.files.each { project.addImage(builder(it)).imageName = new File(it).name }
def quarter = RotatedImageServer.Rotation.ROTATE_90
def turned = new RotatedImageServer(builder(given.slide).build(), quarter)
project.addImage(turned.builder).imageName = 'rotated.tif'
project.syncChanges()
gui.project = project
1
"""
QUERY = "slideloop: Query with rectangle"
REFUSED = {
    "grey": "This image is not 8-bit RGB (brightfield), which is what slideloop works on.",
    "channels": "This image is not 8-bit RGB (brightfield), which is what slideloop works on.",
    "planes": "This image has several z-slices or time points, and slideloop works on one plane.",
    "rotated": "Add the file to the project again, without rotation, flip or crop.",
}
"""By the image's name: what is said."""

NOTHING_OPEN = {
    "new_study": ("New study", "No image is open."),
    "query": ("Query with rectangle", "No image is open."),
    "open_study": ("open study", "Größe 检查"),
    "review": ("open study", "Größe 检查"),
    "undo": ("Undo", "No study is open, so there is nothing to take back."),
    "send_labels": ("Send labels", "No round is open"),
    "show_prediction": ("Show prediction", "No image is open."),
    "import_mask": ("Import mask", "No image is open."),
    "send_corrections": ("Send corrections", "No image is open."),
    "open_report": ("Open report", "No study is open."),
}
"""By the script: title of what is said, and how it begins."""


@pytest.fixture(scope="module")
def window(
    qupath: QuPath,
    desk: Desk,
    indexed_site: Site,
    small_slides: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Window]:
    """A QuPath with a project of images that are refused."""
    indexed_site.served.start()
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)

    def write(name: str, *shape: int, dtype: Any = np.uint8, **how: Any) -> str:
        path = home / f"{name}.tif"
        tifffile.imwrite(path, rng.integers(0, 255, shape, dtype), **how)
        return str(path)

    files = [
        write("grey", 128, 128, dtype=np.uint16),
        write("channels", 4, 128, 128, imagej=True, metadata={"axes": "CYX"}),
        write("planes", 3, 128, 128, imagej=True, metadata={"axes": "ZYX"}),
    ]
    (home / "project").mkdir()
    indexed_site.study(query=False)
    opened = Opened(qupath, desk, home, indexed_site.served.url)
    window = Window(opened)
    slide = str(small_slides / "small.tif")
    window(PROJECT, folder=str(home / "project"), files=files, slide=slide)
    yield window
    opened.kill()


@pytest.mark.parametrize("name", REFUSED)
def test_an_image_that_cannot_be_used_is_refused_and_nothing_is_sent(
    window: Window, indexed_site: Site, name: str
) -> None:
    before = indexed_site.served.api("GET", "/slides")
    window.open(name)
    window(DRAW, rectangle=(10, 10, 60, 50))
    window("gui.stage.with { it.toFront(); it.requestFocus() }; 1")
    window.press("QuPath - ", "shift+q")
    window.reads(QUERY, REFUSED[name])
    window.press(QUERY, "Return")
    window.gone(QUERY)
    assert indexed_site.served.api("GET", "/slides") == before


@pytest.mark.parametrize("script", NOTHING_OPEN)
def test_a_script_runs_alone_and_says_what_to_do(window: Window, script: str) -> None:
    title, words = NOTHING_OPEN[script]
    window("gui.imageData?.changed = false; gui.viewer.resetImageData(); 1")
    # As in a QuPath whose start-up script is another.
    window("gui.stage.properties.remove('slideloop')?.dispose(); 1")
    window(
        "gui.runScript(new File(given.script), null); 1", script=str(SCRIPTS / f"{script}.groovy")
    )
    window.reads(f"slideloop: {title}", words)
    window.press(f"slideloop: {title}", "Escape")
    window.gone(f"slideloop: {title}")


def test_a_script_runs_from_the_editor(window: Window) -> None:
    window("gui.stage.properties.remove('slideloop')?.dispose(); 1")
    script = str(SCRIPTS / "connect.groovy")
    window("gui.scriptEditor.showScript(new File(given.script)); 1", script=script)
    window.press("Script Editor", "ctrl+r")
    window.reads("slideloop: connect", "answers.")
