"""From a QuPath that knows no server to masks in all images of a project, and the next day."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.integration.kill_nine import places
from tests.qupath.installed import QuPath
from tests.qupath.opened import Desk, Opened
from tests.qupath.window import DRAW, FIND, IMPORTS, PROJECT, Window

from slideloop.evaluation.generated import Scene, write_slide
from slideloop.qupath.script_files import START, install

SIDE = 96
NAMES = ("first", "second", "third", "gone")
SCENES = [Scene(seed, 1152, 960) for seed in range(4)]
VIEW = "app.connection.review.view()"
OBJECTS = """
gui.project.imageList.collectEntries {
    def all = it.readHierarchy().getAllObjects(false)
    [(it.imageName): [all.count { it.isDetection() }, all.count { it.isAnnotation() }]]
}
"""
"""Saved detections and annotations of each image."""

SECOND_VIEWER = """
gui.viewerManager.addColumn(gui.viewer)
gui.viewerManager.setActiveViewer(gui.allViewers.find { it.imageData == null })
gui.openImageEntry(gui.project.imageList.find { it.imageName == 'second.tif' })
def first = gui.allViewers.find { it.imageData?.server?.metadata?.name == 'first.tif' }
gui.viewerManager.setActiveViewer(first)
gui.allViewers.collect { it.imageData?.server?.metadata?.name }
"""
IN_SECOND = "gui.allViewers*.imageData.find { it?.server?.metadata?.name == 'second.tif' }"


CONNECT = "javafx.application.Platform.runLater { app.run('connect') }; 1"
"""It waits for its answer within the thread of the window."""


def _stage(title: str) -> str:
    return FIND.replace("TITLE", title)


@dataclass
class Place:
    """A user's computer: QuPath, slides, and no server."""

    opened: Opened
    window: Window
    slides: Path
    url: str

    def answers(self) -> bool:
        """Whether a server is there."""
        try:
            return self.ask("/health") == {"status": "ok"}
        except urllib.error.URLError:
            return False

    def fire(self, title: str, button: str) -> None:
        """Press a button of a window."""
        buttons = f"{_stage(title)}.scene.root.lookupAll('.button')"
        self.window(f"{buttons}.find {{ it.text == '{button}' }}.fire(); 1")

    def close(self, title: str) -> None:
        """Close a window."""
        self.window(f"{_stage(title)}.close(); 1")

    def ask(self, path: str) -> Any:
        """Return what the server says."""
        with urllib.request.urlopen(f"{self.url}/api/v1{path}", timeout=30) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def place(qupath: QuPath, desk: Desk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With a project of four images, the file of the last of which is gone."""
    home = tmp_path_factory.mktemp("home")
    slides = home / "slides of Zoë #1 (100%)"
    slides.mkdir()
    for name, scene in zip(NAMES, SCENES, strict=True):
        write_slide(scene, slides / f"{name}.tif", mpp=None if name == "third" else 0.5)
    (home / "project").mkdir()
    install(home / "scripts")
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    opened = Opened(
        qupath,
        desk,
        home,
        url,
        home / "scripts" / START,
        SLIDELOOP_WORKSPACE=str(home / "workspace"),
        SLIDELOOP_WEIGHTS="random",
        SLIDELOOP_ENCODER="squeezenet1_1",
        SLIDELOOP_PATCH=str(SIDE),
    )
    images = [str(slides / f"{name}.tif") for name in NAMES]
    opened.do(IMPORTS + PROJECT, folder=str(home / "project"), images=images)
    (slides / "gone.tif").unlink()
    yield Place(opened, Window(opened), slides, url)
    opened.kill()


def _label_all(window: Window) -> None:
    """Label the patches of the open round, turn and turn about."""
    window(
        f"def view = {VIEW}; view.patches.eachWithIndex {{ patch, i ->"
        "app.connection.review.select(patch.id);"
        "app.connection.review.label(view.classes[i % 2]) }; 1"
    )


def test_connect_starts_a_server_and_shows_what_it_says(place: Place) -> None:
    assert not place.answers()
    window = place.window
    window(CONNECT)
    said = window.reads("slideloop: connect", "Connect starts one on this computer")
    assert "Log of the server" in said
    place.opened.focus("slideloop: connect")
    window.press("slideloop: connect", "Return")
    window.wait("app.ownServer != null")
    assert place.answers()
    window(CONNECT)
    window.reads("slideloop: connect", f"The server at {place.url} answers.")
    place.fire("slideloop: connect", "Log of the server")
    log = window.wait(f"{_stage('log of the server')}?.scene?.root?.lookup('.text-area')?.text")
    assert f"Listening on {place.url}" in log
    place.close("log of the server")
    place.close("slideloop: connect")


def test_a_query_asks_once_for_the_folder_and_shows_its_patches(place: Place) -> None:
    window = place.window
    window.open("first")
    window(DRAW, rectangle=[*places(SCENES[0])["Tumor"][0]])
    place.opened.focus("QuPath")
    place.opened.press("shift+q")
    place.opened.focus("slideloop: query with rectangle")
    place.opened.press("Return")
    assert str(place.slides) in window.reads("Allow this folder?", "Allow")
    place.opened.focus("slideloop: Allow this folder?")
    place.opened.press("Return")
    window.wait(f"{VIEW}.state == 'labelling'")
    assert str(place.slides) in place.ask("/folders")["folders"]
    assert [slide["path"] for slide in place.ask("/slides")] == [str(place.slides / "first.tif")]
    _label_all(window)
    window.wait(f"{VIEW}.with {{ state == 'labelling' && round.round == 2 }}")


def test_an_image_is_added_to_the_study_and_once_only(place: Place) -> None:
    window = place.window
    window.open("third")
    window("app.run('add_image'); 1")
    # Patches of the study are so many um wide, and nothing says how large a pixel is here.
    place.opened.focus("slideloop: size of a pixel")
    place.opened.press("0", "period", "5", "Return")
    window.reads("Add this image", "is in the study")
    study = place.ask(f"/studies/{window('app.study.id')}")
    slides = {slide["id"]: slide for slide in place.ask("/slides")}
    assert [Path(slides[each]["path"]).name for each in study["slides"]] == [
        "first.tif",
        "third.tif",
    ]
    assert slides[study["slides"][1]]["mpp"] == 0.5
    place.close("Add this image")
    window("app.run('add_image'); 1")
    window.reads("Add this image", 'in the study "first.tif" already')
    place.close("Add this image")
    window.open("first")


def test_other_images_are_predicted_each_on_its_own(place: Place) -> None:
    window = place.window
    assert window(SECOND_VIEWER) == ["first.tif", "second.tif"]
    # What the user has drawn and not saved stays the user's.
    window(f"""
    def roi = ROIs.createRectangleROI(5, 5, 50, 50, ImagePlane.getDefaultPlane())
    {IN_SECOND}.hierarchy.addObject(PathObjects.createAnnotationObject(roi)); 1""")
    window("app.run('predict_images'); 1")
    window.reads("predict other images", "gone.tif")
    place.opened.focus("slideloop: predict other images")
    place.opened.press("Return")
    said = window.reads("predict other images", "2 of 3 images done.")
    lines = {line.split(":")[0].split()[-1]: line for line in said.splitlines() if ".tif:" in line}
    assert "added" in lines["second.tif"] and "added" in lines["third.tif"]
    assert lines["gone.tif"].startswith("!")
    assert "cannot open this image" in lines["gone.tif"]
    saved = window(OBJECTS)
    assert saved["second.tif"][0] > 0 and saved["second.tif"][1] == 1
    assert saved["third.tif"][0] > 0
    assert saved["first.tif"] == [0, 0]
    seen = window(f"{IN_SECOND}.with {{ [it.hierarchy.detectionObjects.size(), it.changed] }}")
    assert seen == [saved["second.tif"][0], False]
    place.close("predict other images")


def test_cancelled_between_images_it_leaves_whole_ones(place: Place) -> None:
    window = place.window
    before = window(OBJECTS)
    window("app.run('predict_images'); 1")
    window.reads("predict other images", "Replace masks")
    dialog = _stage("predict other images")
    boxes = f"{dialog}.scene.root.lookupAll('.check-box')"
    window(f"{boxes}.find {{ it.text.startsWith('Replace') }}.selected = true; 1")
    place.fire("predict other images", "Predict")
    # As soon as the window is there, the first image is under way at most.
    window.wait(f"{dialog}?.scene?.root?.lookup('.progress-bar') != null")
    place.fire("predict other images", "Cancel")
    said = window.reads("predict other images", "images done.")
    assert "Left as it was." in said
    assert window(OBJECTS) == before
    place.close("predict other images")


def test_the_next_day_the_study_is_found_by_its_slide_and_goes_on(place: Place) -> None:
    window = place.window
    study = window("app.study.id")
    label = "app.connection.review.select(it.patches[0].id); app.connection.review.label"
    window(f"{VIEW}.with {{ {label}(it.classes[0]) }}; 1")
    window.wait(f"{VIEW}.saved.values().contains('saved')")
    place.opened.quit()
    assert not place.answers()
    # Meanwhile somebody has given the file another name.
    moved = place.slides / "renamed.tif"
    (place.slides / "first.tif").rename(moved)
    place.opened.start()
    folder = place.slides.parent / "second project"
    folder.mkdir()
    place.opened.do(IMPORTS + PROJECT, folder=str(folder), images=[str(moved)])
    window.open("renamed")
    window("app.run('open_study'); 1")
    place.opened.focus("slideloop: open study")
    assert "first.tif" in window.reads("open study", "a round is open")
    place.opened.press("Return")
    window.wait(f"{VIEW}.state == 'labelling' && app.study.id == '{study}'")
    window.wait(f"{VIEW}.with {{ round.round == 2 && labels.size() == 1 }}")
    window.reads("prediction of", "after training")
    assert window("gui.viewer.customOverlayLayers.size()") == 1


def test_a_class_that_was_renamed_is_asked_about_and_mapped(place: Place) -> None:
    window = place.window
    window("""
    gui.availablePathClasses.removeIf { it.toString() == 'Tumor' }
    gui.availablePathClasses.add(PathClass.fromString('Tumour, Größe')); 1""")
    window("app.run('import_mask'); 1")
    title = "classes of the study"
    window.reads(title, "lacks Tumor")
    window(f"{_stage(title)}.scene.root.lookup('.combo-box').value = 'Tumour, Größe'; 1")
    place.fire(title, "Go on")
    window.reads("import mask", "will be added")
    window.press("import mask", "Return")
    window.wait("gui.imageData.hierarchy.detectionObjects.size() > 0")
    names = "gui.imageData.hierarchy.detectionObjects*.pathClass*.toString().unique()"
    assert window(names) == ["Tumour, Größe"]
    window.gone("import mask")
    # What was imported under the new name is known again, and nothing of it counts as edited.
    n = window("gui.imageData.hierarchy.detectionObjects.size()")
    window("app.run('import_mask'); 1")
    said = window.reads("import mask", "of an earlier import")
    assert f"{n} will be removed" in said and "edited" not in said
    window.press("import mask", "Escape")
    window("app.run('send_corrections'); 1")
    window.reads("end corrections", "")


def test_a_server_that_is_to_stay_outlives_qupath(place: Place) -> None:
    window = place.window
    window("app.settings.stopsServer.set(false); 1")
    pid = window("app.ownServer.pid()")
    place.opened.quit()
    assert place.answers()
    place.opened.start()
    window(CONNECT)
    window.reads("slideloop: connect", f"The server at {place.url} answers.")
    assert window("app.ownServer == null") is True
    place.close("slideloop: connect")
    os.kill(int(pid), signal.SIGTERM)


def test_scripts_of_an_older_release_are_told_and_written_over(place: Place) -> None:
    window, folder = place.window, place.slides.parent / "scripts"
    # As release 0.0.9 left them, and somebody changed one.
    (folder / "lib" / "slideloop" / "installed.txt").write_text("0.0.9\n")
    (folder / "review.groovy").write_text("// mine\n")
    place.opened.quit()
    place.opened.start()
    window("app.settings.stopsServer.set(true); app.reached('x') { }; 1")
    window.wait("app.ownServer != null")
    window(CONNECT)
    said = window.reads("slideloop: connect", "These scripts are of slideloop 0.0.9")
    assert "Run 'slideloop qupath install'" in said
    assert sorted(path.name for path in install(folder).kept) == [
        "installed.txt.bak",
        "review.groovy.bak",
    ]
    place.opened.quit()
    place.opened.start()
    window("app.reached('x') { }; 1")
    window.wait("app.ownServer != null")
    window(CONNECT)
    said = window.reads("slideloop: connect", f"The server at {place.url} answers.")
    assert "These scripts are of" not in said
