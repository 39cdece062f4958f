"""The review window, judged as a pathologist would: by what is on the screen after real keys."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.groovy.conftest import CLASSES, Site, lacking
from tests.groovy.jvm import Groovy, LackingError
from tests.groovy.screen import Screen
from tests.groovy.windowed import Windowed

from slideloop.evaluation.generated import Scene

pytestmark = pytest.mark.slow

TUMOUR, NORMAL = CLASSES
FREEZE_MS = 100
SIZE = 1366, 768


@pytest.fixture(scope="session")
def screen() -> Iterator[Screen]:
    try:
        screen = Screen(*SIZE)
    except LackingError as what:
        lacking(what)
    yield screen
    screen.close()


@pytest.fixture(scope="session")
def slide_png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("png") / "slide.png"
    Image.fromarray(Scene(0, 1536, 1024).pixels(0, 0, 1536, 1024)).save(path)
    return path


@pytest.fixture(scope="session")
def window_jvm(
    groovy: Groovy, screen: Screen, slide_png: Path, indexed_site: Site
) -> Iterator[Windowed]:
    windowed = Windowed(groovy, screen, slide_png, indexed_site.slide)
    yield windowed
    windowed.close()


@pytest.fixture
def window(window_jvm: Windowed, site: Site, tmp_path: Path) -> Iterator[Windowed]:
    window_jvm.show(site.served.url, tmp_path / "outbox")
    yield window_jvm
    window_jvm.do("end")


def _ids(view: dict[str, Any]) -> list[str]:
    return [patch["id"] for patch in view["patches"]]


# Keys ------------------------------------------------------------------------------------------


def test_a_session_is_labelled_by_keys(window: Windowed, site: Site) -> None:
    study = site.study(rounds=2, k=3)
    first = window.open(study)
    window.says("Session 1 · round 1 of 2 · 0 of 3 labelled")
    window.look()
    window.do("reset")
    window.press("1", "2", "u")
    second = window.wait(state="labelling", round=2)
    window.press("x", "1", "2")
    window.wait(state="session_over")
    window.says("This session is over")
    window.wait(waiting=0)
    window.says("All labels saved")
    given = [TUMOUR, NORMAL, "unsure", "exclude", TUMOUR, NORMAL]
    patches = _ids(first) + _ids(second)
    assert site.served.api.labels(study) == [*zip(patches, given, strict=True)]
    seen = window.do("seen")
    assert seen["centred"] == patches[1:]
    assert seen["leaked"] == []
    assert seen["longest_ms"] < FREEZE_MS


def test_a_key_held_down_labels_once(window: Windowed, site: Site) -> None:
    window.open(site.study(k=3))
    window.look()
    window.screen.hold("1")
    window.see(lambda seen: seen["presses"].count("DIGIT1") > 5)
    window.screen.let_go("1")
    view = window.wait(waiting=0)
    assert [*view["labels"].values()] == [TUMOUR]
    window.press("1")
    assert len(window.wait(lambda view: len(view["labels"]) > 1)["labels"]) == 2


def test_a_key_just_after_a_patch_has_appeared_is_ignored(window: Windowed, site: Site) -> None:
    window.open(site.study(k=3))
    window.look()
    window.press_at_once("1", "2", delay_ms=40)
    assert window.wait(waiting=0)["labels"] == {window.view["patches"][0]["id"]: TUMOUR}
    window.press("2")
    window.wait(lambda view: [*view["labels"].values()] == [TUMOUR, NORMAL])


def test_a_patch_that_cannot_be_seen_yet_takes_no_key(window: Windowed, site: Site) -> None:
    window.do("host", fields={"delayMs": 1500})
    window.open(site.study(k=3))
    window.says("Reading the picture …")
    window.press_at_once("1")
    window.see(lambda seen: "Reading the picture …" not in seen["texts"])
    assert window.view["labels"] == {}
    window.press("2")
    assert [*window.wait(waiting=0)["labels"].values()] == [NORMAL]


def test_a_patch_whose_image_cannot_be_read_can_be_excluded(window: Windowed, site: Site) -> None:
    window.do("host", fields={"isUnreadable": True})
    window.open(site.study(k=3))
    window.says("The image of this patch cannot be read.")
    window.press("x")
    window.wait(lambda view: [*view["labels"].values()] == ["exclude"])


def test_keys_without_a_class_and_with_modifiers_do_nothing(window: Windowed, site: Site) -> None:
    window.open(site.study(k=3))
    window.look()
    window.press_at_once("3", "9", "0", "a", "ctrl+1", "alt+2", "shift+1", "space", "Return", "Tab")
    assert (window.view["labels"], window.view["position"]) == ({}, 0)


def test_arrows_go_to_other_patches_and_a_label_can_be_changed(
    window: Windowed, site: Site
) -> None:
    view = window.open(site.study(k=4))
    window.press("1", "Left")
    window.wait(position=0)
    window.press("2")
    window.wait(position=1, waiting=0)
    window.press("Right", "Right")
    window.wait(position=3)
    window.press("Right", "1")
    labels = window.wait(waiting=0)["labels"]
    assert labels == {_ids(view)[0]: NORMAL, _ids(view)[3]: TUMOUR}


def test_backspace_goes_back_over_the_border_of_a_round(window: Windowed, site: Site) -> None:
    study = site.study(k=2, rounds=3)
    first = window.open(study)
    window.press("1", "1")
    window.wait(state="labelling", round=2)
    start = time.monotonic()
    window.screen.press("BackSpace")
    view = window.wait(state="labelling", round=1, position=1)
    assert time.monotonic() - start < 1
    assert view["labels"] == {_ids(first)[0]: TUMOUR}
    window.press("2")
    window.wait(state="labelling", round=2, waiting=0)
    expected = [(_ids(first)[0], TUMOUR), (_ids(first)[1], TUMOUR), (_ids(first)[1], NORMAL)]
    assert site.served.api.labels(study) == expected
    assert len(site.served.api.events(study, "undo")) == 1


def test_backspace_held_down_takes_one_label_back(window: Windowed, site: Site) -> None:
    window.open(site.study(k=4))
    window.press("1", "1", "1")
    window.screen.hold("BackSpace")
    window.see(lambda seen: seen["presses"].count("BACK_SPACE") > 5)
    window.screen.let_go("BackSpace")
    assert len(window.wait(waiting=0)["labels"]) == 2


def test_keys_in_another_window_do_nothing_and_it_is_said(window: Windowed, site: Site) -> None:
    window.open(site.study(k=3))
    window.look()
    window.do("main")
    window.says("click into it")
    window.screen.press("1", "BackSpace", "Escape")
    seen = window.see(lambda seen: len(seen["leaked"]) == 3)
    assert seen["showing"]
    assert window.view["labels"] == {}


def test_escape_closes_and_the_window_opens_again_where_it_was(
    window: Windowed, site: Site
) -> None:
    window.open(site.study(k=3))
    window.press("1", "Escape")
    window.see(lambda seen: not seen["showing"])
    n_centred = len(window.do("seen")["centred"])
    window.call("move", 1)
    assert len(window.do("seen")["centred"]) == n_centred
    window.do("show")
    window.see(lambda seen: seen["focused"])
    window.press("2")
    labels = window.wait(waiting=0)["labels"]
    assert labels == {
        window.view["patches"][i]["id"]: name for i, name in ((0, TUMOUR), (2, NORMAL))
    }


# Mouse -----------------------------------------------------------------------------------------


def test_the_mouse_chooses_patches_and_labels(window: Windowed, site: Site) -> None:
    view = window.open(site.study(k=4))
    window.look()
    window.click("thumbnail", index=2)
    window.wait(position=2)
    window.look()
    window.click("row", text=NORMAL)
    window.wait(position=3)
    window.look()
    window.click("row", text="Exclude")
    labels = window.wait(waiting=0, position=0)["labels"]
    assert labels == {_ids(view)[2]: NORMAL, _ids(view)[3]: "exclude"}
    window.click("row", text="Take back the last label")
    assert window.wait(waiting=0, position=3)["labels"] == {_ids(view)[2]: NORMAL}


def test_a_double_click_labels_once(window: Windowed, site: Site) -> None:
    window.open(site.study(k=4))
    window.look()
    window.click("row", times=2, text=TUMOUR)
    window.look()
    assert len(window.wait(waiting=0)["labels"]) == 1


def test_classes_beyond_nine_are_labelled_by_mouse(window: Windowed, site: Site) -> None:
    names = [TUMOUR, *(f"Класс {i}" for i in range(2, 12))]
    window.open(site.study(k=5, rounds=1, classes=names))
    window.press("9")
    window.look()
    window.click("row", text=names[10])
    view = window.wait(waiting=0)
    assert [*view["labels"].values()] == [names[8], names[10]]


# What is seen ----------------------------------------------------------------------------------


def test_the_pictures_are_those_of_the_patch(
    window: Windowed, site: Site, slide_png: Path, tmp_path: Path
) -> None:
    window.open(site.study(k=3))
    window.press("1")
    patch = window.wait(position=1)["patches"][1]
    window.look()
    for scale, context in enumerate((1, 3)):
        seen = window.picture(scale, tmp_path)
        assert _difference(seen, _field(slide_png, patch, context)) < 6
        for other in window.view["patches"][::2]:
            assert _difference(seen, _field(slide_png, other, context)) > 12


def _field(slide_png: Path, patch: dict[str, Any], context: int) -> Image.Image:
    with Image.open(slide_png) as slide:
        side = patch["width"] * context
        x = patch["x"] + (patch["width"] - side) / 2
        y = patch["y"] + (patch["height"] - side) / 2
        white = Image.new("RGB", (side, side), "white")
        white.paste(slide.crop((0, 0, *slide.size)), (-round(x), -round(y)))
        return white


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of colours, without the edge, which has a frame and words on it."""
    small = [np.asarray(picture.resize((48, 48), Image.Resampling.BOX)) for picture in (one, other)]
    inner = [picture[2:38, 2:46].astype(float) for picture in small]
    return float(np.abs(inner[0] - inner[1]).mean())


