"""Which image a mask is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.qupath.projects import entry, write_project

from slideloop.errors import InvalidInputError
from slideloop.qupath.matching import Mask, Match, match, read_decisions
from slideloop.qupath.project_file import ProjectImage


@pytest.fixture
def images(tmp_path: Path) -> tuple[ProjectImage, ...]:
    return write_project(
        tmp_path / "project",
        entry(1, "a.svs"),
        entry(2, "b.svs", "file:/slides/other.svs"),
        entry(3, "b.tif"),
        entry(4, "a.ndpi"),
        entry(5, "c.svs", "file:/slides/c.svs"),
        entry(6, "c.svs", "file:/slides/d.svs"),
    ).images


CONTENT = {Path("/slides/other.svs"): "abcdef0123", Path("/slides/b.tif"): "0123456789"}


def one(
    images: tuple[ProjectImage, ...], mask: Mask, decided: dict[str, str] | None = None
) -> Match:
    (found,) = match([mask], images, decided or {}, CONTENT.get)
    return found


@pytest.mark.parametrize(
    ("mask", "id_", "by"),
    [
        (Mask("m", [], "x", entry="3"), "3", "entry id"),
        (Mask("m", [], "a.svs", path=Path("/slides/other.svs")), "2", "file"),
        (Mask("m", [], "a.svs", fingerprint="abcdef01"), "2", "content"),
        (Mask("m", [], "a.svs", fingerprint="ffffffff"), "1", "name"),
        (Mask("m", [], "b.tif"), "3", "name"),
    ],
)
def test_the_first_that_tells_decides(
    images: tuple[ProjectImage, ...], mask: Mask, id_: str, by: str
) -> None:
    found = one(images, mask)
    assert found.image is not None
    assert (found.image.id, found.by) == (id_, by)


@pytest.mark.parametrize(("name", "ids"), [("a", {"1", "4"}), ("c.svs", {"5", "6"})])
def test_between_two_nothing_is_chosen(
    images: tuple[ProjectImage, ...], name: str, ids: set[str]
) -> None:
    found = one(images, Mask("m", [], name))
    assert found.image is None
    assert {each.id for each in found.candidates} == ids


def test_what_the_user_said_goes_before_all_else(images: tuple[ProjectImage, ...]) -> None:
    mask = Mask("m.geojson", [], "a.svs", path=Path("/slides/other.svs"))
    for said in ("3", "b.tif"):
        found = one(images, mask, {"m.geojson": said})
        assert found.image is not None
        assert (found.image.id, found.by) == ("3", "--match")
    assert one(images, mask, {"m.geojson": "none of them"}).image is None


def test_two_masks_for_one_image_are_not_imported(images: tuple[ProjectImage, ...]) -> None:
    masks = [Mask("m", [], "b.tif"), Mask("n", [], "x", entry="3"), Mask("o", [], "a.svs")]
    found = match(masks, images, {}, CONTENT.get)
    assert [each.image and each.image.id for each in found] == [None, None, "1"]


def test_decisions_are_read_with_and_without_a_heading(tmp_path: Path) -> None:
    file = tmp_path / "match.csv"
    for heading in ("", "mask,image\n"):
        file.write_text(f'\ufeff{heading}a.geojson, 3\n\n"b, c.geojson",größe.svs\n', "utf-8")
        assert read_decisions(file) == {"a.geojson": "3", "b, c.geojson": "größe.svs"}


@pytest.mark.parametrize("content", ["a\n", "a,b,c\n", "a,\n", "a,1\na,2\n"])
def test_decisions_that_do_not_decide_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "match.csv"
    file.write_text(content, "utf-8")
    with pytest.raises(InvalidInputError, match="one mask and one image"):
        read_decisions(file)


def test_of_two_series_of_one_file_neither_is_chosen(tmp_path: Path) -> None:
    series = [entry(n, f"slide - series {n}", "file:/slides/slide.scn") for n in (0, 1)]
    for number, each in enumerate(series):
        each["serverBuilder"]["args"] = ["--series", str(number)]
    images = write_project(tmp_path / "project", *series).images
    assert [image.args for image in images] == [("--series", "0"), ("--series", "1")]
    found = one(images, Mask("m", [], "slide.scn", path=Path("/slides/slide.scn")))
    assert (found.image, found.candidates) == (None, images)
    decided = one(images, Mask("m", [], "slide.scn", path=Path("/slides/slide.scn")), {"m": "1"})
    assert decided.image == images[1]
