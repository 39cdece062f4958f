"""Prediction, import and corrections in QuPath's own windows, with real keys."""

from __future__ import annotations

import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.groovy.conftest import CLASSES, Site
from tests.qupath.installed import QuPath
from tests.qupath.opened import Desk, Opened
from tests.qupath.window import FIND, IMPORTS, LISTED, PROJECT, Window

POSITIVE, OTHER = CLASSES
IMPORT, SEND, PREDICTION = "import mask", "end corrections", "prediction of"
ALL = "gui.imageData.hierarchy.getAllObjects(false)"
UNDO = "gui.undoRedoManager"

PAINTED = """
def image = new BufferedImage(1536, 1024, BufferedImage.TYPE_INT_ARGB)
def g = image.createGraphics()
def all = ImageRegion.createInstance(0, 0, 1536, 1024, 0, 0)
gui.viewer.customOverlayLayers.each { it.paintOverlay(g, all, 1d, gui.imageData, true) }
(0..<160).collect { [it % 16, it.intdiv(16)] }.findAll { c, r ->
    image.getRGB(c * 96 + 48, r * 96 + 48) != 0 }
"""
"""Columns and rows of the patches in whose middle the overlays paint."""


@pytest.fixture(scope="module")
def study(qupath: QuPath, indexed_site: Site) -> str:
    """A study that has learnt from one round; each version's own."""
    assert qupath
    indexed_site.served.start()
    return indexed_site.learnt()


@pytest.fixture(scope="module")
def window(
    qupath: QuPath,
    desk: Desk,
    indexed_site: Site,
    study: str,
    small_slides: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Window]:
    """A QuPath with a project of two images, the study open, its review put away."""
    home = tmp_path_factory.mktemp("home")
    (home / "project").mkdir()
    opened = Opened(qupath, desk, home, indexed_site.served.url)
    images = [str(small_slides / f"{name}.tif") for name in ("small", "other")]
    opened.do(IMPORTS + PROJECT, folder=str(home / "project"), images=images)
    opened.do(LISTED, classes=[*CLASSES])
    window = Window(opened)
    window.open("small")
    window(f"app.review('{study}'); 1")
    window.wait("app.study?.id")
    window.wait(FIND.replace("TITLE", "review") + "?.with { it.hide(); true }")
    yield window
    opened.kill()


def _prediction(site: Site, study: str) -> dict[str, Any]:
    return site.served.api("GET", f"/studies/{study}/prediction?slide={site.slide}")


def _mask(site: Site, study: str) -> set[str]:
    path = f"/studies/{study}/prediction?slide={site.slide}&format=geojson"
    return {each["id"] for each in site.served.api("GET", path)["features"]}


def test_the_prediction_lies_over_its_image_and_touches_nothing(
    window: Window, indexed_site: Site, study: str
) -> None:
    window("gui.imageData.changed = false; 1")
    window("app.run('show_prediction'); 1")
    prediction = _prediction(indexed_site, study)
    said = window.reads(PREDICTION, f"after training {prediction['model_round']}")
    number = prediction["classes"].index(POSITIVE)
    expected = {
        (column, row)
        for column, row, label in zip(
            prediction["col"], prediction["row"], prediction["label"], strict=True
        )
        if label == number
    }
    assert expected
    assert {(c, r) for c, r in window(PAINTED)} == expected
    assert f"\n{len(expected)}\n" in said
    n_given = sum(prediction["given"])
    assert f"Labelled by you: {n_given} of {prediction['n']} patches" in said
    touched = f"[{ALL}.size(), gui.imageData.changed, {UNDO}.canUndo().get()]"
    assert window(touched) == [0, False, False]


def test_it_is_over_no_other_image(window: Window) -> None:
    window.open("other")
    window.reads(PREDICTION, "This image is not in the study.")
    assert window(PAINTED) == []
    assert window("gui.viewer.customOverlayLayers.size()") == 1
    window.open("small")
    window.reads(PREDICTION, "after training")
    assert window(PAINTED)


def test_it_follows_each_training(window: Window, indexed_site: Site, study: str) -> None:
    before = _prediction(indexed_site, study)["model_round"]
    ring = [[800, 100], [1200, 100], [1200, 400], [800, 400], [800, 100]]
    region = {"slide": indexed_site.slide, "label": POSITIVE, "train": True}
    geometry = {"type": "Polygon", "coordinates": [ring]}
    path = f"/studies/{study}/regions"
    indexed_site.served.api("POST", path, event_id=str(uuid.uuid4()), geometry=geometry, **region)
    window.reads(PREDICTION, f"after training {before + 1}")


def test_the_menu_hides_it_again(window: Window) -> None:
    window("app.run('show_prediction'); 1")
    window.gone(PREDICTION)
    assert window(PAINTED) == []
    assert window("gui.viewer.customOverlayLayers.size()") == 0


