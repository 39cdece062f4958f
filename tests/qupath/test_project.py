"""Masks brought into a project by paquo, judged by what QuPath reads from it afterwards."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from tests.command_line import QUICK, Outcome, slideloop
from tests.groovy.conftest import Site
from tests.qupath.installed import LIB, QuPath
from tests.slide_files import write_scn

from slideloop.evaluation.generated import Scene
from slideloop.masks.cells import CellMask
from slideloop.masks.geojson import mask_features, write_geojson

SIDE, WIDTH, HEIGHT = 96, 1536, 1024
CLASSES = ("Tumor: Invasive", "腫瘍なし")
STUDY = "9c7f6f6e-6d0f-4f0b-9a52-1f1d8a1c0001"
N_CELLS = 300
SHARED = Path(__file__).parents[3] / "shared" / "data" / "qupath_projects" / "v0.6.0-rc3"
N_KILLS = 17
"""In each of three versions."""


def mask(seed: int = 0) -> CellMask:
    """A mask of random cells of `small.tif`."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, (HEIGHT // SIDE, WIDTH // SIDE)).astype(np.int16)
    probability = rng.uniform(0.5, 1, label.shape).astype(np.float32)
    return CellMask(label, probability, CLASSES, SIDE, SIDE, WIDTH, HEIGHT)


def write_mask(folder: Path, name: str, seed: int = 0, kind: Any = "detections") -> dict[str, Any]:
    """Write one as `predict` does, and return it."""
    folder.mkdir(exist_ok=True)
    collection = mask_features(mask(seed), STUDY, CLASSES, kind)
    write_geojson(collection, folder / f"{name}.geojson")
    return collection


@dataclass
class Place:
    """A project of its own for each test.

    Attributes
    ----------
    qupath : QuPath
    folder, home : Path
    ids : dict of str
        Entry ids by the images' names.
    """

    qupath: QuPath
    folder: Path
    home: Path
    ids: dict[str, str] = field(default_factory=dict[str, str])

    def __call__(self, command: str, *arguments: Any) -> Outcome:
        """Run `slideloop project COMMAND` on it."""
        return slideloop("project", command, self.folder, *arguments)

    def import_(self, *arguments: Any) -> Outcome:
        """Import, although the test made the project just now."""
        return self("import", "--force", *arguments)

    def objects(self, name: str) -> list[dict[str, Any]]:
        """What QuPath reads of an image."""
        return self.read()["objects"][self.ids[name]]

    def check(self) -> dict[str, dict[str, Any]]:
        """What `project check` says of each image, by its name."""
        found = json.loads(self("check", "--json").out)
        by_id = {row["id"]: row for row in found["images"]}
        return {name: by_id[id_] for name, id_ in self.ids.items()}

    def edit(self, name: str, **edits: Any) -> None:
        """Edit objects of an image in QuPath."""
        self.qupath.run("edit", self.home, project=str(self.folder), entry=self.ids[name], **edits)

    def read(self) -> dict[str, Any]:
        """What QuPath reads of all images."""
        return self.qupath.run("objects", self.home, project=str(self.folder))


@pytest.fixture(scope="module")
def made(qupath: QuPath, small_slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A project of images in all states, to be copied."""
    home = tmp_path_factory.mktemp("made")
    for name in ("one.tif", "two.tif", "gone.tif", "other stem.tif", "left.tif", "drawn.tif"):
        shutil.copyfile(small_slides / "small.tif", home / name)
    for name in ("two.tif", "left.tif", "drawn.tif"):
        with (home / name).open("ab") as file:
            file.write(b"\0")  # another content, the same picture
    images = [
        {"file": str(home / "one.tif"), "name": "one.tif", "n": N_CELLS},
        {"file": str(home / "two.tif"), "name": "twin", "n": 0},
        {"file": str(home / "other stem.tif"), "name": "twin"},
        {"file": str(small_slides / "small.tif"), "name": "small.tif"},
        {"file": str(home / "gone.tif"), "name": "gone.tif", "n": 2},
        {"file": str(home / "left.tif"), "name": "left.tif", "n": 0, "patches": 3},
        {"file": str(home / "two.tif"), "name": "turned.tif", "rotated": True},
        {"file": str(home / "scanned.scn"), "name": "scanned.scn"},
        {
            "file": str(home / "drawn.tif"),
            "name": "drawn.tif",
            "n": 3,
            "truth": str(small_slides / "small.geojson"),
        },
        {"file": str(home / "scanned.scn"), "name": "uncropped", "args": ["--no-crop"]},
    ]
    pixels = Scene(3, WIDTH, HEIGHT).pixels(0, 0, WIDTH, HEIGHT)
    write_scn(home / "scanned.scn", pixels, 300, 200)
    (home / "project").mkdir()
    ids = qupath.run("project", home, project=str(home / "project"), images=images)
    (home / "gone.tif").unlink()
    return Place(qupath, home / "project", home, ids)


@pytest.fixture
def place(made: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of it."""
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(made.qupath.folder))
    folder = tmp_path / "project"
    shutil.copytree(made.folder, folder)
    return Place(made.qupath, folder, tmp_path, made.ids)


