"""Means and standard deviations, and the workspace's memory of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideloop.errors import InvalidInputError, NoTissueError
from slideloop.features.normalisation import (
    IMAGENET,
    Normalisation,
    WorkspaceNormalisation,
    measure,
    parse,
)


def patch_of(*pixels: tuple[int, int, int]) -> np.ndarray:
    return np.array([pixels], np.uint8)


def test_mean_and_deviation_are_over_all_pixels_of_all_patches() -> None:
    # Red 0, 100, 200, 100: mean 100, variance (10000 + 0 + 10000 + 0) / 4 = 5000.
    # Green 255 and 0 by turns: mean 127.5, deviation 127.5. Blue 51, 51, 51, 255: mean 102,
    # variance (3 * 51 ** 2 + 153 ** 2) / 4 = 7803.
    patches = [
        patch_of((0, 255, 51), (100, 0, 51)),
        patch_of((200, 255, 51), (100, 0, 255)),
    ]
    found = measure(patches, "dataset")
    assert found.mean == pytest.approx((100 / 255, 0.5, 0.4))
    assert found.std == pytest.approx((5000**0.5 / 255, 0.5, 7803**0.5 / 255))
    assert found.kind == "dataset"


def test_patches_of_different_sizes_count_by_their_pixels() -> None:
    found = measure([patch_of((0, 0, 0)), patch_of(*[(255, 255, 255)] * 3)], "sample")
    assert found.mean == pytest.approx((0.75, 0.75, 0.75))


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=2, max_size=40))
def test_the_figures_are_numpys(pixels: list[tuple[int, int, int]]) -> None:
    found = measure([patch_of(*pixels)], "sample")
    values = np.array(pixels) / 255
    np.testing.assert_allclose(found.mean, values.mean(0), atol=1e-12)
    np.testing.assert_allclose(found.std, np.maximum(values.std(0), 1 / 255), atol=1e-7)


def test_one_colour_all_over_does_not_divide_by_zero() -> None:
    assert measure([patch_of((7, 7, 7))], "sample").std == pytest.approx((1 / 255,) * 3)


def test_without_a_patch_there_is_no_tissue() -> None:
    with pytest.raises(NoTissueError, match="No patch passes the filter") as caught:
        measure([], "sample")
    assert "--filter" in caught.value.hint


def test_figures_are_read_from_a_text() -> None:
    found = parse("0.7,0.5,0.6/0.2,0.25,0.1")
    assert found.figures() == [[0.7, 0.5, 0.6], [0.2, 0.25, 0.1]]
    assert found.kind == "given"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "reinhard",
        "0.5,0.5,0.5",
        "0.5,0.5/0.2,0.2,0.2",
        "0.5,0.5,0.5,0.5/0.2,0.2",
        "1,2,3/4,5,6/7",
        "a,b,c/1,1,1",
        "0.5,0.5,0.5/0.2,0,0.2",
        "0.5,0.5,0.5/0.2,-1,0.2",
        "nan,0.5,0.5/0.2,0.2,0.2",
        "inf,0.5,0.5/0.2,0.2,0.2",
        "0.5;0.5;0.5/0.2;0.2;0.2",
    ],
)
def test_a_text_that_is_no_normalisation_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    assert "R,G,B/R,G,B" in caught.value.hint


def test_a_workspace_remembers_nothing_before_its_first_slide(tmp_path: Path) -> None:
    assert WorkspaceNormalisation(tmp_path).get() is None


def test_a_workspaces_memory_is_written_once(tmp_path: Path) -> None:
    first = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "sample")
    assert WorkspaceNormalisation(tmp_path).fix(first) == first
    assert WorkspaceNormalisation(tmp_path).fix(IMAGENET) == first
    assert WorkspaceNormalisation(tmp_path).get() == first
    assert [path.name for path in tmp_path.iterdir()] == ["normalisation.json"]


def test_figures_survive_the_memory_to_the_last_bit(tmp_path: Path) -> None:
    third = Normalisation((1 / 3, 2 / 3, 1 / 7), (1 / 9, 1 / 11, 0.1), "sample")
    assert WorkspaceNormalisation(tmp_path).fix(third).figures() == third.figures()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"mean": [1, 2, 3]}',
        json.dumps({"mean": "abc", "std": [1, 1, 1]}),
        json.dumps({"mean": [0.5, 0.5, 0.5], "std": [1, 1, 0]}),
        json.dumps({"mean": [0.5, 0.5], "std": [1, 1, 1, 1]}),
    ],
)
def test_a_memory_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "normalisation.json").write_text(text)
    with pytest.raises(InvalidInputError, match=r"normalisation\.json") as caught:
        WorkspaceNormalisation(tmp_path).get()
    assert "Delete it" in caught.value.hint
