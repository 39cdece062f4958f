"""The arithmetic between rectangles and cells."""

from __future__ import annotations

import time
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slideloop.errors import GridError, InvalidInputError, MppNeededError, OutsideSlideError
from slideloop.slides.grid import N_SPREAD, Grid, make_grid, patch_id, query_squares, visit_order
from slideloop.slides.limits import Limits

GRIDS = st.builds(
    lambda columns, rows, patch, stride: Grid(
        patch_px=patch,
        stride_px=stride,
        mpp=None,
        patch_px0=patch,
        stride_px0=stride,
        n_columns=columns,
        n_rows=rows,
    ),
    columns=st.integers(1, 60),
    rows=st.integers(1, 60),
    patch=st.integers(16, 300),
    stride=st.integers(1, 400),
)


def square_grid(n_columns: int, n_rows: int, patch: int = 100) -> Grid:
    return Grid(patch, patch, None, patch, patch, n_columns, n_rows)


def test_incomplete_squares_at_the_edges_are_left_out():
    grid = make_grid(1000, 767, None)
    assert (grid.n_columns, grid.n_rows, grid.n_cells) == (3, 2, 6)


def test_a_slide_of_exactly_one_patch_has_one_patch():
    assert make_grid(256, 256, None).n_cells == 1


def test_the_published_square_is_not_resampled():
    grid = make_grid(1000, 1000, 0.25)
    assert (grid.patch_px, grid.patch_px0, grid.stride_px0, grid.mpp) == (256, 256, 256, None)


def test_a_stride_below_the_patch_overlaps():
    grid = make_grid(512, 256, None, stride_px=128)
    assert (grid.n_columns, grid.n_rows) == (3, 1)
    assert grid.rectangle(1, 0) == (128, 0, 256, 256)


def test_a_stride_above_the_patch_leaves_gaps():
    grid = make_grid(1000, 256, None, stride_px=500)
    assert grid.n_columns == 2
    assert grid.rectangle(1, 0) == (500, 0, 256, 256)


def test_a_target_resolution_scales_patch_and_stride():
    grid = make_grid(10_000, 10_000, 0.25, 224, 112, target_mpp=0.5)
    assert (grid.patch_px, grid.patch_px0, grid.stride_px0) == (224, 448, 224)


def test_a_patch_is_rounded_to_whole_level_0_pixels():
    # 256 * 0.5 / 0.2325 = 550.54
    assert make_grid(10_000, 10_000, 0.2325, target_mpp=0.5).patch_px0 == 551


def test_a_target_resolution_needs_the_mpp_of_the_slide():
    with pytest.raises(MppNeededError, match=r"0\.5 um/px"):
        make_grid(10_000, 10_000, None, target_mpp=0.5)


def test_an_unknown_mpp_does_no_harm_without_a_target():
    assert make_grid(512, 512, None).n_cells == 4


@pytest.mark.parametrize("size", [(255, 1000), (1000, 255), (1, 1)])
def test_a_slide_smaller_than_a_patch_is_refused(size):
    with pytest.raises(GridError, match="smaller than one patch of 256 px"):
        make_grid(*size, None)


@pytest.mark.parametrize(
    "settings",
    [
        {"patch_px": 15},
        {"patch_px": -256},
        {"stride_px": 0},
        {"stride_px": -1},
        {"target_mpp": 0.0},
        {"target_mpp": -1.0},
        {"target_mpp": float("nan")},
        {"target_mpp": float("inf")},
        {"target_mpp": 0.01},
        {"target_mpp": 20.0},
        {"patch_px": 9000},
    ],
    ids=str,
)
def test_nonsense_is_refused(settings):
    with pytest.raises(InvalidInputError):
        make_grid(20_000, 20_000, 0.25, **settings)


def test_more_patches_than_the_limit_are_refused():
    with pytest.raises(InvalidInputError, match="more than 1,000"):
        make_grid(16 * 32, 16 * 32, None, 16, limits=Limits(grid_cells=1000))


def test_a_cell_outside_the_grid_is_refused():
    grid = square_grid(3, 2)
    for cell in [(3, 0), (0, 2), (-1, 0)]:
        with pytest.raises(InvalidInputError):
            grid.rectangle(*cell)


@given(GRIDS, st.data())
def test_the_square_of_a_cell_leads_back_to_the_cell(grid, data):
    column = data.draw(st.integers(0, grid.n_columns - 1))
    row = data.draw(st.integers(0, grid.n_rows - 1))
    assert grid.cell_at(*grid.rectangle(column, row)) == (column, row)


@pytest.mark.parametrize(
    "square",
    [
        (101, 0, 100, 100),
        (100, 0, 99, 100),
        (100.5, 0, 100, 100),
        (300, 0, 100, 100),
        (-100, 0, 100, 100),
        (0, 200, 100, 100),
    ],
)
def test_a_square_off_the_grid_is_no_cell(square):
    assert square_grid(3, 2).cell_at(*square) is None


