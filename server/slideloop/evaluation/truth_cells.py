"""Truth on the grid: exact areas per cell, and the class each patch has.

Owns the way from regions to labels (algorithm, section 6). Knows nothing of files or models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from slideloop.errors import InvalidInputError
from slideloop.masks.cells import cell_edges

if TYPE_CHECKING:
    from slideloop.evaluation.truth import Truth
    from slideloop.slides.grid import Grid

MAJORITY = 0.5
BOUNDARY = (0.05, 0.95)
"""Positive shares strictly between these make a boundary patch."""

DECIMALS = 9
"""Shares are sums of floating-point areas; rounded, one half counts as one half, none as none."""


@dataclass(frozen=True)
class CellTruth:
    """The truth of every patch of a grid.

    Parameters
    ----------
    classes : tuple of str
        The positive class first, then the others that some patch has.
    label : ndarray of int16, shape (n_rows, n_columns)
        Index into `classes`.
    positive_share : ndarray of float64, shape (n_rows, n_columns)
        Share of the patch that is positive, 0 to 1.
    boundary : ndarray of bool, shape (n_rows, n_columns)
        Whether that share lies strictly between 5 and 95 %.
    """

    classes: tuple[str, ...]
    label: NDArray[np.int16]
    positive_share: NDArray[np.float64]
    boundary: NDArray[np.bool_]


def cell_shares(
    truth: Truth, grid: Grid, square: Literal["patch", "cell"] = "patch"
) -> NDArray[np.float64]:
    """Measure how much of every patch each class covers.

    Exact up to rounding: edges are cut at the grid's lines and their areas summed. The cost grows
    with the number of edges, their crossings of grid lines, and the cells.

    Parameters
    ----------
    truth : Truth
        Regions of one slide.
    grid : Grid
        Grid of the same slide.
    square : {"patch", "cell"}
        The patch itself, or the square that masks draw for it (`masks.cells`); the same where
        stride and patch size are equal.

    Returns
    -------
    ndarray of float64, shape (n_classes, n_rows, n_columns)
        0 to 1, to nine decimals, in the order of `truth.classes`. Regions that overlap count for
        each class.
    """
    columns = _intervals(grid.n_columns, grid, truth.width, square)
    rows = _intervals(grid.n_rows, grid, truth.height, square)
    xs, ys = np.unique(columns), np.unique(rows)
    shares = np.empty((len(truth.classes), grid.n_rows, grid.n_columns))
    extent = np.outer(rows[:, 1] - rows[:, 0], columns[:, 1] - columns[:, 0])
    for area, name in zip(shares, truth.classes, strict=True):
        pieces = _areas(truth.regions[name], xs, ys)
        gathered = _gathered(pieces, np.searchsorted(ys, rows))
        area[:] = _gathered(gathered.T, np.searchsorted(xs, columns)).T
    return np.clip(np.round(shares / extent, DECIMALS), 0.0, 1.0)


def cell_labels(
    shares: NDArray[np.float64],
    truth: Truth,
    positive: str,
    mode: Literal["classes", "relevance"] = "classes",
) -> CellTruth:
    """Decide the class of every patch (algorithm, section 6, first bullet).

    Parameters
    ----------
    shares : ndarray of float64, shape (n_classes, n_rows, n_columns)
        From `cell_shares`, of patches.
    truth : Truth
        What they were measured on.
    positive : str
        An annotated class or the outside class.
    mode : {"classes", "relevance"}
        "classes": the class of the largest share where the annotated shares sum to at least 50 %,
        the first of equals in the truth's order; the outside class elsewhere. "relevance": the
        positive class where its own share is at least 50 %, "not " + `positive` elsewhere.

    Returns
    -------
    CellTruth
        Labels, shares of the positive class, and which patches lie on its boundary.

    Raises
    ------
    InvalidInputError
        If `positive` is neither an annotated class nor the outside class.
    """
    positive_share = _positive_share(shares, truth, positive)
    if mode == "relevance":
        names = [positive, f"not {positive}"]
        place = np.where(positive_share >= MAJORITY, 0, 1)
    else:
        names = [*truth.classes]
        if truth.outside not in names:
            names.append(truth.outside)
        is_annotated = np.round(shares.sum(axis=0), DECIMALS) >= MAJORITY
        largest = shares.argmax(axis=0) if len(truth.classes) else 0
        place = np.where(is_annotated, largest, names.index(truth.outside))
    used = {names[i] for i in np.unique(place)}
    classes = (positive, *(name for name in names if name in used and name != positive))
    index = np.array([classes.index(n) if n in classes else -1 for n in names], dtype=np.int16)
    low, high = BOUNDARY
    boundary = (positive_share > low) & (positive_share < high)
    return CellTruth(classes, index[place], positive_share, boundary)


def _positive_share(
    shares: NDArray[np.float64], truth: Truth, positive: str
) -> NDArray[np.float64]:
    if positive not in (*truth.classes, truth.outside):
        raise InvalidInputError(
            f"The truth has no class '{positive}'.",
            hint=f"It has {', '.join(repr(n) for n in (*truth.classes, truth.outside))}.",
        )
    share = np.zeros(shares.shape[1:], dtype=np.float64)
    if positive in truth.classes:
        share += shares[truth.classes.index(positive)]
    if positive == truth.outside:
        share += np.maximum(1.0 - shares.sum(axis=0), 0.0)
    return np.round(share, DECIMALS)


def _intervals(n: int, grid: Grid, size_px0: int, square: str) -> NDArray[np.int64]:
    """Give the first and last line of each square along one axis, shape (n, 2)."""
    if square == "cell":
        lines = cell_edges(n, grid.patch_px0, grid.stride_px0, size_px0)
        return np.column_stack([lines[:-1], lines[1:]])
    first = grid.stride_px0 * np.arange(n, dtype=np.int64)
    return np.column_stack([first, first + grid.patch_px0])


def _gathered(pieces: NDArray[np.float64], spans: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum rows of pieces over spans that may overlap; a span of one row is taken as it is."""
    if (spans[:, 1] - spans[:, 0] == 1).all():
        return pieces[spans[:, 0]]
    # Each span is summed by itself: differences of running sums would not be exact.
    return np.stack([pieces[first:last].sum(axis=0) for first, last in spans])


