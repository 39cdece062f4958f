"""Shares and labels of patches."""

from __future__ import annotations

import time

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from slideloop.errors import InvalidInputError
from slideloop.evaluation.truth import Truth, annotated_area
from slideloop.evaluation.truth_cells import cell_labels, cell_shares
from slideloop.slides.grid import Grid, make_grid


def grid_of(n_columns, n_rows, patch=16, stride=None):
    stride = stride or patch
    return Grid(patch, stride, None, patch, stride, n_columns, n_rows)


def truth_of(width=64, height=64, outside="Normal", **regions):
    return Truth(tuple(regions), regions, outside, width, height)


def star(n, size, rng):
    """Make a random star-shaped polygon with a hole."""
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    radius = rng.uniform(0.3, 0.6, n) * size
    points = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + size / 2
    polygon = shapely.Polygon(points).buffer(0)
    return polygon.difference(shapely.Point(size / 2, size / 2).buffer(size / 10))


@given(
    st.integers(0, 10_000),
    st.integers(3, 40),
    st.sampled_from([(16, 16), (16, 8), (16, 7), (16, 24)]),
)
@settings(deadline=None, max_examples=60)
def test_shares_are_the_areas_that_shapely_finds(seed, n, patch_and_stride):
    patch, stride = patch_and_stride
    region = star(n, 100, np.random.default_rng(seed))
    n_cells = (100 - patch) // stride + 1
    grid = grid_of(n_cells, n_cells, patch, stride)
    (shares,) = cell_shares(truth_of(100, 100, A=region), grid)
    for row in range(n_cells):
        for column in range(n_cells):
            x, y, width, height = grid.rectangle(column, row)
            square = shapely.box(x, y, x + width, y + height)
            expected = region.intersection(square).area / (width * height)
            assert shares[row, column] == pytest.approx(expected, abs=1e-8)


def test_half_a_patch_is_exactly_one_half():
    shares = cell_shares(truth_of(A=shapely.box(0, 0, 8, 16)), grid_of(4, 4))
    assert shares[0, 0, 0] == 0.5
    assert shares.sum() == 0.5


def test_shares_add_up_to_the_annotated_area():
    region = star(50, 100, np.random.default_rng(1)).intersection(shapely.box(0, 0, 100, 100))
    truth = truth_of(100, 100, A=region)
    shares = cell_shares(truth, grid_of(10, 10, 10))
    assert shares.sum() * 100 == pytest.approx(annotated_area(truth, "A"))


def test_a_hole_is_not_covered():
    ring = shapely.box(0, 0, 48, 48).difference(shapely.box(16, 16, 32, 32))
    (shares,) = cell_shares(truth_of(A=ring), grid_of(4, 4))
    assert shares[1, 1] == 0
    assert shares.sum() == 8


def test_what_lies_beside_the_grid_counts_for_no_patch():
    region = shapely.union_all([shapely.box(50, 0, 64, 64), shapely.box(0, 50, 64, 64)])
    assert cell_shares(truth_of(A=region), grid_of(3, 3)).sum() == 0


def test_the_drawn_cells_of_overlapping_patches_do_not_count_twice():
    truth = truth_of(A=shapely.box(0, 0, 64, 64))
    grid = grid_of(7, 7, 16, 8)
    shares = cell_shares(truth_of(A=shapely.box(12, 12, 20, 20)), grid, "cell")
    assert cell_shares(truth, grid, "cell").min() == 1
    assert shares[0, 1, 1] == 1
    assert shares.sum() == 1


def test_several_classes_come_in_the_order_of_the_truth():
    truth = truth_of(A=shapely.box(0, 0, 16, 16), B=shapely.box(16, 0, 24, 16))
    shares = cell_shares(truth, grid_of(4, 4))
    assert shares[:, 0, :2].tolist() == [[1, 0], [0, 0.5]]


def test_the_class_of_the_largest_share_wins_when_annotated_shares_reach_one_half():
    truth = truth_of(A=shapely.box(0, 0, 1, 1), B=shapely.box(1, 0, 2, 1))
    shares = np.array([[[0.2, 0.2, 0.3]], [[0.2, 0.3, 0.2]]])
    labels = cell_labels(shares, truth, "A")
    assert labels.classes == ("A", "B", "Normal")
    assert labels.label.tolist() == [[2, 1, 0]]


def test_the_positive_class_comes_first_and_absent_classes_are_left_out():
    truth = truth_of(A=shapely.box(0, 0, 1, 1), B=shapely.box(1, 0, 2, 1))
    labels = cell_labels(np.array([[[0.0, 0.0]], [[1.0, 0.9]]]), truth, "B")
    assert labels.classes == ("B",)
    assert labels.label.tolist() == [[0, 0]]


def test_relevance_knows_the_positive_class_and_its_contrary():
    truth = truth_of(A=shapely.box(0, 0, 1, 1), B=shapely.box(1, 0, 2, 1))
    shares = np.array([[[0.5, 0.3, 0.0]], [[0.5, 0.3, 1.0]]])
    labels = cell_labels(shares, truth, "A", mode="relevance")
    assert labels.classes == ("A", "not A")
    assert labels.label.tolist() == [[0, 1, 1]]


def test_the_outside_class_can_be_positive():
    truth = truth_of(A=shapely.box(0, 0, 1, 1))
    labels = cell_labels(np.array([[[0.2, 0.9]]]), truth, "Normal")
    assert labels.classes == ("Normal", "A")
    assert labels.label.tolist() == [[0, 1]]
    assert labels.positive_share.tolist() == [[0.8, 0.1]]


def test_the_boundary_lies_strictly_between_5_and_95_percent():
    truth = truth_of(A=shapely.box(0, 0, 1, 1))
    labels = cell_labels(np.array([[[0.0, 0.05, 0.051, 0.949, 0.95, 1.0]]]), truth, "A")
    assert labels.boundary.tolist() == [[False, False, True, True, False, False]]


def test_a_positive_class_the_truth_lacks_is_named():
    with pytest.raises(InvalidInputError, match="'C'"):
        cell_labels(np.zeros((1, 1, 1)), truth_of(A=shapely.box(0, 0, 1, 1)), "C")


def test_a_hundred_thousand_vertices_on_a_large_grid_take_little_time():
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    radius = 14_000 * (0.8 + 0.15 * np.sin(37 * angle) + 0.05 * np.sin(2011 * angle))
    points = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + 16_000
    truth = truth_of(32_000, 32_000, A=shapely.Polygon(points))
    began = time.perf_counter()
    shares = cell_shares(truth, make_grid(32_000, 32_000, None))
    assert time.perf_counter() - began < 3
    assert shares.sum() * 256**2 == pytest.approx(annotated_area(truth, "A"))
