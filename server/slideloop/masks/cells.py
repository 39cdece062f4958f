"""Masks of grid cells: their pictures (PNG, TIFF) and their polygons.

Owns the way from cells to level-0 squares. Knows nothing of slides as files, of models, or of
QuPath's GeoJSON.

A cell is drawn as a square of the stride's size, centred on its patch, cut at the slide's edge.
With stride = patch, the usual case, that is the patch itself; with overlapping patches the squares
still touch without overlapping; with a stride above the patch size the gaps are shared out.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError
from slideloop.files import whole_file
from slideloop.masks import outlines

POSITIVE_RGB = (0, 255, 0)
"""Green for the class sought, black for all else (paper, Fig. 4)."""

TIFF_TILE_PX = 256
TILES_REMEMBERED = 10_000


@dataclass(frozen=True)
class CellMask:
    """The predicted or given class of every cell of one slide's grid.

    Parameters
    ----------
    label : ndarray of int16, shape (n_rows, n_columns)
        Index into `classes`; -1 is black (dropped, excluded, not indexed).
    probability : ndarray of float32, shape (n_rows, n_columns)
        Of the class in `label`, 0 to 1; NaN where that is -1.
    classes : tuple of str
        Class names.
    patch_px0, stride_px0 : int
        Side and step of the grid in level-0 pixels.
    width, height : int
        Size of the slide in level-0 pixels.
    """

    label: NDArray[np.int16]
    probability: NDArray[np.float32]
    classes: tuple[str, ...]
    patch_px0: int
    stride_px0: int
    width: int
    height: int


@dataclass(frozen=True)
class Component:
    """A 4-connected group of cells of one class.

    Parameters
    ----------
    class_name : str
        Class of all its cells.
    polygon : shapely.Polygon
        Its outline with holes, integer level-0 pixels, valid.
    n_cells : int
        Number of cells.
    probability : float
        Mean over its cells.
    """

    class_name: str
    polygon: shapely.Polygon
    n_cells: int
    probability: float


def cell_edges(n_cells: int, patch_px0: int, stride_px0: int, size_px0: int) -> NDArray[np.int64]:
    """Give the lines between the cells along one axis.

    Parameters
    ----------
    n_cells : int
        Cells along the axis.
    patch_px0, stride_px0 : int
        Side and step of the grid in level-0 pixels.
    size_px0 : int
        Width or height of the slide in level-0 pixels.

    Returns
    -------
    ndarray of int64, shape (n_cells + 1,)
        Increasing level-0 coordinates; cell i reaches from line i to line i + 1.
    """
    first = (patch_px0 - stride_px0) // 2
    return np.clip(first + stride_px0 * np.arange(n_cells + 1, dtype=np.int64), 0, size_px0)


def class_index(mask: CellMask, class_name: str) -> int:
    """Find a class by its name.

    Raises
    ------
    InvalidInputError
        If the mask has no such class.
    """
    if class_name not in mask.classes:
        raise InvalidInputError(
            f"The mask has no class '{class_name}'.",
            hint=f"It has {', '.join(repr(name) for name in mask.classes)}.",
        )
    return mask.classes.index(class_name)


def components(
    mask: CellMask, class_names: Sequence[str], threshold: float | None = None
) -> list[Component]:
    """Join cells of one class into polygons (paper, section 3: the mask as annotation).

    Parameters
    ----------
    mask : CellMask
        Cells of one slide.
    class_names : sequence of str
        Classes wanted, each once.
    threshold : float, optional
        Cells of a lower probability are left out; None keeps all.

    Returns
    -------
    list of Component
        Class by class in the order asked for, then by the first cell in reading order.

    Raises
    ------
    InvalidInputError
        If the mask lacks one of the classes.
    """
    xs, ys = _edges(mask)
    found: list[Component] = []
    for name in class_names:
        inside = mask.label == class_index(mask, name)
        if threshold is not None:
            inside &= mask.probability >= threshold
        n_components, component = outlines.connected(inside)
        polygons = outlines.trace(component, xs, ys)
        of_cell = component[inside]
        n_cells = np.bincount(of_cell, minlength=n_components + 1)[1:]
        weights = mask.probability[inside].astype(np.float64)
        total = np.bincount(of_cell, weights=weights, minlength=n_components + 1)[1:]
        found += [
            Component(name, polygon, n, p)
            for polygon, n, p in zip(
                polygons, n_cells.tolist(), (total / n_cells).tolist(), strict=True
            )
        ]
    return found


def to_png(mask: CellMask, positive: str) -> bytes:
    """Draw the paper's mask, one pixel per cell: green where positive, black elsewhere.

    Parameters
    ----------
    mask : CellMask
        Cells of one slide.
    positive : str
        Class drawn green.

    Returns
    -------
    bytes
        An RGB PNG of n_columns x n_rows pixels.

    Raises
    ------
    InvalidInputError
        If the mask has no such class.
    """
    from PIL import Image

    picture = np.zeros((*mask.label.shape, 3), dtype=np.uint8)
    picture[mask.label == class_index(mask, positive)] = POSITIVE_RGB
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def to_tiff(mask: CellMask, path: Path, positive: str, mpp: float | None) -> None:
    """Write the paper's mask at the slide's own size, as a pyramidal, tiled TIFF.

    Tiles are made and compressed one by one, so memory does not grow with the slide. Each level is
    half the one above, down to a single tile, in a directory of its own, as OpenSlide's generic
    TIFF wants it.

    Parameters
    ----------
    mask : CellMask
        Cells of one slide.
    path : Path
        File to write; it appears only when complete.
    positive : str
        Class drawn green.
    mpp : float or None
        um per level-0 pixel, written as resolution; None leaves that out.

    Raises
    ------
    InvalidInputError
        If the mask has no such class.
    OutputError
        If the file cannot be written.
    """
    import tifffile

    is_positive = mask.label == class_index(mask, positive)
    raw_bytes = mask.width * mask.height * 3
    with (
        whole_file(path) as unfinished,
        tifffile.TiffWriter(unfinished, bigtiff=raw_bytes > 2**31) as tiff,
    ):
        for downsample in _downsamples(mask):
            shape = (-(-mask.height // downsample), -(-mask.width // downsample), 3)
            tiff.write(
                data=_tiles(mask, is_positive, shape, downsample),
                shape=shape,
                dtype="uint8",
                photometric="rgb",
                compression="adobe_deflate",
                tile=(TIFF_TILE_PX, TIFF_TILE_PX),
                subfiletype=int(downsample > 1),
                resolution=_per_cm(mpp, downsample),
                resolutionunit=None if mpp is None else "CENTIMETER",
                metadata=None,
            )


def _edges(mask: CellMask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    n_rows, n_columns = mask.label.shape
    return (
        cell_edges(n_columns, mask.patch_px0, mask.stride_px0, mask.width),
        cell_edges(n_rows, mask.patch_px0, mask.stride_px0, mask.height),
    )


def _cells_of_pixels(edges: NDArray[np.int64], n_pixels: int, scale: float) -> NDArray[np.int64]:
    """Give the cell in which the centre of each pixel lies, -1 for none."""
    centre = (np.arange(n_pixels) + 0.5) * scale
    cell = np.searchsorted(edges, centre, side="right") - 1
    return np.where(cell >= len(edges) - 1, -1, cell)


def _downsamples(mask: CellMask) -> list[int]:
    downsamples = [1]
    while max(mask.width, mask.height) > downsamples[-1] * TIFF_TILE_PX:
        downsamples.append(2 * downsamples[-1])
    return downsamples


def _per_cm(mpp: float | None, downsample: int) -> tuple[float, float] | None:
    if mpp is None:
        return None
    return 1e4 / mpp / downsample, 1e4 / mpp / downsample


def _tiles(
    mask: CellMask, is_positive: NDArray[np.bool_], shape: tuple[int, int, int], downsample: int
) -> Iterator[bytes]:
    """Make the compressed tiles of one level, row by row; equal tiles are made once."""
    xs, ys = _edges(mask)
    across = _runs(_cells_of_pixels(xs, -(-shape[1] // TIFF_TILE_PX) * TIFF_TILE_PX, downsample))
    down = _runs(_cells_of_pixels(ys, -(-shape[0] // TIFF_TILE_PX) * TIFF_TILE_PX, downsample))
    # The last row and column stand for what lies outside the grid: index -1 finds them.
    padded = np.pad(is_positive, ((0, 1), (0, 1)))
    made: dict[tuple[bytes, bytes, bytes], bytes] = {}
    for row, height in down:
        strip = padded[row]
        for column, width in across:
            green = strip[:, column]
            key = (height.tobytes(), width.tobytes(), green.tobytes())
            if key not in made:
                if len(made) >= TILES_REMEMBERED:
                    made.clear()
                made[key] = _compressed(green.repeat(height, axis=0).repeat(width, axis=1))
            yield made[key]


def _runs(cell: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Give the cells that each tile shows along one axis, and over how many pixels each."""
    runs: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
    for first in range(0, len(cell), TIFF_TILE_PX):
        of_tile = cell[first : first + TIFF_TILE_PX]
        start = np.flatnonzero(np.diff(of_tile, prepend=-2))
        runs.append((of_tile[start], np.diff(start, append=TIFF_TILE_PX)))
    return runs


def _compressed(green: NDArray[np.bool_]) -> bytes:
    tile = np.zeros((*green.shape, 3), dtype=np.uint8)
    tile[..., 1] = green * np.uint8(POSITIVE_RGB[1])
    # Higher levels take twice as long and find little more in such a picture.
    return zlib.compress(tile.tobytes(), 1)
