"""Exact distances, and an order that ties do not disturb."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from slideloop.learning.ranking import distances, nearest_first, nearest_others


def test_equal_distances_keep_the_order_of_the_patches() -> None:
    key = np.array([2.0, 1.0, 2.0, 1.0, 0.5, 2.0], np.float32)
    assert nearest_first(key).tolist() == [4, 1, 3, 0, 2, 5]


@given(
    st.lists(
        st.sampled_from([-np.inf, -7.5, -1e-40, -0.0, 0.0, 1e-40, 0.25, 1.0, 7.5, np.inf]),
        max_size=60,
    )
)
def test_the_order_is_by_key_and_then_by_place(keys: list[float]) -> None:
    order = nearest_first(np.array(keys, np.float32))
    expected = sorted(range(len(keys)), key=lambda place: (keys[place], place))
    assert order.tolist() == expected


@given(arrays(np.float32, st.integers(0, 80), elements=st.floats(allow_nan=False, width=32)))
def test_the_order_is_that_of_a_stable_sort(key: NDArray[np.float32]) -> None:
    assert nearest_first(key).tolist() == np.argsort(key, kind="stable").tolist()


@given(st.integers(1, 400), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_distances_are_the_euclidean_ones_in_the_order_given(n: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(n, dim)).astype(np.float32)
    query = rng.normal(size=dim).astype(np.float32)
    exact = np.linalg.norm(embeddings.astype(np.float64) - query, axis=1)
    found = distances(embeddings, query)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)


def test_copies_of_one_patch_have_one_distance_and_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=64).astype(np.float32)
    embeddings = np.repeat(one[None], 300, axis=0)
    found = distances(embeddings, rng.normal(size=64).astype(np.float32))
    assert len(np.unique(found)) == 1
    assert nearest_first(found).tolist() == list(range(300))


def test_no_patches_have_no_distances() -> None:
    assert distances(np.zeros((0, 4), np.float32), np.zeros(4, np.float32)).shape == (0,)


def test_the_nearest_others_of_an_embedding_leave_itself_out() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0]], np.float32)
    assert nearest_others(line, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]


def test_copies_of_an_embedding_are_others() -> None:
    same = np.ones((6, 3), np.float32)
    others = nearest_others(same, 4)
    assert others.shape == (6, 4)
    assert all(i not in row for i, row in enumerate(others.tolist()))
