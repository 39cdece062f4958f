"""`slideloop project` where there is no QuPath: what it refuses, and how it says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.command_line import QUICK, Outcome, slideloop
from tests.unit.qupath.projects import entry, write_project

from slideloop.masks.geojson import write_geojson
from slideloop.qupath.project_file import SUMMARY, ProjectFile

STUDY = "9c7f6f6e-6d0f-4f0b-9a52-1f1d8a1c0001"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectFile:
    """A project whose first image is there."""
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path / "no-qupath"))
    slide = tmp_path / "a.svs"
    slide.write_bytes(b"slide")
    return write_project(
        tmp_path / "project", entry(1, "a.svs", slide.as_uri()), entry(2, "gone.svs")
    )


def write_mask(path: Path, width: int = 96, study: str = STUDY) -> Path:
    square = [[0, 0], [width, 0], [width, 96], [0, 96], [0, 0]]
    properties: dict[str, Any] = {"objectType": "detection", "name": f"slideloop/{study}"}
    properties["classification"] = {"name": "Tumor", "color": [200, 0, 0]}
    geometry = {"type": "Polygon", "coordinates": [square]}
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    write_geojson({"type": "FeatureCollection", "features": [feature]}, path)
    return path


def test_check_lists_all_images_and_changes_nothing(project: ProjectFile) -> None:
    before = sorted(project.folder.rglob("*"))
    outcome = slideloop("project", "check", project.folder, "--json")
    assert outcome.code == 3
    found = json.loads(outcome.out)
    assert [(each["name"], each.get("code")) for each in found["images"]] == [
        ("a.svs", None),
        ("gone.svs", "image_missing"),
    ]
    assert found["classes"] == ["Tumor", "Tumor: In situ"]
    assert sorted(project.folder.rglob("*")) == before
    assert "gone.svs: The image's file is not at" in slideloop("project", "check", project.file).out


def test_check_says_what_it_cannot_read_and_what_has_another_size(
    tmp_path: Path, small_slides: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path / "no-qupath"))
    (tmp_path / "a.svs").write_bytes(b"slide")
    larger = entry(3, "larger", (small_slides / "small.tif").as_uri())
    larger["serverBuilder"]["metadata"]["width"] += 1
    project = write_project(
        tmp_path / "project",
        entry(1, "a.svs", (tmp_path / "a.svs").as_uri()),
        entry(2, "small.tif", (small_slides / "small.tif").as_uri()),
        larger,
    )
    outcome = slideloop("project", "check", project.folder, "--json")
    assert outcome.code == 3
    assert "No QuPath was found" in outcome.err
    rows = json.loads(outcome.out)["images"]
    assert [row["is_readable"] for row in rows] == [False, True, True]
    assert [row.get("code") for row in rows] == [None, None, "slide_size_differs"]
    assert "not read by slideloop" in slideloop("project", "check", project.folder).out


def test_a_dry_run_needs_no_qupath(project: ProjectFile, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "a.geojson")
    outcome = slideloop("project", "import", project.folder, "--geojson", mask, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert (
        outcome.out == "a.geojson -> a.svs (by name without ending): 1 detections would be added\n"
    )
    assert "1 image is written, which needs up to 67 MB for copies" in outcome.err


def test_an_import_names_what_is_missing_and_leaves_nothing(
    project: ProjectFile, tmp_path: Path
) -> None:
    before = sorted(project.folder.rglob("*"))
    mask = write_mask(tmp_path / "a.geojson")
    outcome = slideloop("project", "import", project.folder, "--geojson", mask)
    assert outcome.code == 2
    assert "PAQUO_QUPATH_DIR" in outcome.err
    assert sorted(project.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give either --geojson or --study."),
        (("--geojson", "{masks}", "--as", "tiles"), "--as goes with --study"),
        (("--geojson", "{masks}/empty"), "There is no GeoJSON in"),
        (("--geojson", "{masks}", "--match", "{masks}/match.csv"), "names masks that are not here"),
        (("--geojson", "{masks}/two"), "of several studies"),
    ],
)
def test_wrong_use_is_said_in_a_sentence(
    project: ProjectFile, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    masks = tmp_path / "masks"
    for folder in (masks / "empty", masks / "two"):
        folder.mkdir(parents=True)
    write_mask(masks / "a.geojson")
    write_mask(masks / "two" / "a.geojson")
    write_mask(masks / "two" / "b.geojson", study="another")
    (masks / "match.csv").write_text("nowhere.geojson,1\n", "utf-8")
    given = [each.format(masks=masks) for each in arguments]
    outcome = slideloop("project", "import", project.folder, *given)
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.out == ""


def test_classes_that_were_not_asked_for_stay_out(project: ProjectFile, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "a.geojson")
    outcome = slideloop(
        "project", "import", project.folder, "--geojson", mask, "--dry-run", "--classes", "Stroma"
    )
    assert outcome.code == 0
    assert "0 detections would be added" in outcome.out


def test_a_qupath_that_paquo_cannot_use_is_named_and_nothing_is_left(
    project: ProjectFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jars = tmp_path / "QuPath" / "lib" / "app"
    jars.mkdir(parents=True)
    (jars / "qupath-core-0.7.0.jar").touch()
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path / "QuPath"))
    mask = write_mask(tmp_path / "a.geojson")
    outcome = slideloop("project", "import", project.folder, "--force", "--geojson", mask)
    assert outcome.code == 2
    assert f"paquo cannot use the QuPath in {tmp_path / 'QuPath'}" in outcome.err
    assert [each.name for each in (project.folder / "slideloop").iterdir()] == ["lock"]
    checked = slideloop("project", "check", project.folder, "--json")
    assert "paquo cannot use the QuPath" in checked.err
    assert [row["name"] for row in json.loads(checked.out)["images"]] == ["a.svs", "gone.svs"]


def test_there_is_nothing_to_restore_before_an_import(project: ProjectFile) -> None:
    outcome = slideloop("project", "restore", project.folder)
    assert outcome.code == 2
    assert "No import of slideloop" in outcome.err
    named = slideloop("project", "restore", project.folder, "--image", "nowhere.svs")
    assert named.code == 2
    assert "no images called nowhere.svs" in named.err


# A study that goes through a project ------------------------------------------------------------


@pytest.fixture
def through(
    tmp_path: Path,
    small_slides: Path,
    small_workspace: Path,
    small_journal: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Outcome]:
    """Go through a project of slides, and of images that are none, where there is no QuPath."""
    fluorescence = entry(3, "stained.tif", (small_slides / "small.tif").as_uri())
    project = write_project(
        tmp_path / "project",
        entry(1, "small.tif", (small_slides / "small.tif").as_uri(), metadata={"set": "one"}),
        entry(2, "other.tif", (small_slides / "other.tif").as_uri()),
        fluorescence,
        entry(4, "slide - label", (small_slides / "small.tif").as_uri()),
        entry(5, "gone.tif"),
    )
    summary = project.images[2].folder / SUMMARY
    summary.write_text('{"imageType": "FLUORESCENCE"}', "utf-8")

    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path / "no-qupath"))

    def run(*arguments: Any) -> Outcome:
        return slideloop(
            "project", "run", project.folder, "--study", small_journal,
            "--workspace", small_workspace, *QUICK, *arguments,
        )  # fmt: skip

    return run


def test_what_is_no_slide_is_skipped_with_the_reason(through: Callable[..., Outcome]) -> None:
    outcome = through("--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    rows = {row["image"]: row for row in json.loads(outcome.out)}
    assert rows["small.tif"]["n_grid"] == rows["other.tif"]["n_grid"] == 160
    assert rows["small.tif"]["at_most_s"] > 0
    assert "FLUORESCENCE" in rows["stained.tif"]["skipped"]
    assert "label" in rows["slide - label"]["skipped"]
    assert "is not at" in rows["gone.tif"]["skipped"]
    assert "h at most" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--only", "o*.tif"), {"other.tif"}),
        (("--metadata", "set=one"), {"small.tif"}),
        (("--list", "{list}"), {"small.tif", "other.tif"}),
    ],
)
def test_some_images_are_chosen(
    through: Callable[..., Outcome], tmp_path: Path, arguments: tuple[str, ...], names: set[str]
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("small.tif\n\n2\n", "utf-8")
    outcome = through("--dry-run", "--json", *(each.format(list=listed) for each in arguments))
    assert {row["image"] for row in json.loads(outcome.out)} == names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--only", "nothing*"), "No image of the project is meant."),
        (("--metadata", "set"), "'set' is not KEY=VALUE."),
        (("--list", "{list}"), "The project has no images nowhere.tif."),
        (("--truth-from-annotations",), "--truth-from-annotations goes with --out DIR"),
        (("--truth-from-annotations", "--out", "{list}-out"), "PAQUO_QUPATH_DIR"),
        (("--dask", "tcp://localhost:1", "--out", "{list}-out"), "cluster"),
    ],
)
def test_a_choice_of_nothing_is_said(
    through: Callable[..., Outcome], tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("nowhere.tif\n", "utf-8")
    outcome = through(*(each.format(list=listed) for each in arguments))
    assert outcome.code == 2
    assert words in outcome.err


def test_masks_are_written_for_a_machine_that_has_qupath_and_find_their_images_there(
    through: Callable[..., Outcome], tmp_path: Path
) -> None:
    project = tmp_path / "project" / "project.qpproj"
    content = json.loads(project.read_bytes()) | {"createTimestamp": 1748867913691}
    project.write_text(json.dumps(content), "utf-8")
    outcome = through("--out", tmp_path / "masks", "--only", "*.tif", "--json")
    assert outcome.code == 0, outcome.err
    rows = {row["image"]: row for row in json.loads(outcome.out) if "file" in row}
    assert rows.keys() == {"small.tif", "other.tif"}
    # On another machine, where the slides lie elsewhere and are called otherwise.
    for each in content["images"]:
        each["imageName"] = f"case {each['entryID']}"
        each["serverBuilder"]["uri"] = f"file:/elsewhere/{each['entryID']}.svs"
    project.write_text(json.dumps(content), "utf-8")
    command = ("project", "import", project, "--geojson", tmp_path / "masks", "--dry-run", "--json")
    found = {row["mask"]: row for row in json.loads(slideloop(*command).out)["rows"]}
    for row in rows.values():
        entry_of_it = found[Path(row["file"]).name]
        assert (entry_of_it["entry"], entry_of_it["by"]) == (row["entry"], "entry id")
    # In another project the same number is another image.
    content["createTimestamp"] += 1
    project.write_text(json.dumps(content), "utf-8")
    found = json.loads(slideloop(*command).out)["rows"]
    assert {row["code"] for row in found} == {"no_image"}