def test_slow_pictures_are_read_ahead(window: Windowed, site: Site) -> None:
    window.do("host", fields={"delayMs": 60})
    window.open(site.study(k=6, rounds=1))
    window.see(lambda seen: "Reading the picture …" not in seen["texts"])
    n_read = -1
    while n_read != (n_read := window.do("seen")["n_read"]):
        time.sleep(0.8)  # while a picture takes .06
    window.do("host", fields={"delayMs": 5000})
    for _ in range(4):
        window.press("1")
        assert "Reading the picture …" not in window.do("seen")["texts"]
    assert len(window.wait(lambda view: len(view["labels"]) > 3)["labels"]) == 4


def test_the_window_never_freezes(window: Windowed, site: Site) -> None:
    window.do("host", fields={"delayMs": 20})
    window.open(site.study(k=10, rounds=2))
    window.look()
    window.do("reset")
    window.press(*"1212121212")
    window.wait(state="labelling", round=2)
    window.press("BackSpace", "1", "2", "Left", "x")
    assert window.do("seen")["longest_ms"] < FREEZE_MS


@pytest.mark.parametrize(("k", "n_classes"), [(5, 2), (10, 9), (25, 9)])
def test_everything_has_its_place_on_a_small_screen(
    window: Windowed, site: Site, k: int, n_classes: int
) -> None:
    names = [TUMOUR, *(f"Класс, длинное название {i}" for i in range(2, n_classes + 1))]
    window.open(site.study(k=k, rounds=1, classes=names))
    window.look()
    boxes = {
        style: window.do("boxes", style=style) for style in ("thumbnail", "legend-row", "picture")
    }
    assert len(boxes["thumbnail"]) == k
    assert len(boxes["legend-row"]) == n_classes + 3
    everything = [box for some in boxes.values() for box in some]
    for x, y, width, height in everything:
        assert x >= 0 and y >= 0 and x + width <= SIZE[0] and y + height <= SIZE[1]
    assert not any(
        _overlap(one, other) for i, one in enumerate(everything) for other in everything[:i]
    )
    assert boxes["picture"][0][2] > 300
    window.press("1")
    window.wait(waiting=0, position=1)
    window.look()
    assert [window.do("boxes", style=style) for style in boxes] == [*boxes.values()]