@given(st.integers(16, 700), st.integers(16, 700), st.integers(16, 100), st.integers(1, 150))
def test_patches_lie_inside_the_slide_and_no_further_one_fits(width, height, patch, stride):
    if min(width, height) < patch:
        return
    grid = make_grid(width, height, None, patch, stride)
    x, y, side, _ = grid.rectangle(grid.n_columns - 1, grid.n_rows - 1)
    assert x + side <= width < x + side + stride
    assert y + side <= height < y + side + stride


def test_half_a_patch_is_covered_and_a_pixel_less_is_not():
    grid = square_grid(3, 3)
    assert grid.cells_covered(50, 0, 100, 100).tolist() == [[0, 0], [1, 0]]
    assert grid.cells_covered(51, 0, 100, 100).tolist() == [[1, 0]]


def test_covered_cells_come_row_by_row():
    cells = square_grid(4, 4).cells_covered(90, 90, 220, 220)
    assert cells.tolist() == [[1, 1], [2, 1], [1, 2], [2, 2]]
    assert cells.dtype == np.int32


def test_a_rectangle_off_the_slide_covers_nothing():
    grid = square_grid(2, 2)
    assert grid.cells_covered(500, 500, 10, 10).shape == (0, 2)
    assert grid.cells_covered(-500, -500, 10, 10).shape == (0, 2)


def test_overlapping_patches_are_all_found():
    grid = Grid(100, 50, None, 100, 50, 5, 1)
    assert grid.cells_covered(100, 0, 100, 100)[:, 0].tolist() == [1, 2, 3]


RECTANGLES = st.tuples(
    st.floats(-500, 4000), st.floats(-500, 4000), st.floats(0.5, 3000), st.floats(0.5, 3000)
)


@given(GRIDS, RECTANGLES, st.sampled_from([0.25, 0.5, 1.0]))
def test_covered_cells_are_those_of_a_search_through_all(grid, rectangle, share):
    x, y, width, height = rectangle
    expected = []
    for row in range(grid.n_rows):
        for column in range(grid.n_columns):
            left, top, side, _ = grid.rectangle(column, row)
            across = max(0.0, min(left + side, x + width) - max(left, x))
            down = max(0.0, min(top + side, y + height) - max(top, y))
            if across * down >= share * side * side * (1 - 1e-9):
                expected.append([column, row])
    assert grid.cells_covered(*rectangle, share=share).tolist() == expected


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(InvalidInputError):
        square_grid(2, 2).cells_covered(0, 0, 10, 10, share=share)


@given(GRIDS, st.integers(0, 2**32))
def test_the_order_visits_every_cell_once(grid, seed):
    order = visit_order(grid, seed)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(grid.n_cells))


def test_the_same_seed_gives_the_same_order():
    grid = square_grid(40, 30)
    assert np.array_equal(visit_order(grid, 3), visit_order(grid, 3))
    assert not np.array_equal(visit_order(grid, 3), visit_order(grid, 4))


def test_the_order_is_the_same_on_every_machine():
    # Journals hold prefixes of this order: it may never change.
    assert visit_order(square_grid(5, 3), 7).tolist() == [
        9,
        8,
        6,
        5,
        11,
        14,
        10,
        0,
        7,
        3,
        13,
        2,
        12,
        4,
        1,
    ]


def quarter_counts(grid: Grid, order: np.ndarray, n: int, side: int) -> np.ndarray:
    """How many of the first n cells fall in each of side x side coarse blocks."""
    rows, columns = np.divmod(order[:n], grid.n_columns)
    block = rows * side // grid.n_rows * side + columns * side // grid.n_columns
    return np.bincount(block, minlength=side * side)


@pytest.mark.parametrize("shape", [(120, 100), (37, 301), (1000, 40), (64, 64)])
def test_the_first_256_patches_are_spread_over_the_slide(shape):
    grid = square_grid(*shape)
    counts = quarter_counts(grid, visit_order(grid, 1), 256, 8)
    raster = quarter_counts(grid, np.arange(grid.n_cells), 256, 8)
    shuffled = quarter_counts(grid, np.random.default_rng(1).permutation(grid.n_cells), 256, 8)
    # 64 coarse blocks, 4 patches each on average.
    assert counts.min() >= 1
    assert counts.max() <= 10
    assert counts.std() < 0.75 * shuffled.std()
    assert np.count_nonzero(raster) <= 16


def test_every_prefix_of_some_hundred_is_spread():
    grid = square_grid(110, 130)
    order = visit_order(grid, 5)
    for n in (256, 300, 512, 777, 1024):
        counts = quarter_counts(grid, order, n, 4)
        assert counts.min() > 0.6 * n / 16
        assert counts.max() < 1.4 * n / 16


