"""Slides that are worked on together: one patch size in um, one normalisation."""

from __future__ import annotations

from pathlib import Path

import pytest

from slideloop.errors import MppNeededError
from slideloop.evaluation.generated import Scene, write_slide
from slideloop.features.workspace import PatchOptions, Workspace


@pytest.fixture
def workspace(tmp_path: Path):
    workspace = Workspace(tmp_path / "workspace")
    yield workspace
    workspace.close()


def slide(folder: Path, name: str, mpp: float | None) -> Path:
    path = folder / name
    write_slide(Scene(0, 640, 480), path, mpp=mpp)
    return path


def patch_sizes(workspace: Workspace, paths: list[Path], **more: float) -> list[int]:
    sources = workspace.open_slides(paths, PatchOptions(patch=96, **more))
    return [source.grid.patch_px0 for source in sources]


def test_a_slide_of_another_resolution_is_resampled_to_the_first_one(
    workspace: Workspace, tmp_path: Path
):
    paths = [slide(tmp_path, "a.tif", 0.5), slide(tmp_path, "b.tif", 0.25)]
    assert patch_sizes(workspace, paths) == [96, 192]


def test_a_resolution_within_ten_percent_counts_as_the_same(workspace: Workspace, tmp_path: Path):
    paths = [slide(tmp_path, "a.tif", 0.5), slide(tmp_path, "b.tif", 0.46)]
    assert patch_sizes(workspace, paths) == [96, 96]


def test_a_further_slide_is_cut_as_the_first_one_of_its_study(workspace: Workspace, tmp_path: Path):
    options = PatchOptions(patch=96)
    (first,) = workspace.open_slides([slide(tmp_path, "a.tif", 0.5)], options)
    (further,) = workspace.open_slides([slide(tmp_path, "b.tif", 0.25)], options, first)
    assert further.grid.patch_px0 == 192


def test_a_resolution_unknown_on_one_side_is_asked_for(workspace: Workspace, tmp_path: Path):
    paths = [slide(tmp_path, "a.tif", 0.5), slide(tmp_path, "b.tif", None)]
    with pytest.raises(MppNeededError, match=r"b\.tif does not state its um/px"):
        patch_sizes(workspace, paths)
    assert patch_sizes(workspace, paths, assume_mpp=0.25) == [96, 192]


def test_slides_that_all_lack_a_resolution_are_cut_in_their_own_pixels(
    workspace: Workspace, tmp_path: Path
):
    paths = [slide(tmp_path, "a.tif", None), slide(tmp_path, "b.tif", None)]
    assert patch_sizes(workspace, paths) == [96, 96]


def test_the_first_slide_fixes_the_normalisation_of_the_workspace(
    workspace: Workspace, tmp_path: Path
):
    paths = [slide(tmp_path, "a.tif", 0.5)]
    other = tmp_path / "other.tif"
    write_slide(Scene(5, 640, 480), other)
    sources = workspace.open_slides([*paths, other], PatchOptions(patch=96))
    fixed = workspace.normalisation("sample", sources[:1])
    assert workspace.normalisation("sample", sources[1:]) == fixed
    assert workspace.normalisation("dataset", sources).figures() != fixed.figures()
