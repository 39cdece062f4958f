"""Outlines of equal cells: from a label image to polygons on a rectangular lattice.

Owns the tracing and nothing else; knows neither classes nor slides, only integers on a grid of
lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

STEP_COLUMN = np.array([1, 0, -1, 0])
STEP_ROW = np.array([0, 1, 0, -1])
"""Right, down, left, up: an edge of direction d goes one step this way."""

TURNS = (1, 0, 3)
"""Turns tried at a lattice point, in this order: right, straight on, left.

Edges keep their own cell on the left. Where two cells of one component meet at a corner, the right
turn goes round the gap between them, so no ring ever passes a point twice."""


def connected(inside: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
    """Give every 4-connected component of a binary image a number.

    Parameters
    ----------
    inside : ndarray of bool, shape (n_rows, n_columns)
        Cells that belong to some component.

    Returns
    -------
    n_components : int
        Number of components.
    component : ndarray of int32, shape (n_rows, n_columns)
        1 to `n_components` inside, 0 elsewhere.
    """
    import cv2

    image = np.ascontiguousarray(inside).view(np.uint8)
    count, component = cv2.connectedComponents(image, connectivity=4, ltype=cv2.CV_32S)
    return count - 1, np.asarray(component, dtype=np.int32)


def trace(component: NDArray[np.int32], xs: NDArray[Any], ys: NDArray[Any]) -> NDArray[np.object_]:
    """Draw one polygon around every component, holes kept.

    The cost grows with the number of edges between unlike cells, not with the area.

    Parameters
    ----------
    component : ndarray of int32, shape (n_rows, n_columns)
        0 outside; 1 to n, each of them used and 4-connected.
    xs : ndarray, shape (n_columns + 1,)
        Increasing x of the lattice's vertical lines.
    ys : ndarray, shape (n_rows + 1,)
        Increasing y of its horizontal lines.

    Returns
    -------
    ndarray of object, shape (n,)
        Valid shapely polygons, without vertices inside straight sides; component i is at i - 1.
    """
    start, direction, owner = _edges(component)
    if not len(start):
        return np.empty(0, dtype=object)
    width = component.shape[1] + 1
    order, ring_of = _rings(_followers(start, direction, owner, width))
    corner = _is_corner(direction[order], ring_of)
    kept, ring_of = order[corner], ring_of[corner]
    column, row = start[kept] % width, start[kept] // width
    return _polygons(xs[column], ys[row], ring_of, owner[kept])


def _edges(
    component: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """List the unit edges between unlike cells: start point, direction, component on the left."""
    n_rows, n_columns = component.shape
    width = n_columns + 1
    starts: list[NDArray[np.int64]] = []
    directions: list[NDArray[np.int64]] = []
    owners: list[NDArray[np.int32]] = []
    # Shift of the start point from the cell's upper left corner, for the side of each direction:
    # lower side to the right, left side down, upper side to the left, right side up.
    sides = (
        (0, (1, 0), (1, 0)),
        (1, (0, -1), (0, 0)),
        (2, (-1, 0), (0, 1)),
        (3, (0, 1), (1, 1)),
    )
    for direction, (d_row, d_column), (s_row, s_column) in sides:
        is_edge = component > 0
        rows = slice(max(0, -d_row), n_rows - max(0, d_row))
        columns = slice(max(0, -d_column), n_columns - max(0, d_column))
        rows_beside = slice(max(0, d_row), n_rows + min(0, d_row))
        columns_beside = slice(max(0, d_column), n_columns + min(0, d_column))
        is_edge[rows, columns] &= component[rows, columns] != component[rows_beside, columns_beside]
        row, column = np.nonzero(is_edge)
        starts.append((row + s_row) * width + column + s_column)
        directions.append(np.full(len(row), direction, dtype=np.int64))
        owners.append(component[row, column])
    return np.concatenate(starts), np.concatenate(directions), np.concatenate(owners)


def _followers(
    start: NDArray[np.int64],
    direction: NDArray[np.int64],
    owner: NDArray[np.int32],
    width: int,
) -> NDArray[np.int64]:
    """Find the edge that comes after each one on its ring."""
    key = start * 4 + direction
    by_key = np.argsort(key)
    sorted_key = key[by_key]
    end = start + STEP_ROW[direction] * width + STEP_COLUMN[direction]
    follower = np.full(len(start), -1, dtype=np.int64)
    for turn in TURNS:
        open_ends = np.flatnonzero(follower < 0)
        wanted = end[open_ends] * 4 + (direction[open_ends] + turn) % 4
        place = np.minimum(np.searchsorted(sorted_key, wanted), len(start) - 1)
        candidate = by_key[place]
        fits = (sorted_key[place] == wanted) & (owner[candidate] == owner[open_ends])
        follower[open_ends[fits]] = candidate[fits]
    return follower


def _rings(follower: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Walk every cycle of a permutation: the order of the walk, and the cycle of each step."""
    after: list[int] = follower.tolist()
    is_seen = bytearray(len(after))
    order: list[int] = []
    lengths: list[int] = []
    for first in range(len(after)):
        if is_seen[first]:
            continue
        n_before = len(order)
        edge = first
        while not is_seen[edge]:
            is_seen[edge] = 1
            order.append(edge)
            edge = after[edge]
        lengths.append(len(order) - n_before)
    ring_of = np.repeat(np.arange(len(lengths)), lengths)
    return np.array(order, dtype=np.int64), ring_of


def _is_corner(direction: NDArray[np.int64], ring_of: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which edges, in the order of the walk, start with a turn."""
    before = np.roll(direction, 1)
    first = np.flatnonzero(np.diff(ring_of, prepend=-1))
    last = np.append(first[1:], len(ring_of)) - 1
    before[first] = direction[last]
    return direction != before


def _polygons(
    x: NDArray[Any], y: NDArray[Any], ring_of: NDArray[np.int64], owner: NDArray[np.int32]
) -> NDArray[np.object_]:
    """Build the polygons from the corners of all rings, listed ring after ring."""
    first = np.flatnonzero(np.diff(ring_of, prepend=-1))
    next_x, next_y = np.roll(x, -1).astype(float), np.roll(y, -1).astype(float)
    last = np.append(first[1:], len(ring_of)) - 1
    next_x[last], next_y[last] = x[first], y[first]
    area = np.add.reduceat(x * next_y - next_x * y, first)
    corners = np.column_stack([x, y]).astype(float)
    rings: NDArray[np.object_] = np.asarray(shapely.linearrings(corners, indices=ring_of))
    polygon_of = owner[first] - 1
    # With y down and the cell on the left, outer rings come out negative; they must go first.
    into = np.lexsort((area > 0, polygon_of))
    return np.asarray(shapely.polygons(rings[into], indices=polygon_of[into]), dtype=np.object_)