def test_each_pass_visits_every_block_once():
    grid = square_grid(64, 64)  # 16 x 16 blocks of 4 x 4 cells
    rows, columns = np.divmod(visit_order(grid, 2), 64)
    passes = (rows // 4 * 16 + columns // 4)[:N_SPREAD].reshape(-1, 256)
    assert (np.sort(passes, axis=1) == np.arange(256)).all()


def test_after_the_spread_ones_neighbours_come_together_row_by_row():
    grid = square_grid(64, 64)
    rest = visit_order(grid, 2)[N_SPREAD:]
    group = grid.group_of(rest)
    assert np.count_nonzero(np.diff(group)) == 63  # 8 x 8 groups, each in one piece
    for part in np.split(rest, np.flatnonzero(np.diff(group)) + 1):
        assert (np.diff(part) > 0).all()
        rows, columns = np.divmod(part, 64)
        assert np.ptp(rows) < 8 and np.ptp(columns) < 8
    # And the groups themselves are spread: half of them touch every quarter of the slide.
    half = rest[: len(rest) // 2]
    assert len(set(zip((half // 64 // 32).tolist(), (half % 64 // 32).tolist(), strict=True))) == 4


def test_a_million_cells_are_ordered_in_seconds():
    started = time.perf_counter()
    order = visit_order(square_grid(1000, 1000), 0)
    assert order.size == 10**6
    assert time.perf_counter() - started < 5


def test_a_patch_id_is_a_uuid_that_never_changes():
    name = patch_id("ab" * 32, 100, 100, 2, 3)
    assert uuid.UUID(name).version == 5
    assert name == "193508b4-bf3d-5992-a6cf-4ad52a597444"


def test_patch_ids_differ_by_slide_size_stride_and_cell():
    named = [
        ("a", 100, 100, 2, 3),
        ("b", 100, 100, 2, 3),
        ("a", 100, 100, 3, 2),
        ("a", 100, 100, 23, 0),
        ("a", 50, 100, 2, 3),
        ("a", 100, 50, 2, 3),
    ]
    assert len({patch_id(*parts) for parts in named}) == len(named)


SLIDE = (1000, 800)


def squares(*rectangle: float) -> list[tuple[int, int, int, int]]:
    return query_squares(rectangle, square_grid(10, 8), *SLIDE)


def test_a_small_query_becomes_the_patch_around_its_centre():
    assert squares(300, 300, 20, 40) == [(260, 270, 100, 100)]


def test_a_small_query_at_the_edge_is_moved_inside():
    assert squares(0, 0, 10, 10) == [(0, 0, 100, 100)]
    assert squares(990, 790, 10, 10) == [(900, 700, 100, 100)]


def test_a_query_that_equals_a_patch_is_that_patch():
    assert squares(200, 100, 100, 100) == [(200, 100, 100, 100)]


def test_a_query_of_two_by_three_patches_is_cut_into_them():
    assert squares(200, 100, 200, 300) == [
        (200, 100, 100, 100),
        (300, 100, 100, 100),
        (200, 200, 100, 100),
        (300, 200, 100, 100),
        (200, 300, 100, 100),
        (300, 300, 100, 100),
    ]


def test_centres_are_evenly_spaced():
    # 260 / 3 = 86.67 apart: centres 43.33, 130, 216.67 from the left edge.
    assert [square[0] for square in squares(300, 0, 260, 100)] == [293, 380, 467]


def test_a_large_query_gives_at_most_four_squares_a_side():
    cut = squares(0, 0, 1000, 800)
    assert len(cut) == 16
    assert [square[0] for square in cut[:4]] == [75, 325, 575, 825]


def test_a_query_that_reaches_out_is_cut_to_the_slide():
    assert squares(-300, 0, 400, 100) == [(0, 0, 100, 100)]


@pytest.mark.parametrize(
    "rectangle",
    [(1000, 0, 10, 10), (0, 800, 10, 10), (-10, 0, 10, 10), (5000, 5000, 1, 1)],
    ids=str,
)
def test_a_query_outside_the_slide_is_refused(rectangle):
    with pytest.raises(OutsideSlideError, match="outside the slide of 1000 x 800"):
        squares(*rectangle)


@pytest.mark.parametrize(
    "rectangle",
    [
        (0, 0, 0, 10),
        (0, 0, 10, -1),
        (float("nan"), 0, 10, 10),
        (0, float("inf"), 10, 10),
        (0, 0, float("inf"), 10),
    ],
    ids=str,
)
def test_a_query_without_size_is_refused(rectangle):
    with pytest.raises(InvalidInputError):
        squares(*rectangle)


@given(
    st.integers(16, 400),
    st.tuples(
        st.floats(-900, 2000), st.floats(-900, 2000), st.floats(0.01, 5000), st.floats(0.01, 5000)
    ),
    st.integers(400, 2000),
    st.integers(400, 2000),
)
def test_query_squares_are_distinct_patches_inside_the_slide(patch, rectangle, width, height):
    grid = make_grid(width, height, None, patch)
    try:
        cut = query_squares(rectangle, grid, width, height)
    except OutsideSlideError:
        return
    assert 1 <= len(cut) == len(set(cut)) <= 16
    for x, y, square_width, square_height in cut:
        assert square_width == square_height == patch
        assert 0 <= x <= width - patch
        assert 0 <= y <= height - patch