def _areas(
    geometry: BaseGeometry, xs: NDArray[np.int64], ys: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Measure the area of a valid geometry within each piece between the lines.

    Every edge sweeps the strip between itself and the right end of the lattice, downwards with one
    sign, upwards with the other; within a ring the strips add up to its area. Cut at the lines, an
    edge sweeps part of its own piece and the whole of those to its right.
    """
    start, end = _directed_edges(geometry)
    start, end = _cut(*_cut(start, end, ys, axis=1), xs, axis=0)
    middle = (start + end) / 2
    row = np.searchsorted(ys, middle[:, 1], side="right") - 1
    column = np.searchsorted(xs, middle[:, 0], side="right") - 1
    height = end[:, 1] - start[:, 1]
    # What passes to the right of the lattice sweeps nothing, what passes to its left everything.
    sweeps = (row >= 0) & (row < len(ys) - 1) & (column < len(xs) - 1) & (height != 0)
    row, column, height = row[sweeps], column[sweeps], height[sweeps]
    n_rows, n_columns = len(ys) - 1, len(xs) - 1
    own = height * (xs[column + 1] - middle[sweeps, 0])
    is_inside = column >= 0
    area = _summed(row[is_inside], column[is_inside], own[is_inside], (n_rows, n_columns))
    passed = _summed(row, column + 1, height, (n_rows, n_columns + 1))
    return area + np.cumsum(passed, axis=1)[:, :-1] * np.diff(xs)


def _directed_edges(geometry: BaseGeometry) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """List the edges of all rings, outer ones in one direction, holes in the other."""
    parts = shapely.get_parts(shapely.orient_polygons(geometry, exterior_cw=True))
    rings = shapely.get_rings(parts)
    points, ring_of = shapely.get_coordinates(rings, return_index=True)
    same_ring = ring_of[1:] == ring_of[:-1]
    return points[:-1][same_ring], points[1:][same_ring]


def _cut(
    start: NDArray[np.float64], end: NDArray[np.float64], lines: NDArray[np.int64], axis: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cut edges wherever they cross one of the lines at right angles to an axis."""
    is_backward = start[:, axis] > end[:, axis]
    low = np.where(is_backward[:, None], end, start)
    high = np.where(is_backward[:, None], start, end)
    first = np.searchsorted(lines, low[:, axis], side="right")
    n_cuts = np.maximum(np.searchsorted(lines, high[:, axis], side="left") - first, 0)
    edge = np.repeat(np.arange(len(start)), n_cuts + 1)
    place = np.arange(len(edge)) - np.repeat(np.cumsum(n_cuts + 1) - n_cuts - 1, n_cuts + 1)
    line = lines[np.minimum(first[edge] + place, len(lines) - 1)].astype(np.float64)
    span = (high - low)[edge]
    along = (line - low[edge, axis]) / np.where(span[:, axis] == 0, 1.0, span[:, axis])
    cut = low[edge] + span * along[:, None]
    # Exactly on the line: a remainder beyond it would fall into the neighbouring piece.
    cut[:, axis] = line
    upper = np.where((place == n_cuts[edge])[:, None], high[edge], cut)
    lower = np.where((place == 0)[:, None], low[edge], np.roll(upper, 1, axis=0))
    turned = is_backward[edge, None]
    return np.where(turned, upper, lower), np.where(turned, lower, upper)


def _summed(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    value: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    flat = np.bincount(row * shape[1] + column, weights=value, minlength=shape[0] * shape[1])
    return flat.astype(np.float64, copy=False).reshape(shape)