def test_a_mask_is_imported_by_enter_saved_and_taken_back_by_one_undo(
    window: Window, indexed_site: Site, study: str
) -> None:
    mask = _mask(indexed_site, study)
    window("app.run('import_mask'); 1")
    window.reads(IMPORT, f"will be added; the image then has {len(mask)}.")
    window.press(IMPORT, "Return")
    window.gone(IMPORT)
    assert set(window(f"{ALL}*.ID*.toString()")) == mask
    assert window("gui.imageData.changed") is False
    reopened = "gui.project.imageList[0].readHierarchy().getAllObjects(false)*.ID*.toString()"
    assert set(window(reopened)) == mask
    assert window(f"{UNDO}.undoOnce(); {ALL}.size()") == 0
    assert set(window(f"{UNDO}.redoOnce(); {ALL}*.ID*.toString()")) == mask
    assert window("qupath.lib.gui.prefs.PathPrefs.maxUndoHierarchySizeProperty().get()") == 10_000


def test_a_replacement_is_asked_for_and_leaves_what_was_edited(
    window: Window, indexed_site: Site, study: str
) -> None:
    n = len(_mask(indexed_site, study))
    edited = window(
        f"""def one = {ALL}.max {{ it.ROI.getArea() }}
        one.setPathClass(PathClass.fromString('{OTHER}'))
        gui.imageData.hierarchy.fireObjectClassificationsChangedEvent(this, [one])
        one.ID.toString()"""
    )
    window("app.run('import_mask'); 1")
    said = window.reads(IMPORT, "1 that was edited stays")
    assert "Replace" in said and "since its edited copy stays" in said
    window.press(IMPORT, "Escape")
    window.gone(IMPORT)
    window("app.run('import_mask'); 1")
    window.reads(IMPORT, "1 that was edited stays")
    window.press(IMPORT, "Return")
    window.gone(IMPORT)
    found = window(f"{ALL}.collect {{ [it.ID.toString(), it.pathClass.toString()] }}")
    assert len(found) == n
    assert [each for each in found if each[1] == OTHER] == [[edited, OTHER]]
    # One step: the edit is the one before.
    assert window(f"{UNDO}.undoOnce(); {ALL}.size()") == n
    assert window(f"{ALL}.find {{ it.ID.toString() == '{edited}' }}.pathClass.toString()") == OTHER


def test_corrections_are_shown_counted_and_sent_once(
    window: Window, indexed_site: Site, study: str
) -> None:
    api = indexed_site.served.api
    before = api("GET", f"/studies/{study}")["n_region_labels"]
    window(
        f"""gui.imageData.hierarchy.addObjects([PathObjects.createAnnotationObject(
            ROIs.createEllipseROI(620, 200, 500, 450, ImagePlane.defaultPlane),
            PathClass.fromString('{POSITIVE}'))])
        app.run('send_corrections'); 1"""
    )
    said = window.reads(SEND, "2 corrections: ")
    assert "class changed" in said and "drawn" in said
    n = int(said.split("2 corrections: ")[1].split()[0])
    window.press(SEND, "Return")
    window.reads("Send corrections", f"2 corrections sent: {n} patches have the label")
    window.press("Send corrections", "Return")
    regions = [each["data"]["label"] for each in indexed_site.served.api.events(study, "region")]
    assert sorted(regions[-2:]) == sorted([OTHER, POSITIVE])
    assert api("GET", f"/studies/{study}")["n_region_labels"] > before
    n_events = len(regions)
    window("app.run('send_corrections'); 1")
    said = window.reads(SEND, "Nothing is chosen.")
    assert said.count("the study has it") == 1  # Each text is listed once.
    window.press(SEND, "Escape")
    window.gone(SEND)
    assert len(indexed_site.served.api.events(study, "region")) == n_events


def test_a_server_that_is_away_keeps_them_on_this_computer(
    window: Window, indexed_site: Site, study: str
) -> None:
    window(
        f"""gui.imageData.hierarchy.addObjects([PathObjects.createAnnotationObject(
            ROIs.createRectangleROI(300, 640, 200, 200, ImagePlane.defaultPlane),
            PathClass.fromString('{OTHER}'))])
        app.run('send_corrections'); 1"""
    )
    window.reads(SEND, "1 correction: ")
    n = len(indexed_site.served.api.events(study, "region"))
    indexed_site.served.stop()
    try:
        window.press(SEND, "Return")
        window.reads("Send corrections", "1 correction kept on this computer")
        window.press("Send corrections", "Return")
    finally:
        indexed_site.served.start()
    window.wait("app.connection.outbox.waiting().isEmpty()")
    assert len(indexed_site.served.api.events(study, "region")) == n + 1


def test_an_import_without_a_server_says_so(window: Window, indexed_site: Site) -> None:
    indexed_site.served.stop()
    try:
        window("app.run('import_mask'); 1")
        window.reads("Asking the server", "does not answer")
        window.press("Asking the server", "Return")
    finally:
        indexed_site.served.start()
    with urllib.request.urlopen(f"{indexed_site.served.url}/api/v1/health") as answer:
        assert answer.status == 200
