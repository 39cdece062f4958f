"""Masks as objects, and their corrections, in a real QuPath without windows."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest
from tests.groovy.conftest import CLASSES, Site
from tests.qupath.installed import QuPath

from slideloop.masks.geojson import marker

POSITIVE, OTHER = CLASSES


def _objects(site: Site, study: str, query: str = "") -> list[dict[str, Any]]:
    url = f"{site.served.url}/api/v1/studies/{study}/prediction"
    with urllib.request.urlopen(f"{url}?slide={site.slide}&format=geojson{query}") as answer:
        return json.load(answer)["features"]


@pytest.fixture(scope="module")
def site(indexed_site: Site) -> Site:
    """The server, for all tests of this module."""
    indexed_site.served.start()
    return indexed_site


@pytest.fixture(scope="module")
def played(
    qupath: QuPath, site: Site, tmp_path_factory: pytest.TempPathFactory, small_slides: Any
) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """What the program found, the server's objects before, and the study; each version's own."""
    study = site.learnt()
    objects = _objects(site, study)
    home = tmp_path_factory.mktemp("home")
    project = home / "project"
    project.mkdir()
    given = {"url": site.served.url, "study": study, "slide": site.slide, "classes": CLASSES}
    image = str(small_slides / "small.tif")
    return qupath.run("mask", home, project=str(project), image=image, **given), objects, study


@pytest.fixture
def found(played: tuple[dict[str, Any], list[dict[str, Any]], str]) -> dict[str, Any]:
    """What the program found."""
    return played[0]


def test_an_import_makes_the_servers_objects(
    played: tuple[dict[str, Any], list[dict[str, Any]], str],
) -> None:
    found, objects, study = played
    assert len(objects) > 1
    made = {each["id"]: each for each in found["imported"]}
    assert set(made) == {each["id"] for each in objects}
    for each in objects:
        ours = made[each["id"]]
        assert (ours["name"], ours["class"]) == (marker(study), POSITIVE)
        assert ours["type"] == "PathDetectionObject"
        probability = each["properties"]["measurements"]["slideloop probability"]
        assert ours["probability"] == pytest.approx(probability, abs=1e-6)


def test_a_second_import_is_refused_and_a_replacement_gives_the_same(found: dict[str, Any]) -> None:
    ids = [each["id"] for each in found["imported"]]
    assert found["second"] == "already_imported"
    assert [each["id"] for each in found["afterSecond"]] == ids
    assert sorted(each["id"] for each in found["replaced"]) == sorted(ids)


def test_a_saved_import_is_known_as_unedited_when_it_is_reopened(found: dict[str, Any]) -> None:
    n = len(found["imported"])
    assert found["saved"] and not found["changed"]
    expected = {"removed": n, "edited": 0, "added": n, "leftOut": 0, "after": n}
    assert found["reopened"] == expected


def test_an_object_of_another_class_stays_and_is_not_doubled(found: dict[str, Any]) -> None:
    n = len(found["imported"])
    rest = {"removed": n - 1, "edited": 1, "added": n - 1, "leftOut": 1, "after": n}
    assert found["edited"] == rest
    assert found["discarding"] == {**rest, "removed": n, "added": n, "leftOut": 0}
    assert sorted(each["class"] for each in found["kept"]) == sorted([OTHER, *[POSITIVE] * (n - 1)])


def test_its_new_class_is_a_correction_that_counts_once(found: dict[str, Any]) -> None:
    (correction,) = found["reclassified"]
    assert (correction["label"], correction["how"]) == (OTHER, "reclassified")
    assert correction["state"] == "new"
    assert found["sent"] == found["resent"] == [correction["n"]]
    assert found["nRegions"] == correction["n"]
    assert [each["state"] for each in found["afterSending"]] == ["sent"]
    assert [each["state"] for each in found["takenBack"]] == ["taken back"]


def test_what_is_drawn_labels_as_many_patches_as_was_said(found: dict[str, Any]) -> None:
    drawn = found["drawn"]
    assert {each["how"] for each in drawn} == {"drawn"}
    labels = sorted(each["label"] for each in drawn)
    assert labels == sorted([POSITIVE] * 3 + [OTHER] * 2 + ["exclude"])
    assert [each["state"] for each in drawn] == ["new"] * 5 + ["nothing"]
    assert found["drawnSent"] == [each["n"] for each in drawn[:5]]
    assert [each["state"] for each in found["drawnAfter"]] == ["sent"] * 5 + ["nothing"]


def test_what_is_left_out_is_said(found: dict[str, Any]) -> None:
    assert found["unknown"] == ["Stroma"]
    assert found["nWithoutArea"] == 1


def test_annotations_are_locked_and_one_that_was_moved_is_edited(found: dict[str, Any]) -> None:
    made = found["annotations"]
    assert {each["class"] for each in made} == {POSITIVE, OTHER}
    assert all(each["locked"] and each["type"] == "PathAnnotationObject" for each in made)
    n = len(made)
    expected = {"removed": n - 1, "edited": 1, "added": n - 1, "leftOut": 1, "after": n}
    assert found["moved"] == expected
    assert [(each["how"], each["state"]) for each in found["movedIs"]] == [("edited", "new")]


def test_tiles_are_squares_of_one_patch(found: dict[str, Any]) -> None:
    assert found["tiles"]
    for each in found["tiles"]:
        assert (each["type"], each["class"], each["area"]) == ("PathTileObject", POSITIVE, 96**2)
        assert each["probability"] >= 0.6
