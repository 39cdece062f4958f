"""References, the search set, and what labels weigh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.synthetic_stores import features_of, identity_of, write_store

from slideloop.errors import NormalisationMismatchError, StoreMismatchError
from slideloop.learning.database import (
    Database,
    LabelledSet,
    QueryFeatures,
    SearchSet,
    place_of,
    reference,
    references,
    slide_of,
)


@given(st.integers(0, 4000), st.integers(0, 2**40 - 1))
def test_a_reference_names_one_patch_of_one_slide(slide: int, place: int) -> None:
    ref = reference(slide, place)
    assert (slide_of(ref), place_of(ref)) == (slide, place)
    assert references(slide, np.array([place])).tolist() == [ref]


def test_references_ascend_by_slide_and_then_by_place() -> None:
    refs = SearchSet((3, 0, 2)).references(np.arange(5))
    assert [(slide_of(r), place_of(r)) for r in refs] == [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)]
    assert (np.diff(refs) > 0).all()
    assert len(SearchSet((3, 0, 2))) == 5


def test_only_references_inside_a_search_set_have_a_position() -> None:
    search = SearchSet((3, 0, 2, 0))
    inside = [reference(2, 1), reference(0, 2), reference(2, 0)]
    outside = [reference(0, 3), reference(1, 0), reference(2, 2), reference(3, 0), reference(7, 0)]
    refs = np.array([outside[0], *inside, *outside[1:]])
    positions = search.positions(refs)
    assert positions.tolist() == [4, 2, 3]
    assert search.references(positions).tolist() == inside
    assert SearchSet(()).positions(refs).tolist() == []


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_each_position_and_its_reference_name_each_other(lengths: list[int]) -> None:
    search = SearchSet(tuple(lengths))
    refs = search.references(np.arange(len(search)))
    expected = [reference(s, place) for s, n in enumerate(lengths) for place in range(n)]
    assert refs.tolist() == expected
    assert search.positions(refs).tolist() == list(range(len(search)))


def test_a_search_set_is_a_prefix_of_each_slide(tmp_path: Path) -> None:
    first = write_store(tmp_path, features_of(np.zeros(7, int)), identity=identity_of("a"))
    second = write_store(tmp_path, features_of(np.zeros(5, int)), identity=identity_of("b"))
    database = Database([first, second])
    assert database.present().lengths == (7, 5)
    assert database.present([1]).lengths == (0, 5)
    assert database.searched(SearchSet((2, 3))) == [(first, 2), (second, 3)]
    assert database.searched(SearchSet((0, 3))) == [(second, 3)]


def test_slides_that_were_added_since_are_not_in_a_search_set(tmp_path: Path) -> None:
    stores = [
        write_store(tmp_path, features_of(np.zeros(7, int)), identity=identity_of(name))
        for name in "ab"
    ]
    assert Database(stores).searched(SearchSet((7,))) == [(stores[0], 7)]


def test_single_patches_are_found_in_their_slides(tmp_path: Path) -> None:
    first = write_store(tmp_path, features_of(np.zeros(7, int), seed=1), identity=identity_of("a"))
    second = write_store(tmp_path, features_of(np.zeros(5, int), seed=2), identity=identity_of("b"))
    database = Database([first, second])
    refs = np.array([reference(1, 4), reference(0, 6)])
    assert first.full is not None and second.full is not None
    assert np.array_equal(database.pooled_of(refs), [second.pooled[4], first.pooled[6]])
    assert np.array_equal(database.full_of(refs), [second.full[4], first.full[6]])


@pytest.mark.parametrize(
    "more", [{"normalisation": [[0, 0, 0], [1, 1, 1]]}, {"encoder": "squeezenet1_1"}]
)
def test_slides_indexed_differently_cannot_be_studied_together(
    tmp_path: Path, more: dict[str, object]
) -> None:
    full = features_of(np.zeros(5, int))
    stores = [
        write_store(tmp_path, full, identity=identity_of("a")),
        write_store(tmp_path, full, identity=identity_of("b", **more)),
    ]
    with pytest.raises(NormalisationMismatchError, match=next(iter(more))) as caught:
        Database(stores)
    assert "Index them again" in caught.value.hint


def test_full_features_of_a_pooled_store_are_refused_with_the_way_out(tmp_path: Path) -> None:
    database = Database([write_store(tmp_path, features_of(np.zeros(5, int)), kind="pooled")])
    with pytest.raises(StoreMismatchError, match="pooled only") as caught:
        database.full_of(np.array([0]))
    assert "--store full" in caught.value.hint


def squares(n: int, seed: int = 0) -> QueryFeatures:
    full = features_of(np.zeros(n, int), seed=seed)
    return QueryFeatures(np.zeros(0, np.int64), full.mean((2, 3)), full)


def test_squares_off_the_grid_weigh_as_one_sample_together() -> None:
    labelled = LabelledSet(np.array([1, 5]), np.array([0, 1]), ((squares(4), 1), (squares(1), 0)))
    assert labelled.weights().tolist() == [1, 1, 0.25, 0.25, 0.25, 0.25, 1]
    assert labelled.all_labels().tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert labelled.n_classes == 2


def test_in_a_query_the_squares_off_the_grid_weigh_as_one_of_its_patches() -> None:
    query = QueryFeatures(np.array([3, 4]), squares(4).pooled)
    np.testing.assert_allclose(query.weights(), [1 / 3, 1 / 3, *[1 / 12] * 4], rtol=1e-6)


@pytest.mark.parametrize(("on_grid", "off_grid"), [(0, 3), (3, 0), (1, 1)])
def test_the_weights_of_a_query_sum_to_one(on_grid: int, off_grid: int) -> None:
    query = QueryFeatures(np.arange(on_grid), squares(3).pooled[:off_grid])
    assert query.weights().shape == (on_grid + off_grid,)
    assert query.weights().sum() == pytest.approx(1)


def test_samples_come_patches_first_and_then_squares(tmp_path: Path) -> None:
    database = Database([write_store(tmp_path, features_of(np.zeros(5, int), seed=9))])
    query = squares(2)
    labelled = LabelledSet(np.array([4]), np.array([0]), ((query, 1),))
    assert np.array_equal(labelled.pooled(database)[1:], query.pooled.astype(np.float32))
    assert np.array_equal(labelled.full(database)[:1], database.full_of(np.array([4])))
    only_squares = LabelledSet(np.zeros(0, np.int64), np.zeros(0, np.int64), ((query, 1),))
    assert only_squares.pooled(database).shape == (2, 8)
    assert only_squares.full(database).shape == (2, 8, 2, 2)