def _overlap(one: list[float], other: list[float]) -> bool:
    return all(
        one[i] + 1 < other[i] + other[i + 2] and other[i] + 1 < one[i] + one[i + 2] for i in (0, 1)
    )


# When something is wrong -----------------------------------------------------------------------


def test_without_a_server_labelling_goes_on_and_nothing_is_lost(
    window: Windowed, site: Site
) -> None:
    study = site.study(k=4)
    window.open(study)
    window.press("1")
    window.wait(waiting=0)
    site.served.stop()
    window.press("2", "u")
    window.says("You can go on labelling: nothing is lost.")
    window.says("2 labels on the way")
    site.served.start()
    window.wait(waiting=0)
    window.see(lambda seen: not any("nothing is lost" in text for text in seen["texts"]))
    assert [label for _, label in site.served.api.labels(study)] == [TUMOUR, NORMAL, "unsure"]


def test_a_refused_label_is_shown_until_somebody_decides(window: Windowed, site: Site) -> None:
    study = site.study(k=3)
    window.open(study)
    window.look()
    site.query(study)
    window.screen.press("1")
    window.wait(lambda view: view["refused"])
    window.says("The server did not accept these")
    window.says("1 label not accepted …")
    window.says(f"{TUMOUR}: patch 1 of round 1")
    window.look()
    window.click("button", text="Decide later")
    window.see(lambda seen: "Send again" not in seen["texts"])
    window.click("button", text="1 label not accepted …")
    window.says("Send again")
    window.click("button", text="Drop")
    window.wait(refused=[])
    window.see(lambda seen: "Send again" not in seen["texts"])
    assert site.served.api.labels(study) == []


def test_a_patch_of_another_image_is_marked_with_its_name(
    groovy: Groovy, screen: Screen, slide_png: Path, site: Site, tmp_path: Path
) -> None:
    windowed = Windowed(groovy, screen, slide_png, "another")
    try:
        windowed.show(site.served.url, tmp_path / "outbox")
        windowed.open(site.study(k=3))
        windowed.says(f"Of another image: Präparat {site.slide}")
    finally:
        windowed.close()