def _others(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((each for each in objects if each.get("name") != f"slideloop/{STUDY}"), key=str)


def _ours(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in objects if each.get("name") == f"slideloop/{STUDY}"]


def test_a_mask_comes_in_whole_and_leaves_all_others_as_they_were(place: Place) -> None:
    before = place.read()
    collection = write_mask(place.home / "masks", "one")
    outcome = place.import_("--geojson", place.home / "masks", "--json")
    assert outcome.code == 0, outcome.err
    (row,) = json.loads(outcome.out)["rows"]
    assert (row["image"], row["by"], row["n_removed"]) == ("one.tif", "name without ending", 0)
    after = place.read()
    found = after["objects"][place.ids["one.tif"]]
    assert _others(found) == _others(before["objects"][place.ids["one.tif"]])
    assert len(_others(found)) == N_CELLS + 1
    wanted = {each["id"]: each for each in collection["features"]}
    assert {each["id"] for each in _ours(found)} == wanted.keys()
    for each in _ours(found):
        feature = wanted[each["id"]]
        assert each["class"] == (feature["properties"]["classification"].get("name") or CLASSES[0])
        probability = feature["properties"]["measurements"]["slideloop probability"]
        assert each["measurements"] == {"slideloop probability": pytest.approx(probability)}
        assert shapely.from_wkt(each["shape"]).equals(shapely.geometry.shape(feature["geometry"]))
        assert (each["type"], each["locked"]) == ("PathDetectionObject", False)
    rest = set(place.ids.values()) - {place.ids["one.tif"]}
    assert all(after["objects"][id_] == before["objects"][id_] for id_ in rest)
    assert after["classes"][:2] == before["classes"]
    assert {name for name, _ in after["classes"][2:]} == set(CLASSES)


def test_a_second_import_is_asked_for_and_replaces_the_first_alone(place: Place) -> None:
    write_mask(place.home / "masks", "one")
    assert place.import_("--geojson", place.home / "masks").code == 0
    again = place.import_("--geojson", place.home / "masks")
    assert again.code == 3
    assert "--replace" in again.out
    before = place.objects("one.tif")
    collection = write_mask(place.home / "masks", "one", seed=1)
    assert place.import_("--geojson", place.home / "masks", "--replace").code == 0
    after = place.objects("one.tif")
    assert _others(after) == _others(before)
    assert {each["id"] for each in _ours(after)} == {e["id"] for e in collection["features"]}


def test_restore_puts_back_what_was_there_byte_by_byte(place: Place) -> None:
    data = place.folder / "data" / place.ids["one.tif"] / "data.qpdata"
    before = data.read_bytes()
    write_mask(place.home / "masks", "one")
    assert place.import_("--geojson", place.home / "masks").code == 0
    imported = data.read_bytes()
    assert imported != before
    outcome = place("restore", "--image", "one.tif", "--json")
    assert outcome.code == 0, outcome.err
    assert data.read_bytes() == before
    (row,) = json.loads(outcome.out)
    (copy,) = Path(row["copy"]).rglob("data.qpdata")
    assert copy.read_bytes() == imported
    assert place("restore", "--image", "one.tif").code == 3


def test_restore_leaves_an_image_that_was_saved_since(place: Place) -> None:
    write_mask(place.home / "masks", "one")
    assert place.import_("--geojson", place.home / "masks").code == 0
    data = place.folder / "data" / place.ids["one.tif"] / "data.qpdata"
    data.write_bytes(data.read_bytes() + b"\0")
    edited = data.read_bytes()
    outcome = place("restore", "--image", "one.tif")
    assert outcome.code == 3
    assert "was saved since the import" in outcome.out
    assert data.read_bytes() == edited


def test_annotations_are_locked_and_tiles_are_squares(place: Place) -> None:
    masks = place.home / "masks"
    write_mask(masks, "one", kind="annotations")
    assert place.import_("--geojson", masks).code == 0
    ours = _ours(place.objects("one.tif"))
    assert {(each["type"], each["locked"]) for each in ours} == {("PathAnnotationObject", True)}
    write_mask(masks, "one", kind="tiles")
    assert place.import_("--geojson", masks, "--replace").code == 0
    ours = _ours(place.objects("one.tif"))
    assert {each["type"] for each in ours} == {"PathTileObject"}
    wanted = mask_features(mask(), STUDY, CLASSES, "tiles")["features"]
    squares = {each["id"]: shapely.geometry.shape(each["geometry"]) for each in wanted}
    assert len(ours) == len(squares) == mask().label.size
    assert all(shapely.from_wkt(each["shape"]).equals(squares[each["id"]]) for each in ours)


def test_a_slide_is_known_by_its_content_whatever_it_is_called(
    place: Place, small_slides: Path
) -> None:
    import hashlib

    mark = hashlib.sha256((small_slides / "small.tif").read_bytes()).hexdigest()[:8]
    write_mask(place.home / "masks", f"whatever-{mark}")
    outcome = place.import_("--geojson", place.home / "masks", "--dry-run", "--json")
    (row,) = json.loads(outcome.out)["rows"]
    # `one.tif`, `other stem.tif` and `small.tif` are the same picture.
    assert outcome.code == 3
    assert {each["name"] for each in row["candidates"]} == {"one.tif", "twin", "small.tif"}


def test_of_two_images_of_one_name_neither_is_chosen_but_by_the_user(place: Place) -> None:
    masks = place.home / "masks"
    write_mask(masks, "twin")
    outcome = place.import_("--geojson", masks)
    assert outcome.code == 3
    assert "2 images fit by name" in outcome.out
    decision = place.home / "match.csv"
    decision.write_text(f"mask,image\ntwin.geojson,{place.ids['one.tif']}\n", "utf-8")
    assert place.import_("--geojson", masks, "--match", decision).code == 0
    assert len(_ours(place.objects("one.tif"))) == len(
        mask_features(mask(), STUDY, CLASSES)["features"]
    )


def test_a_mask_lies_where_qupath_shows_the_scanned_area_or_nowhere(place: Place) -> None:
    masks = place.home / "masks"
    for name in ("scanned", "uncropped"):
        write_mask(masks, name)
    outcome = place.import_("--geojson", masks, "--json")
    rows = {row["image"]: row for row in json.loads(outcome.out)["rows"]}
    assert rows["scanned.scn"]["pixels"] == "same"
    assert len(place.objects("scanned.scn")) == rows["scanned.scn"]["n_added"]
    assert rows["uncropped"]["code"] == "slide_size_differs"
    assert place.objects("uncropped") == []


def test_what_was_edited_since_stays_and_the_rest_is_replaced(place: Place) -> None:
    masks = place.home / "masks"
    write_mask(masks, "one")
    assert place.import_("--geojson", masks).code == 0
    first = {each["id"]: each for each in _ours(place.objects("one.tif"))}
    reclassified, moved, removed, *_ = sorted(first)
    place.edit("one.tif", classes={reclassified: "Stroma"}, moved=[moved], removed=[removed])
    (found,) = place.check()["one.tif"]["masks"].values()
    assert found == {"n_as_made": len(first) - 3, "n_edited": 2}
    outcome = place.import_("--geojson", masks, "--replace", "--json")
    (row,) = json.loads(outcome.out)["rows"]
    kept = {key: row[key] for key in ("n_removed", "n_added", "n_edited_kept", "n_left_out")}
    n = len(first)
    assert kept == {"n_removed": n - 3, "n_added": n - 2, "n_edited_kept": 2, "n_left_out": 2}
    after = {each["id"]: each for each in _ours(place.objects("one.tif"))}
    assert after.keys() == first.keys()
    assert after[reclassified]["class"] == "Stroma"
    assert after[moved]["shape"] != first[moved]["shape"]
    assert place.import_("--geojson", masks, "--discard-edits").code == 0
    assert {each["id"]: each for each in _ours(place.objects("one.tif"))} == first


def test_a_class_that_was_renamed_in_qupath_counts_as_edited(place: Place) -> None:
    masks = place.home / "masks"
    write_mask(masks, "one")
    assert place.import_("--geojson", masks).code == 0
    n = len([each for each in _ours(place.objects("one.tif")) if each["class"] == CLASSES[1]])
    place.edit("one.tif", renamed={CLASSES[1]: "Stroma"})
    outcome = place.import_("--geojson", masks, "--replace", "--json")
    (row,) = json.loads(outcome.out)["rows"]
    assert (row["n_edited_kept"], row["n_left_out"]) == (n, n)
    classes = [each["class"] for each in _ours(place.objects("one.tif"))]
    assert (classes.count("Stroma"), classes.count(CLASSES[1])) == (n, 0)


def test_outlines_that_cross_themselves_and_classes_without_colour_come_in_mended(
    place: Place,
) -> None:
    bow = [[96, 96], [288, 288], [288, 96], [96, 288], [96, 96]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [bow]},
        "properties": {
            "objectType": "detection",
            "name": f"slideloop/{STUDY}",
            "classification": {"name": "Tumor"},
        },
    }
    (place.home / "one.geojson").write_text(json.dumps([feature]), "utf-8")
    assert place.import_("--geojson", place.home / "one.geojson").code == 0
    ours = _ours(place.objects("one.tif"))
    shapes = [shapely.from_wkt(each["shape"]) for each in ours]
    assert all(shape.is_valid for shape in shapes)
    assert sum(shape.area for shape in shapes) == pytest.approx(192 * 192 / 2)
    assert {each["class"] for each in ours} == {"Tumor"}


