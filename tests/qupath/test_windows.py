"""The loop in a real QuPath with its windows and real keys: what it does to the user's data."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.groovy.conftest import CLASSES, Site
from tests.qupath.installed import QuPath
from tests.qupath.opened import Desk, Opened
from tests.qupath.window import DRAW, FIND, IMPORTS, LISTED, TEXTS

from slideloop.errors import ProjectOpenError
from slideloop.qupath.guard import HEARTBEAT, require_unopened, unsaved_in
from slideloop.qupath.project_file import read_project

TUMOUR, OTHER = CLASSES
K = 3

PATCHES = "gui.imageData.hierarchy.annotationObjects.findAll { it.metadata['slideloop.patch'] }"
VIEW = "app.connection.review.view()"
SAVED = (
    "gui.project.imageList.find { it.imageName == 'NAME' }.readHierarchy()"
    ".annotationObjects.collect { it.name }"
)
OPEN = "gui.openImageEntry(gui.project.imageList.find { it.imageName == 'NAME' })"
PROJECT = """
import java.awt.image.BufferedImage
import qupath.lib.images.ImageData
import qupath.lib.images.servers.ImageServerProvider
import qupath.lib.projects.Projects
def project = Projects.createProject(new File(given.folder), BufferedImage)
given.images.each {
    def uri = new File(it).toURI().toString()
    def support = ImageServerProvider.getPreferredUriImageSupport(BufferedImage, uri)
    def entry = project.addImage(support.builders[0])
    entry.setImageName(new File(it).name)
    def imageData = entry.readImageData()
    imageData.setImageType(ImageData.ImageType.BRIGHTFIELD_H_E)
    entry.saveImageData(imageData)
}
project.syncChanges()
gui.setProject(project)
1
"""
IMPORT_READY = (
    "javafx.stage.Window.windows.find { it instanceof javafx.stage.Stage && "
    "it.title == 'slideloop: import mask' }?.scene?.root?.lookupAll('.button')"
    "?.any { it.text == 'Import' && !it.disabled }"
)
CLEAR = "gui.imageData?.hierarchy?.clearAll(); gui.imageData?.setChanged(false); 1"


@pytest.fixture(scope="module")
def site(indexed_site: Site) -> Site:
    """The server, for all tests of this module."""
    indexed_site.served.start()
    return indexed_site


@pytest.fixture(scope="module")
def running(
    qupath: QuPath,
    desk: Desk,
    site: Site,
    small_slides: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Opened]:
    """A QuPath with a project of two images."""
    home = tmp_path_factory.mktemp("home")
    opened = Opened(qupath, desk, home, site.served.url)
    folder = home / "project"
    folder.mkdir()
    image, other = small_slides / "small.tif", home / "another.tif"
    other.write_bytes(image.read_bytes())
    opened.do(PROJECT, folder=str(folder), images=[str(image), str(other)])
    opened.do(LISTED, classes=[*CLASSES])
    yield opened
    opened.kill()


@pytest.fixture
def window(running: Opened, site: Site) -> Opened:
    """It, with the first image open, unchanged, and nothing of an earlier test."""
    site.served.start()
    running.do("app.connection.review.close(); 1")
    running.do(CLEAR)
    running.do(OPEN.replace("NAME", "small.tif"))
    running.do(CLEAR)
    running.do("gui.project.getEntry(gui.imageData)?.saveImageData(gui.imageData); 1")
    running.do(OPEN.replace("NAME", "another.tif"))
    running.do(CLEAR)
    # Read anew, with a new undo stack.
    running.do(OPEN.replace("NAME", "small.tif"))
    running.wait(f"{PATCHES}.size() == 0")
    return running


@pytest.fixture
def study(window: Opened, site: Site) -> str:
    """A study with an open round of three, in the review window, which has the focus."""
    made = site.study(k=K)
    window.do(f"app.review('{made}'); 1")
    window.until(f"{PATCHES}.size()", lambda n: n == K)
    window.focus("slideloop: review")
    return made


def _label(window: Opened, *keys: str) -> None:
    """Press a key for each patch, after having looked at it."""
    for key in keys:
        n = window.do(f"{VIEW}.labels.size()")
        where = window.do(f"{VIEW}.round.round")
        end = time.monotonic() + 60
        while window.do(f"{VIEW}.with {{ [labels.size(), round.round] }}") == [n, where]:
            assert time.monotonic() < end
            window.press(key)
            time.sleep(0.4)


def test_the_menu_has_every_command_and_none_is_ever_disabled(window: Opened) -> None:
    items = window.do(
        "gui.getMenu('Menu.Extensions>slideloop', false).items"
        ".collect { [it.text, it.disable, it.accelerator?.toString()] }"
    )
    names = [item[0] for item in items]
    assert names[2:5] == ["Connect / doctor", "New study", "Open study"]
    assert "Query with rectangle" in names
    assert names[-1] == "Open report"
    assert not any(item[1] for item in items)
    assert ["Query with rectangle", False, "Shift+Q"] in items


def test_a_rectangle_becomes_a_query_and_its_patches_appear(window: Opened, site: Site) -> None:
    site.study(k=K)  # is proposed before a new one, and does not know the annotation's class
    window.do("app.settings.classes.set('Tumor\\nOther'); 1")
    window.do(DRAW, rectangle=site.rectangles[0])
    window.focus("QuPath")
    window.press("shift+q")
    window.focus("slideloop: query with rectangle")
    window.do(
        "javafx.stage.Window.windows.find { it instanceof javafx.stage.Stage && "
        "it.title?.startsWith('slideloop: query') }.scene.root.lookupAll('.combo-box')"
        ".find { it.items.contains('New study') }.with { it.value = 'New study' }; 1"
    )
    window.press("Return")
    window.wait(f"{VIEW}.state == 'labelling'")
    study = window.do("app.study.id")
    made = site.served.api("GET", f"/studies/{study}")
    assert made["classes"] == ["Tumor", "Other"]
    assert made["sessions"][0]["query"]["label"] == "Tumor"
    k = made["k"]
    objects = window.until(
        f"{PATCHES}.collect {{ [it.name, it.locked, it.metadata['slideloop.patch']] }}",
        lambda found: len(found) == k,
    )
    shown = site.served.api("GET", f"/studies/{study}/round")["patches"]
    assert {item[2] for item in objects} == {patch["id"] for patch in shown}
    assert all(item[1] for item in objects)
    assert sorted(item[0] for item in objects) == [
        f"slideloop patch {i + 1} of {k}" for i in range(k)
    ]


def test_keys_label_round_after_round_and_nothing_is_left(
    window: Opened, site: Site, study: str
) -> None:
    for round_number in (1, 2):
        window.until(f"{VIEW}.with {{ [state, round?.round] }}", ["labelling", round_number].__eq__)
        _label(window, "1", "2", "u")
    window.wait(f"{VIEW}.state == 'session_over'")
    labels = [label for _, label in site.served.api.labels(study)]
    assert labels == [TUMOUR, OTHER, "unsure"] * 2
    assert window.until(f"{PATCHES}.size()", lambda n: n == 0) == 0
    assert window.do("gui.imageData.changed") is False


def test_backspace_goes_back_over_the_border_of_a_round(window: Opened, study: str) -> None:
    _label(window, "1", "2", "1")
    window.until(f"{VIEW}.with {{ [state, round.round] }}", ["labelling", 2].__eq__)
    began = time.monotonic()
    window.press("BackSpace")
    window.until(
        f"{VIEW}.with {{ [state, round.round, labels.size()] }}", ["labelling", 1, 2].__eq__
    )
    assert time.monotonic() - began < 3
    window.until(f"{PATCHES}.size()", lambda n: n == K)


def test_patches_are_kept_out_of_undo_and_changed_flag(window: Opened, study: str) -> None:
    state = "[gui.undoRedoManager.canUndo().get(), gui.imageData.changed]"
    assert window.do(state) == [False, False]
    assert window.do("qupath.lib.gui.prefs.PathPrefs.maxUndoHierarchySizeProperty().get()") > 0
    window.do(DRAW, rectangle=(10, 10, 50, 60))
    assert window.do(state) == [True, True]
    window.focus("QuPath")
    window.press("ctrl+z")
    window.wait(
        "gui.imageData.hierarchy.annotationObjects.every { it.metadata['slideloop.patch'] }"
    )
    window.until(f"{PATCHES}.size()", lambda n: n == K)
    window.do("app.connection.review.close(); 1")
    window.until(f"{PATCHES}.size()", lambda n: n == 0)
    window.press("ctrl+shift+z")
    window.until("gui.imageData.hierarchy.annotationObjects.size()", lambda n: n == 1)
    # What undo may bring back of the round is swept.
    time.sleep(0.5)
    assert window.do(f"{PATCHES}.size()") == 0


def test_a_save_in_the_middle_of_a_round_stores_no_patches(window: Opened, study: str) -> None:
    window.do(DRAW, rectangle=(10, 10, 50, 60))
    window.focus("QuPath")
    window.press("ctrl+s")
    window.wait("!gui.imageData.changed")
    assert window.do(SAVED.replace("NAME", "small.tif")) == [None]
    window.until(f"{PATCHES}.size()", lambda n: n == K)
    assert window.do("gui.imageData.changed") is False


def test_patches_are_away_while_the_file_menu_offers_to_save(window: Opened, study: str) -> None:
    window.do("gui.menuBar.menus[0].show(); 1")
    window.until(f"{PATCHES}.size()", lambda n: n == 0)
    time.sleep(1)
    assert window.do(f"{PATCHES}.size()") == 0
    window.do("gui.menuBar.menus[0].hide(); 1")
    window.until(f"{PATCHES}.size()", lambda n: n == K)


def test_patches_that_a_file_holds_are_swept_and_the_file_is_to_be_saved(
    window: Opened, study: str
) -> None:
    # As another extension might save it.
    window.do("gui.project.getEntry(gui.imageData).saveImageData(gui.imageData); 1")
    assert len(window.do(SAVED.replace("NAME", "small.tif"))) == K
    window.do("app.connection.review.close(); 1")
    window.until(f"{PATCHES}.size()", lambda n: n == 0)
    assert window.do("gui.imageData.changed") is True
    window.do("gui.imageData.setChanged(false);" + OPEN.replace("NAME", "another.tif"))
    window.do(OPEN.replace("NAME", "small.tif"))
    window.until(f"{PATCHES}.size()", lambda n: n == 0)
    assert window.do("gui.imageData.changed") is True


def test_another_image_gets_no_patches_and_the_first_gets_them_back(
    window: Opened, study: str
) -> None:
    window.do("app.stage.properties['old'] = gui.imageData; 1")
    window.do(OPEN.replace("NAME", "another.tif"))
    time.sleep(0.5)
    assert window.do(f"{PATCHES}.size()") == 0
    assert window.do("app.stage.properties['old'].hierarchy.annotationObjects.size()") == 0
    assert window.do("[gui.imageData.changed, app.stage.properties['old'].changed]") == [
        False,
        False,
    ]
    assert window.do("app.host.otherImage(app.study.slides[0])") == "small.tif"
    window.do(OPEN.replace("NAME", "small.tif"))
    window.until(f"{PATCHES}.size()", lambda n: n == K)


def test_classes_given_by_qupaths_list_are_sent_as_labels(
    window: Opened, site: Site, study: str
) -> None:
    window.do(
        f"def given = {PATCHES}.take(2); given.each {{ it.setPathClass("
        f"qupath.lib.objects.classes.PathClass.fromString('{OTHER}')) }};"
        "gui.imageData.hierarchy.fireObjectClassificationsChangedEvent(gui, given); 1"
    )
    window.wait(f"{PATCHES}.count {{ it.name.endsWith('not sent yet') }} == 2")
    window.do("app.run('send_labels'); 1")
    window.wait(f"{VIEW}.saved.values().count('saved') == 2")
    assert [label for _, label in site.served.api.labels(study)] == [OTHER] * 2


def test_an_open_project_says_so_and_one_that_was_left_does_not(window: Opened) -> None:
    folder = Path(window.do("gui.project.path.parent.toString()"))
    (beat,) = folder.glob(f"{HEARTBEAT}*.json")
    project = read_project(folder)
    pid = json.loads(beat.read_bytes())["pid"]
    assert Path(f"/proc/{pid}/cwd").samefile(folder.parent)
    with pytest.raises(ProjectOpenError):
        require_unopened(project)
    window.do("gui.imageData.setChanged(true); 1")
    entry = window.do("gui.project.getEntry(gui.imageData).getID()")
    window.wait(f"new File('{beat}').text.contains('\"unsaved\":[\"{entry}\"]')", 45)
    assert unsaved_in(project) == {entry}
    window.do("gui.imageData.setChanged(false); 1")
    window.do("app.stage.properties['kept'] = gui.project; gui.project = null; 1")
    window.wait(f"!new File('{beat}').exists()")
    require_unopened(project)
    window.do("gui.project = app.stage.properties['kept']; 1")
    window.wait(f"new File('{beat}').exists()")


def test_classes_of_every_kind_come_back_as_they_went(window: Opened, site: Site) -> None:
    classes = ["Tumor: Invasive", "Necrosis*", "腫瘍なし: Größe"]
    study = site.study(k=K, rounds=1, query=False, classes=classes)
    site.served.api.query(study, site.slide, site.rectangles[0], classes[0])
    window.do(f"app.review('{study}'); 1")
    window.until(f"{PATCHES}.size()", lambda n: n == K)
    window.focus("slideloop: review")
    _label(window, "1", "2", "3")
    window.wait(f"{VIEW}.state == 'session_over'")
    assert [label for _, label in site.served.api.labels(study)] == classes
    window.press("Escape")
    unset = DRAW.replace("fromString('Tumor')", "NULL_CLASS")
    window.do(unset, rectangle=(20, 20, 40, 40))
    window.do("app.run('import_mask'); 1")
    # None of them is in QuPath's list: they are put there, by their own names.
    window.focus("slideloop: classes of the study")
    window.press("Return")
    window.focus("slideloop: import mask")
    boxes = FIND.replace("TITLE", "import mask") + ".scene.root.lookupAll('.check-box')"
    window.do(
        f"{IMPORTS}{boxes}.findAll {{ it.text in given.all }}*.selected = true; 1", all=classes
    )
    window.wait(IMPORT_READY)
    window.press("Return")
    found = window.until(
        "gui.imageData.hierarchy.detectionObjects.collect "
        "{ [it.pathClass.toString(), it.pathClass.parentClass?.toString()] }.unique().sort()",
        bool,
    )
    parents = {"Tumor: Invasive": "Tumor", "Necrosis*": None, "腫瘍なし: Größe": "腫瘍なし"}
    assert dict(found) == parents
    # An annotation without a class is nobody's correction.
    window.do("app.run('send_corrections'); 1")
    window.until(TEXTS.replace("TITLE", "end corrections"), bool)
    assert site.served.api.events(study, "region") == []
    assert window.do("gui.imageData.hierarchy.annotationObjects*.pathClass") == [None]


def test_labels_outlive_a_killed_qupath_and_a_server_with_another_token(
    window: Opened, site: Site, small_slides: Path, study: str
) -> None:
    site.served.stop()
    _label(window, "1", "2")
    window.wait(f"{VIEW}.saved.values().count('waiting') == 2")
    window.kill()
    site.served.start(token="another")
    window.start()
    window.wait("app.connection.outbox.trouble()?.code == 'unauthorized'")
    window.do("app.settings.setToken('another'); app.connection.outbox.poke(); 1")
    window.wait("app.connection.outbox.waiting().empty")
    assert [label for _, label in site.served.api.labels(study)] == [TUMOUR, OTHER]
