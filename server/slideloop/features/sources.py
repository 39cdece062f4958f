"""Where patches come from: the grid of a slide, or a folder of tiles.

Owns the order and the identity of patches as indexing sees them. Knows nothing of networks.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from slideloop.errors import NotRgbError, UnreadableSlideError
from slideloop.slides.filters import Verdict, is_dropped, judge
from slideloop.slides.grid import visit_order

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slideloop.slides.grid import Grid
    from slideloop.slides.reader import SlideReader

ORDER = "blocks-2"
"""Name of the index order; a change of `visit_order` needs a new one."""

_DENSE = 0.4
"""A rectangle is read in one go if patches cover at least this share of it."""

_KEPT = Verdict(background=False, structureless=False)


class PatchSource(Protocol):
    """Patches in index order, to be filtered and embedded.

    Attributes
    ----------
    name : str
        For messages.
    identity : dict
        What the pixels of the kept patches are a pure function of.
    details : dict
        What else is recorded with the features: size, mpp, path.
    n_cells : int
        Number of patches before the filter.
    """

    name: str
    identity: dict[str, Any]
    details: dict[str, Any]
    n_cells: int

    def order(self) -> NDArray[np.int64]:
        """Return the patches in index order, a permutation of 0..n_cells-1."""
        ...

    def cell(self, position: int) -> tuple[int, int]:
        """Return column and row of a patch."""
        ...

    def read(self, position: int) -> NDArray[np.uint8]:
        """Return the pixels of a patch, uint8 RGB of shape (side, side, 3)."""
        ...

    def read_many(self, positions: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Return the pixels of patches, neighbours of which are read together where that pays."""
        ...

    def verdict(self, patch: NDArray[np.uint8]) -> Verdict:
        """Return what the filter sees in a patch."""
        ...

    def is_kept(self, verdict: Verdict) -> bool:
        """Say whether a patch with this verdict is indexed."""
        ...


