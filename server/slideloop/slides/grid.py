"""The grid of patches on a slide: where they lie, what they are called, in which order they come.

Owns the arithmetic between level-0 rectangles and cells. Knows nothing of files, pixels or
networks.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from slideloop.errors import GridError, InvalidInputError, MppNeededError, OutsideSlideError
from slideloop.slides.limits import DEFAULT_LIMITS, Limits

PATCH_NAMESPACE = uuid.UUID("a2b3c1a6-6b0f-5a55-9a3e-2f4d8f0c71be")
"""Namespace of the UUIDv5 of patches; a change of it would rename every patch ever shown."""

SMALLEST_PATCH_PX = 16
N_BLOCKS = 256
"""Blocks that one pass of `visit_order` touches: as many as patches are needed for a query."""

N_SPREAD = 1024
"""Patches that `visit_order` spreads one by one; the others come in groups of neighbours."""

_GROUP_CELLS, _GROUP_PX0 = 8, 2048

MOST_SQUARES_A_SIDE = 4
"""Most squares a query is cut into along one side (algorithm, section 2)."""


@dataclass(frozen=True)
class Grid:
    """Squares of one size at regular steps from the top left corner (paper, ICIAR set-up).

    Parameters
    ----------
    patch_px, stride_px : int
        Side and step in the pixels that are fed on, after resampling to `mpp`.
    mpp : float or None
        Target resolution in um/px; None means the slide's own, without resampling.
    patch_px0, stride_px0 : int
        Side and step in level-0 pixels.
    n_columns, n_rows : int
        Complete squares along x and y, at least 1 each.
    """

    patch_px: int
    stride_px: int
    mpp: float | None
    patch_px0: int
    stride_px0: int
    n_columns: int
    n_rows: int

    @cached_property
    def n_cells(self) -> int:
        """Number of patches."""
        return self.n_columns * self.n_rows

    def group_of(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the group of neighbours that each cell belongs to: what is read at one time.

        Parameters
        ----------
        cells : ndarray of int64
            Flat indices, `row * n_columns + column`.
        """
        side = max(1, min(_GROUP_CELLS, _GROUP_PX0 // self.patch_px0))
        rows, columns = np.divmod(cells, self.n_columns)
        return rows // side * self.n_columns + columns // side

    def rectangle(self, column: int, row: int) -> tuple[int, int, int, int]:
        """Give the square of one cell.

        Parameters
        ----------
        column, row : int
            Cell inside the grid.

        Returns
        -------
        tuple of int
            `(x, y, width, height)` in level-0 pixels.

        Raises
        ------
        InvalidInputError
            If the cell is not in the grid.
        """
        if not (0 <= column < self.n_columns and 0 <= row < self.n_rows):
            raise InvalidInputError(
                f"Cell (column {column}, row {row}) is not in a grid of "
                f"{self.n_columns} x {self.n_rows} patches.",
                hint="Columns and rows count from 0.",
            )
        return (column * self.stride_px0, row * self.stride_px0, self.patch_px0, self.patch_px0)

    def cell_at(self, x: float, y: float, width: float, height: float) -> tuple[int, int] | None:
        """Find the cell whose square is exactly the given one.

        Parameters
        ----------
        x, y, width, height : float
            Rectangle in level-0 pixels.

        Returns
        -------
        tuple of int or None
            `(column, row)`; None if the rectangle equals no patch of the grid.
        """
        if width != self.patch_px0 or height != self.patch_px0:
            return None
        column, rest_x = divmod(x, self.stride_px0)
        row, rest_y = divmod(y, self.stride_px0)
        if rest_x or rest_y:
            return None
        if not (0 <= column < self.n_columns and 0 <= row < self.n_rows):
            return None
        return int(column), int(row)

    def cells_covered(
        self, x: float, y: float, width: float, height: float, share: float = 0.5
    ) -> NDArray[np.int32]:
        """Find the cells that a rectangle covers to at least a share of their area.

        Parameters
        ----------
        x, y, width, height : float
            Rectangle in level-0 pixels; it may reach beyond the slide.
        share : float
            Least covered share of a cell's area, above 0 and at most 1.

        Returns
        -------
        ndarray of int32, shape (n, 2)
            `(column, row)` of each such cell, row by row.

        Raises
        ------
        InvalidInputError
            If the rectangle is not a finite one of positive size, or `share` is out of range.
        """
        _require_rectangle(x, y, width, height)
        if not 0 < share <= 1:
            raise InvalidInputError(
                f"A share of {share} of a patch cannot be covered.",
                hint="Give a share above 0 and at most 1.",
            )
        columns, along_x = self._overlaps(x, width, self.n_columns)
        rows, along_y = self._overlaps(y, height, self.n_rows)
        # A hair below, so that a half that floats cannot hold exactly still counts as one.
        least = share * self.patch_px0**2 * (1 - 1e-9)
        chosen_rows, chosen_columns = np.nonzero(np.outer(along_y, along_x) >= least)
        cells = np.column_stack((columns[chosen_columns], rows[chosen_rows]))
        return cells.astype(np.int32)

    def _overlaps(
        self, start: float, length: float, n_cells: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Give the cells along one side that touch an interval, and how many pixels of each."""
        first = math.floor((start - self.patch_px0) / self.stride_px0)
        last = math.ceil((start + length) / self.stride_px0)
        cells = np.arange(max(first, 0), min(last + 1, n_cells), dtype=np.int64)
        left = cells * float(self.stride_px0)
        overlap = np.minimum(left + self.patch_px0, start + length) - np.maximum(left, start)
        return cells, np.maximum(overlap, 0.0)


def make_grid(
    width: int,
    height: int,
    mpp: float | None,
    patch_px: int = 256,
    stride_px: int | None = None,
    target_mpp: float | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> Grid:
    """Lay a grid on a slide; incomplete squares at the right and lower edge are left out.

    Parameters
    ----------
    width, height : int
        Size of the slide in level-0 pixels.
    mpp : float or None
        The slide's um/px at level 0; None if unknown.
    patch_px : int
        Side of a patch in pixels, at `target_mpp` where that is given.
    stride_px : int or None
        Step between patches in the same pixels; None means no overlap and no gap.
    target_mpp : float or None
        Resolution to resample to, um/px; None means the slide's own.
    limits : Limits
        Most cells and largest patch that are accepted.

    Returns
    -------
    Grid
        At least one patch.

    Raises
    ------
    MppNeededError
        If `target_mpp` is given and the slide's mpp is unknown.
    GridError
        If the slide is smaller than one patch.
    InvalidInputError
        If a size makes no sense or asks for more patches than `limits` allow.
    """
    stride_px = patch_px if stride_px is None else stride_px
    if patch_px < SMALLEST_PATCH_PX:
        raise InvalidInputError(
            f"A patch of {patch_px} px is too small.",
            hint=f"Give at least {SMALLEST_PATCH_PX} px; the paper uses 256.",
        )
    if stride_px < 1:
        raise InvalidInputError(
            f"A stride of {stride_px} px leads nowhere.", hint="Give at least 1 px."
        )
    scale = _scale(mpp, target_mpp)
    patch_px0 = round(patch_px * scale)
    stride_px0 = max(1, round(stride_px * scale))
    if not SMALLEST_PATCH_PX <= patch_px0 <= limits.patch_px0:
        raise InvalidInputError(
            f"A patch would be {patch_px0} px wide on the slide, "
            f"outside {SMALLEST_PATCH_PX} to {limits.patch_px0} px.",
            hint="Choose another patch size or resolution.",
        )
    if width < patch_px0 or height < patch_px0:
        raise GridError(
            f"The slide of {width} x {height} px is smaller than one patch of {patch_px0} px.",
            hint="Choose a smaller patch.",
        )
    grid = Grid(
        patch_px=patch_px,
        stride_px=stride_px,
        mpp=target_mpp,
        patch_px0=patch_px0,
        stride_px0=stride_px0,
        n_columns=(width - patch_px0) // stride_px0 + 1,
        n_rows=(height - patch_px0) // stride_px0 + 1,
    )
    if grid.n_cells > limits.grid_cells:
        raise InvalidInputError(
            f"The grid would have {grid.n_cells:,} patches, more than {limits.grid_cells:,}.",
            hint="Choose a larger patch or stride.",
        )
    return grid


def _scale(mpp: float | None, target_mpp: float | None) -> float:
    """Level-0 pixels per pixel at the target resolution."""
    if target_mpp is None:
        return 1.0
    if not (math.isfinite(target_mpp) and target_mpp > 0):
        raise InvalidInputError(
            f"A resolution of {target_mpp} um/px makes no sense.",
            hint="Usual values lie between 0.2 and 2.",
        )
    if mpp is None:
        raise MppNeededError(
            f"Patches at {target_mpp} um/px were asked for, "
            "but the slide does not say how large its pixels are.",
            hint="Give it with --assume-mpp, or leave --mpp out.",
        )
    if not (math.isfinite(mpp) and mpp > 0):
        raise InvalidInputError(
            f"Slide pixels of {mpp} um make no sense.", hint="Give the slide's um/px."
        )
    return target_mpp / mpp


def visit_order(grid: Grid, seed: int = 0) -> NDArray[np.int64]:
    """Order the cells so that every prefix covers the slide evenly (algorithm, 1.5).

    The grid is divided into about `N_BLOCKS` blocks of nearly equal size. Each pass visits every
    block that has cells left once, in a newly shuffled order, and takes a random cell of it. After
    `N_SPREAD` cells, the first of a group of neighbours brings all that are left of them, row by
    row, since they are read several times as fast together.

    Parameters
    ----------
    grid : Grid
        The grid to visit.
    seed : int
        Same seed, same order, on every machine: only the raw bits of the generator are used,
        which numpy keeps stable.

    Returns
    -------
    ndarray of int64, shape (n_cells,)
        A permutation of the flat cell indices `row * n_columns + column`.
    """
    generator = np.random.PCG64(seed)
    block = _blocks(grid)
    inside = np.lexsort((generator.random_raw(grid.n_cells), block))
    sizes = np.bincount(block)
    starts = np.cumsum(sizes) - sizes
    turn = np.empty(grid.n_cells, dtype=np.int64)
    turn[inside] = np.arange(grid.n_cells) - np.repeat(starts, sizes)
    order = np.lexsort((generator.random_raw(grid.n_cells), turn)).astype(np.int64)
    rest = order[N_SPREAD:]
    _, first, group = np.unique(grid.group_of(rest), return_index=True, return_inverse=True)
    return np.concatenate((order[:N_SPREAD], rest[np.lexsort((rest, first[group]))]))


def _blocks(grid: Grid) -> NDArray[np.int64]:
    """Give the block of each cell, row by row; blocks differ by at most one cell a side."""
    side = max(1.0, math.sqrt(grid.n_cells / N_BLOCKS))
    across = max(1, min(grid.n_columns, round(grid.n_columns / side)))
    down = max(1, min(grid.n_rows, round(grid.n_rows / side)))
    block_column = np.arange(grid.n_columns, dtype=np.int64) * across // grid.n_columns
    block_row = np.arange(grid.n_rows, dtype=np.int64) * down // grid.n_rows
    return (block_row[:, None] * across + block_column[None, :]).ravel()


def patch_id(fingerprint: str, patch_px0: int, stride_px0: int, column: int, row: int) -> str:
    """Name a patch for ever: slide content, size and stride in level-0 pixels, column, row.

    Parameters
    ----------
    fingerprint : str
        Fingerprint of the slide, which a move of the file does not change.
    patch_px0, stride_px0 : int
        Side and step of the grid in level-0 pixels; both 0 for tiles of a folder.
    column, row : int
        Cell of the grid.

    Returns
    -------
    str
        A UUIDv5 in its usual form.
    """
    name = f"{fingerprint}/{patch_px0}/{stride_px0}/{column}/{row}"
    return str(uuid.uuid5(PATCH_NAMESPACE, name))


def query_squares(
    rectangle: tuple[float, float, float, float], grid: Grid, width: int, height: int
) -> list[tuple[int, int, int, int]]:
    """Cut the expert's rectangle into patch-sized squares (algorithm, section 2; paper, Fig. 1).

    What lies outside the slide is cut off first. Then `clip(round(side / patch), 1, 4)` squares
    along each side, centres evenly spaced, are moved inside the slide where they reach out.

    Parameters
    ----------
    rectangle : tuple of float
        `(x, y, width, height)` in level-0 pixels, any size.
    grid : Grid
        Gives the size of the squares; they need not lie on it.
    width, height : int
        Size of the slide in level-0 pixels, at least one patch.

    Returns
    -------
    list of tuple of int
        1 to 16 squares `(x, y, width, height)`, row by row, no two the same.

    Raises
    ------
    OutsideSlideError
        If no part of the rectangle lies on the slide.
    InvalidInputError
        If the rectangle is not a finite one of positive size.
    """
    x, y, rectangle_width, rectangle_height = rectangle
    _require_rectangle(x, y, rectangle_width, rectangle_height)
    left, right = max(x, 0), min(x + rectangle_width, width)
    top, bottom = max(y, 0), min(y + rectangle_height, height)
    if left >= right or top >= bottom:
        raise OutsideSlideError(
            f"The rectangle at ({x:g}, {y:g}) of {rectangle_width:g} x {rectangle_height:g} px "
            f"lies outside the slide of {width} x {height} px.",
            hint="Draw it on the slide.",
        )
    side = grid.patch_px0
    return [
        (square_x, square_y, side, side)
        for square_y in _square_starts(top, bottom, side, height)
        for square_x in _square_starts(left, right, side, width)
    ]


def _square_starts(start: float, end: float, side: int, slide_length: int) -> list[int]:
    """Place squares along one side of a rectangle that lies on the slide."""
    n_squares = min(max(round((end - start) / side), 1), MOST_SQUARES_A_SIDE)
    step = (end - start) / n_squares
    wanted = (round(start + step * (i + 0.5) - side / 2) for i in range(n_squares))
    return [min(max(position, 0), slide_length - side) for position in wanted]


def _require_rectangle(x: float, y: float, width: float, height: float) -> None:
    if not all(math.isfinite(value) for value in (x, y, width, height)):
        raise InvalidInputError(
            f"The rectangle ({x}, {y}, {width}, {height}) is not finite.",
            hint="Give x, y, width and height in pixels.",
        )
    if width <= 0 or height <= 0:
        raise InvalidInputError(
            f"The rectangle of {width:g} x {height:g} px has no area.",
            hint="Draw it larger.",
        )