def test_an_image_of_two_files_is_said_and_the_others_come_in(place: Place) -> None:
    file = place.folder / "project.qpproj"
    content = json.loads(file.read_bytes())
    (two,) = [each for each in content["images"] if str(each["entryID"]) == place.ids["small.tif"]]
    builder = two["serverBuilder"]
    builder["uris"] = [builder.pop("uri")] * 2
    file.write_text(json.dumps(content), "utf-8")
    for name in ("one", "small"):
        write_mask(place.home / "masks", name)
    outcome = place.import_("--geojson", place.home / "masks", "--json")
    rows = {row["image"]: row for row in json.loads(outcome.out)["rows"]}
    assert rows["small.tif"]["code"] == "image_remote"
    assert rows["one.tif"]["n_added"] == len(_ours(place.objects("one.tif")))


def test_a_project_that_was_moved_with_its_images_gets_its_masks(
    place: Place, small_slides: Path
) -> None:
    # As copied from a colleague's machine: what it says of the old places leads nowhere.
    file = place.folder / "project.qpproj"
    old = "file:/Z:/Study%20%C3%BC/"
    content = json.loads(file.read_bytes())
    content["uri"] = f"{old}project/project.qpproj"
    for each in content["images"]:
        if str(each["entryID"]) == place.ids["one.tif"]:
            each["serverBuilder"]["uri"] = f"{old}slides/one.tif"
    file.write_text(json.dumps(content), "utf-8")
    here = place.folder.parent / "slides" / "one.tif"
    here.parent.mkdir()
    shutil.copyfile(small_slides / "small.tif", here)
    row = place.check()["one.tif"]
    assert (row["is_moved"], row["path"]) == (True, str(here))
    before = file.read_bytes()
    write_mask(place.home / "masks", "one")
    outcome = place.import_("--geojson", place.home / "masks", "--json")
    assert outcome.code == 0, outcome.out
    (row,) = json.loads(outcome.out)["rows"]
    assert row["pixels"] == "same"
    assert len(_ours(place.objects("one.tif"))) == row["n_added"]
    assert len(_others(place.objects("one.tif"))) == N_CELLS + 1
    assert file.read_bytes() == before


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/data/qupath_projects is not here")
def test_a_project_of_a_release_candidate_is_read_and_nothing_in_it_changes(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "candidate"
    shutil.copytree(SHARED, folder)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    outcome = slideloop("project", "check", folder, "--json")
    assert outcome.code == 3
    rows = json.loads(outcome.out)["images"]
    assert len(rows) == 107
    assert {row["code"] for row in rows} == {"image_missing"}
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_check_tells_each_state_and_changes_nothing(place: Place) -> None:
    files = {file: file.stat() for file in place.folder.rglob("*")}
    rows = place.check()
    assert {file: file.stat() for file in place.folder.rglob("*")}.keys() == files.keys()
    for file, stat in files.items():
        assert (file.stat().st_mtime_ns, file.stat().st_size) == (stat.st_mtime_ns, stat.st_size)
    codes = {name: row["code"] for name, row in rows.items() if "code" in row}
    assert codes == {
        "gone.tif": "image_missing",
        "turned.tif": "server_type_unsupported",
        "uncropped": "slide_size_differs",
    }
    assert {rows[name]["pixels"] for name in ("one.tif", "small.tif", "scanned.scn")} == {"same"}
    assert all(rows[name]["is_readable"] for name in ("one.tif", "small.tif", "scanned.scn"))
    assert (rows["one.tif"]["n_objects"], rows["one.tif"]["masks"]) == (N_CELLS + 1, {})
    assert (rows["left.tif"]["n_objects"], rows["left.tif"]["n_temporary"]) == (1, 3)
    assert (rows["small.tif"]["has_data"], rows["small.tif"]["n_objects"]) == (False, 0)


def test_check_tells_a_mask_that_somebody_saved_over(place: Place) -> None:
    data = place.folder / "data" / place.ids["one.tif"] / "data.qpdata"
    before = data.read_bytes()
    write_mask(place.home / "masks", "one")
    assert place.import_("--geojson", place.home / "masks").code == 0
    assert place.check()["one.tif"]["imported"] == "as_imported"
    # As a QuPath does that had the image open all the time.
    data.write_bytes(before)
    place.edit("one.tif")
    assert place.check()["one.tif"]["imported"] == "overwritten"
    assert "somebody saved over it" in place("check").out


def test_what_cannot_be_imported_is_said_and_the_others_are(place: Place) -> None:
    masks = place.home / "masks"
    for name in ("one", "gone", "turned", "unknown"):
        write_mask(masks, name)
    outcome = place.import_("--geojson", masks, "--json")
    assert outcome.code == 3
    rows = {row["mask"]: row for row in json.loads(outcome.out)["rows"]}
    codes = {name: row.get("code") for name, row in rows.items()}
    assert codes == {
        "one.geojson": None,
        "gone.geojson": "image_missing",
        "turned.geojson": "server_type_unsupported",
        "unknown.geojson": "no_image",
    }
    assert _ours(place.objects("one.tif"))


def test_a_mask_of_a_larger_slide_is_refused(place: Place) -> None:
    collection = mask_features(mask(), STUDY, CLASSES)
    collection["features"][0]["geometry"]["coordinates"] = [
        [[0, 0], [WIDTH + 1, 0], [WIDTH + 1, 96], [0, 96], [0, 0]]
    ]
    write_geojson(collection, place.home / "one.geojson")
    outcome = place.import_("--geojson", place.home / "one.geojson", "--json")
    assert outcome.code == 3
    (row,) = json.loads(outcome.out)["rows"]
    assert row["code"] == "outside_slide"


def test_an_unreadable_data_file_is_never_overwritten(place: Place) -> None:
    data = place.folder / "data" / place.ids["one.tif"] / "data.qpdata"
    damaged = data.read_bytes()[:200]
    data.write_bytes(damaged)
    write_mask(place.home / "masks", "one")
    outcome = place.import_("--geojson", place.home / "masks", "--json")
    assert outcome.code == 3
    (row,) = json.loads(outcome.out)["rows"]
    assert row["code"] == "data_unreadable"
    assert data.read_bytes() == damaged


def test_a_file_damaged_in_the_middle_keeps_no_other_image_from_its_mask(place: Place) -> None:
    data = place.folder / "data" / place.ids["one.tif"] / "data.qpdata"
    content = bytearray(data.read_bytes())
    for at in range(len(content) // 4, 3 * len(content) // 4, 7):
        content[at] ^= 0x5A
    data.write_bytes(content)
    for name in ("one", "small"):
        write_mask(place.home / "masks", name)
    outcome = place.import_("--geojson", place.home / "masks", "--json")
    assert outcome.code == 3
    rows = {row["image"]: row for row in json.loads(outcome.out)["rows"]}
    assert "problem" in rows["one.tif"]
    assert data.read_bytes() == content
    assert rows["small.tif"]["n_added"] == rows["small.tif"]["n_objects"]


def test_an_image_that_was_never_opened_gets_its_first_objects(place: Place) -> None:
    collection = write_mask(place.home / "masks", "small")
    outcome = place.import_("--geojson", place.home / "masks")
    assert outcome.code == 0, outcome.out
    assert len(place.objects("small.tif")) == len(collection["features"])
    assert place("restore", "--image", "small.tif").code == 0
    assert place.objects("small.tif") == []


def test_a_project_saved_just_now_is_left_alone(place: Place) -> None:
    write_mask(place.home / "masks", "one")
    (place.folder / "project.qpproj").touch()
    outcome = place("import", "--geojson", place.home / "masks")
    assert outcome.code == 2
    assert "--force" in outcome.err


def test_a_project_of_a_newer_qupath_is_left_alone(place: Place) -> None:
    file = place.folder / "project.qpproj"
    content = json.loads(file.read_bytes())
    content["version"] = "0.99.0"
    file.write_text(json.dumps(content), "utf-8")
    write_mask(place.home / "masks", "one")
    outcome = place.import_("--geojson", place.home / "masks")
    assert outcome.code == 2
    assert "0.99.0" in outcome.err


def test_left_over_patches_are_removed_and_nothing_else(place: Place) -> None:
    data = place.folder / "data" / place.ids["one.tif"] / "data.qpdata"
    before, untouched = place.objects("left.tif"), data.read_bytes()
    assert len(before) == 4
    outcome = place("clean", "--force", "--json")
    assert outcome.code == 3
    rows = {row["image"]: row for row in json.loads(outcome.out)["rows"]}
    assert rows["left.tif"]["n_removed"] == 3
    assert rows["gone.tif"]["code"] == "image_missing"
    assert place.objects("left.tif") == [each for each in before if each.get("name")]
    assert data.read_bytes() == untouched
    again = json.loads(place("clean", "--force", "--json").out)["rows"]
    assert {row.get("n_removed", 0) for row in again} == {0}


def test_a_study_goes_through_the_project_and_goes_on_where_it_was(
    place: Place, small_workspace: Path, small_journal: Path
) -> None:
    command = (
        "--force",
        "--study",
        small_journal,
        "--workspace",
        small_workspace,
        "--json",
        *QUICK,
    )
    first = place("run", *command, "--only", "small.tif")
    assert first.code == 0, first.err
    before = place.objects("small.tif")
    assert before
    rows = {row["entry"]: row for row in json.loads(place("run", *command).out)}
    names = {name: rows[id_] for name, id_ in place.ids.items()}
    assert "objects of this study already" in names["small.tif"]["skipped"]
    assert "altered" in names["turned.tif"]["skipped"]
    assert "is not at" in names["gone.tif"]["skipped"]
    assert names["one.tif"]["n_added"] == len(before)
    assert place.objects("small.tif") == before
    ours = [each for each in place.objects("one.tif") if each["type"] == "PathDetectionObject"]
    # The same picture as the study's own slide, to which the given labels belong too.
    assert len([each for each in ours if each["class"] == "Tumor"]) == names["one.tif"]["n_added"]


def test_a_simulated_expert_answers_by_what_is_annotated(
    place: Place, small_slides: Path, small_workspace: Path, small_journal: Path
) -> None:
    before = {file: file.read_bytes() for file in place.folder.rglob("*") if file.is_file()}
    common = ("--workspace", small_workspace, *QUICK)
    outcome = place(
        "run", "--study", small_journal, "--truth-from-annotations", "--out", place.home / "by",
        *common,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "one.tif is left out" in outcome.err
    after = {file: file.read_bytes() for file in place.folder.rglob("*") if file.is_file()}
    assert after == before
    wanted = slideloop(
        "simulate", small_slides / "small.tif", "--truth", small_slides / "small.geojson",
        "--positive", "Tumor", "--strategy", "random", "--queries", 1, "--rounds", 1, "--k", 8,
        "--out", place.home / "wanted", *common,
    )  # fmt: skip
    assert wanted.code == 0, wanted.err
    runs = [json.loads((place.home / name / "result.json").read_bytes())["runs"]
            for name in ("by", "wanted")]  # fmt: skip
    assert len(runs[0]) == len(runs[1]) == 3
    for ours, theirs in zip(*runs, strict=True):
        f1 = [[point["f1"] for point in run["curve"]] for run in (ours, theirs)]
        assert f1[0] == f1[1]


@pytest.mark.timeout(900)
def test_killed_at_any_moment_it_leaves_every_object_that_was_there(place: Place) -> None:
    before = place.read()["objects"]
    write_mask(place.home / "masks", "one")
    write_mask(place.home / "masks", "small")
    command = [sys.executable, "-m", "slideloop.cli.main", "project", "import", str(place.folder)]
    command += ["--force", "--replace", "--geojson", str(place.home / "masks")]
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole_s = time.monotonic() - start
    after = place.read()["objects"]
    chance = random.Random(place.qupath.version)
    for _ in range(N_KILLS):
        place("restore")
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        # Most of it is QuPath's start; what is written is written near the end.
        time.sleep(whole_s * (1 - chance.random() ** 2 * 0.9))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    found = place.read()["objects"]
    for id_, objects in found.items():
        assert _others(objects) == _others(before[id_])
        assert _ours(objects) in ([], _ours(after[id_]))
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert place.read()["objects"] == after
    assert not list((place.folder / "slideloop").glob("work-*"))


def test_the_scripts_and_the_command_line_replace_each_others_masks(
    place: Place, indexed_site: Site
) -> None:
    indexed_site.served.start()
    study, api = indexed_site.learnt(), indexed_site.served.api
    given = {"url": indexed_site.served.url, "study": study, "slide": indexed_site.slide}
    given |= {"project": str(place.folder), "entry": place.ids["small.tif"]}
    first = place.qupath.run("import", place.home, **given)
    made = place.objects("small.tif")
    assert (first["removed"], first["added"]) == (0, len(made))
    path = f"/studies/{study}/prediction?slide={indexed_site.slide}&format=geojson"
    collection = {key: value for key, value in api("GET", path).items() if key != "status"}
    mask = place.home / "small.geojson"
    mask.write_text(json.dumps(collection), "utf-8")
    assert place.import_("--geojson", mask).code == 3
    outcome = place.import_("--geojson", mask, "--replace", "--json")
    (row,) = json.loads(outcome.out)["rows"]
    assert (row["n_removed"], row["n_added"], row["n_edited_kept"]) == (len(made), len(made), 0)
    again = place.qupath.run("import", place.home, **given)
    assert (again["removed"], again["added"]) == (len(made), len(made))
    after = place.objects("small.tif")
    assert sorted(after, key=str) == sorted(made, key=str)


@dataclass
class Headless:
    """The script that goes through a project without windows.

    Attributes
    ----------
    place : Place
    home : Path
        Where QuPath keeps the library's classes from one test to the next.
    settings : dict
        Of a run; a test changes them.
    """

    place: Place
    home: Path
    settings: dict[str, Any]

    def __call__(self, **changes: Any) -> tuple[dict[str, dict[str, Any]], bool, str]:
        """Run it; return the rows by image, whether all went well, and what it said."""
        file = self.place.home / "batch.json"
        file.write_text(json.dumps(self.settings | changes), "utf-8")
        script = LIB.parent / "slideloop_project.groovy"
        done = self.place.qupath.script(script, self.home, file)
        said = done.stdout + done.stderr
        result = self.place.home / "batch-result.ndjson"
        lines = result.read_text("utf-8").splitlines() if result.exists() else []
        rows = {row["image"]: row for row in map(json.loads, lines)}
        return rows, result.with_name(f"{result.name}.done").exists(), said


@pytest.fixture
def headless(place: Place, made: Place, indexed_site: Site) -> Headless:
    """It, for the project of a test and a study that has learnt."""
    indexed_site.served.start()
    url, study = indexed_site.served.url, indexed_site.learnt()
    return Headless(
        place, made.home, {"project": "project", "study": study, "server": url, "force": True}
    )


def test_without_windows_each_image_is_predicted_and_imported_or_said_why_not(
    headless: Headless, indexed_site: Site
) -> None:
    place, study = headless.place, headless.settings["study"]
    before = place.read()["objects"]
    rows, is_done, said = headless()
    assert not is_done, said
    assert rows.keys() == place.ids.keys()
    path = f"/studies/{study}/prediction?slide={indexed_site.slide}&format=geojson"
    wanted = {each["id"] for each in indexed_site.served.api("GET", path)["features"]}
    assert rows["small.tif"]["n_added"] == len(wanted)
    assert "problem" in rows["gone.tif"]
    assert "Rotate" in rows["turned.tif"]["skipped"]
    # Outside the folders that the server reads.
    assert rows["one.tif"]["code"] == "file_not_found"
    after = place.read()["objects"]
    small = place.ids["small.tif"]
    assert {each["id"] for each in after.pop(small)} == wanted
    assert after == {id_: found for id_, found in before.items() if id_ != small}
    assert place("restore", "--image", "small.tif").code == 0
    assert place.objects("small.tif") == []


def test_without_windows_a_mask_is_replaced_only_when_asked(headless: Headless) -> None:
    rows, is_done, said = headless(images=["small.tif"])
    assert is_done, said
    n = rows["small.tif"]["n_added"]
    rows, is_done, _ = headless(images=["small.tif"])
    assert is_done
    assert "objects of this study already" in rows["small.tif"]["skipped"]
    rows, is_done, _ = headless(images=["small.tif"], replace=True, **{"as": "tiles"})
    assert is_done
    assert rows["small.tif"]["n_removed"] == n
    assert {each["type"] for each in headless.place.objects("small.tif")} == {"PathTileObject"}


def test_without_windows_what_cannot_be_done_at_all_is_said(headless: Headless) -> None:
    (headless.place.folder / "project.qpproj").touch()
    for changes, words in (
        ({"project": "nowhere"}, "There is no project"),
        ({"images": ["nowhere.tif"]}, "The project has no images nowhere.tif"),
        ({"force": False}, "was saved within the last five minutes"),
        ({"strategy": "cnfp"}, "which is no setting"),
        ({"server": "http://127.0.0.1:9"}, "does not answer"),
    ):
        rows, is_done, said = headless(**changes)
        assert (rows, is_done) == ({}, False)
        assert words in said


def test_the_server_imports_behind_a_request(place: Place, indexed_site: Site) -> None:
    indexed_site.served.start()
    api = indexed_site.served.api
    study = indexed_site.learnt()
    folder = indexed_site.root / f"project-{uuid.uuid4().hex[:8]}"
    shutil.copytree(place.folder, folder)
    (folder / "project.qpproj").touch()
    body = {"project": str(folder / "project.qpproj"), "study": study}
    refused = api("POST", "/imports", **body)
    assert (refused["status"], refused["code"]) == (409, "project_open")
    long_ago = time.time() - 1000
    for file in (folder / "project.qpproj", *folder.rglob("data.qpdata")):
        os.utime(file, (long_ago, long_ago))
    body["event_id"] = str(uuid.uuid4())
    started = api("POST", "/imports", **body)
    job = api("GET", f"/jobs/{started['job']['id']}?wait=60")
    assert job["state"] == "done", job
    (row,) = job["result"]["rows"]
    assert (row["image"], row["by"]) == ("small.tif", "file")
    path = f"/studies/{study}/prediction?slide={indexed_site.slide}&format=geojson"
    wanted = {each["id"] for each in api("GET", path)["features"]}
    copied = Place(place.qupath, folder, place.home, place.ids)
    assert {each["id"] for each in copied.objects("small.tif")} == wanted
    again = api("POST", "/imports", **body)
    assert again["job"]["id"] == started["job"]["id"]
    shutil.rmtree(folder)