class SlidePatches:
    """The grid patches of one slide.

    Parameters
    ----------
    reader : SlideReader
        Open slide.
    grid : Grid
    rule : {"tissue", "paper", "none"}
        Filter.
    fingerprint : str
        Of the slide file.
    """

    def __init__(self, reader: SlideReader, grid: Grid, rule: str, fingerprint: str) -> None:
        info = reader.info
        self.name = info.path.name
        self.reader, self.grid, self.rule = reader, grid, rule
        self.n_cells = grid.n_cells
        self.identity: dict[str, Any] = {
            "fingerprint": fingerprint,
            "grid": {
                "patch_px": grid.patch_px,
                "stride_px": grid.stride_px,
                "mpp": grid.mpp,
                "patch_px0": grid.patch_px0,
                "stride_px0": grid.stride_px0,
            },
            "filter": rule,
            "order": ORDER,
        }
        self.details: dict[str, Any] = {
            "path": str(info.path),
            "width": info.width,
            "height": info.height,
            "mpp": info.mpp,
            "n_columns": grid.n_columns,
            "n_rows": grid.n_rows,
            "reader": info.reader,
        }

    def order(self) -> NDArray[np.int64]:
        """Return the cells in index order (algorithm.md 1.5)."""
        return visit_order(self.grid)

    def cell(self, position: int) -> tuple[int, int]:
        """Return column and row of a flat cell index."""
        row, column = divmod(int(position), self.grid.n_columns)
        return column, row

    def read(self, position: int) -> NDArray[np.uint8]:
        """Return a patch at the grid's resolution."""
        return self.read_square(self.grid.rectangle(*self.cell(position)))

    def read_many(self, positions: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Return patches; neighbours in one go, unless each is resampled by itself."""
        group = self.grid.group_of(positions)
        borders = np.flatnonzero(np.diff(group)) + 1
        return [patch for part in np.split(positions, borders) for patch in self._read_group(part)]

    def _read_group(self, positions: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        side, step = self.grid.patch_px, self.grid.stride_px0
        rows, columns = np.divmod(positions, self.grid.n_columns)
        top, left = rows.min(), columns.min()
        height, width = (int(np.ptp(each)) * step + side for each in (rows, columns))
        is_dense = len(positions) * side**2 >= _DENSE * width * height
        if len(positions) == 1 or side != self.grid.patch_px0 or not is_dense:
            return [self.read(position) for position in map(int, positions)]
        block = self.reader.read(int(left) * step, int(top) * step, width, height)
        places = zip((rows - top) * step, (columns - left) * step, strict=True)
        # Copies: a view of one patch would keep its whole block in memory.
        return [block[y : y + side, x : x + side].copy() for y, x in places]

    def read_square(self, rectangle: tuple[int, int, int, int]) -> NDArray[np.uint8]:
        """Return any patch-sized square, in level-0 pixels, at the grid's resolution."""
        side = self.grid.patch_px
        if rectangle[2:] == (side, side):
            return self.reader.read(*rectangle)
        return self.reader.read_scaled(*rectangle, side, side)

    def verdict(self, patch: NDArray[np.uint8]) -> Verdict:
        """Return what the filter sees in a patch."""
        return judge(patch)

    def is_kept(self, verdict: Verdict) -> bool:
        """Say whether the filter keeps a patch with this verdict."""
        return not is_dropped(verdict, self.rule)


@dataclass(frozen=True)
class TileFile:
    """One tile of a tile folder.

    Attributes
    ----------
    path : Path
    class_name : str
        Name of the folder it lies in.
    """

    path: Path
    class_name: str


class TilePatches:
    """Tiles of a folder as patches: cell (i, 0) is the i-th file (paper, CRC experiment).

    Parameters
    ----------
    tiles : list of TileFile
        In a fixed order.
    name : str
        For messages.
    """

    def __init__(self, tiles: list[TileFile], name: str) -> None:
        self.name, self.tiles, self.n_cells = name, tiles, len(tiles)
        digest = hashlib.sha256()
        for tile in tiles:
            with tile.path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(
                f"{tile.class_name}/{tile.path.name} {content}\n".encode(errors="replace")
            )
        self.identity: dict[str, Any] = {
            "fingerprint": digest.hexdigest(),
            "tiles": len(tiles),
            "filter": "none",
            "order": ORDER,
        }
        self.details: dict[str, Any] = {"path": os.path.commonpath([t.path for t in tiles])}

    def order(self) -> NDArray[np.int64]:
        """Return the tiles shuffled once and for all."""
        return np.lexsort((np.random.PCG64(0).random_raw(self.n_cells),)).astype(np.int64)

    def cell(self, position: int) -> tuple[int, int]:
        """Return the tile's place in the list, as column of a single row."""
        return int(position), 0

    def read(self, position: int) -> NDArray[np.uint8]:
        """Return a tile's pixels.

        Raises
        ------
        NotRgbError
            If it is not 8-bit RGB.
        UnreadableSlideError
            If it is no picture, or of another size than the first one.
        """
        picture = self._picture(position)
        if picture.shape != self._shape:
            raise UnreadableSlideError(
                f"The tile {self.tiles[position].path.name} is of another size than "
                f"{self.tiles[0].path.name}.",
                hint="Cut all tiles to one size.",
            )
        return picture

    def read_many(self, positions: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Return tiles, one by one."""
        return [self.read(position) for position in map(int, positions)]

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return self._picture(0).shape

    def _picture(self, position: int) -> NDArray[np.uint8]:
        from PIL import Image, UnidentifiedImageError

        path = self.tiles[position].path
        try:
            with Image.open(path) as image:
                if image.mode not in ("RGB", "RGBA"):
                    raise NotRgbError(
                        f"The tile {path.name} is not an 8-bit RGB picture (mode {image.mode}).",
                        hint="Convert it, or take it out of the folder.",
                    )
                return np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as err:
            raise UnreadableSlideError(
                f"The tile {path} cannot be read ({err}).", hint="Take it out of the folder."
            ) from err

    def verdict(self, patch: NDArray[np.uint8]) -> Verdict:
        """Return that nothing speaks against a tile: tile folders were chosen by somebody."""
        return _KEPT

    def is_kept(self, verdict: Verdict) -> bool:
        """Say that every tile is kept."""
        return True
