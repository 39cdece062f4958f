"""Write an RGB picture that comes in strips as a tiled pyramidal TIFF.

Owns the layout that both TiffSlide and OpenSlide read with the same levels. It knows nothing of
what the picture shows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError
from slideloop.files import whole_file

_RATIO = 4
_STRIP_PX = 1024
_LARGEST_SMALLEST_LEVEL_PX = 1024
_CLASSIC_TIFF_BYTES = 2**32 - 2**25
_ENCODE_BYTES = 2**24  # encoded at a time, instead of a quarter of a gigabyte
_COMPRESSIONS = ("jpeg", "deflate", "lzw", "none")


def write_pyramid(
    strips: Iterable[NDArray[np.uint8]],
    size: tuple[int, int],
    path: str | Path,
    *,
    tile: int = 256,
    compression: str = "jpeg",
    mpp: float | None = 0.5,
    levels: int | None = None,
) -> None:
    """Write strips as a tiled TIFF whose levels are reduced pages at the top of the file.

    OpenSlide's generic TIFF sees no levels in SubIFDs, hence the pages. Each level has a quarter
    of the width and height of the one before, by averaging. What is held at once is one strip;
    the levels to come wait in temporary files beside the new one.

    Parameters
    ----------
    strips : iterable of ndarray of uint8, shape (1024, width, 3)
        RGB from the top; the last one may be lower.
    size : tuple of int
        Width and height of level 0 in pixels.
    path : str or Path
        The file to make; written under a temporary name and renamed, an old one is replaced.
    tile : int
        Side of the tiles in pixels: a power of two from 16 to 1024.
    compression : str
        "jpeg" (quality 90), "deflate", "lzw" or "none".
    mpp : float or None
        um per pixel of level 0, written as the TIFF resolution; None leaves it out.
    levels : int or None
        Most levels to write; None means down to a longer side of about 1,000 pixels.

    Raises
    ------
    InvalidInputError
        If `tile`, `compression` or `levels` makes no sense.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    if tile not in {16, 32, 64, 128, 256, 512, 1024}:
        raise InvalidInputError(
            f"A tile of {tile} px cannot be used.", hint="Give a power of two from 16 to 1024."
        )
    if compression not in _COMPRESSIONS:
        raise InvalidInputError(
            f"There is no compression {compression!r}.",
            hint=f"Give one of {', '.join(_COMPRESSIONS)}.",
        )
    sizes = _level_sizes(size, levels)
    options = _options(tile, compression)
    with (
        whole_file(path) as unfinished,
        tempfile.TemporaryDirectory(prefix=".levels-", dir=path.parent) as levels_folder,
    ):
        _write_levels(strips, unfinished, Path(levels_folder), sizes, options, mpp)


def _level_sizes(size: tuple[int, int], levels: int | None) -> list[tuple[int, int]]:
    if levels is not None and levels < 1:
        raise InvalidInputError(f"A slide of {levels} levels has none.", hint="Give at least 1.")
    sizes = [size]
    while levels is None or len(sizes) < levels:
        width, height = sizes[-1][0] // _RATIO, sizes[-1][1] // _RATIO
        enough = levels is None and max(sizes[-1]) <= _LARGEST_SMALLEST_LEVEL_PX
        if enough or min(width, height) < 1:
            break
        sizes.append((width, height))
    return sizes


def _options(tile: int, compression: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "tile": (tile, tile),
        "photometric": "rgb",
        "dtype": np.uint8,
        "metadata": None,
        "software": "slideloop",
        "maxworkers": 2,
        "buffersize": _ENCODE_BYTES,
    }
    if compression == "jpeg":
        options |= {"compression": "jpeg", "compressionargs": {"level": 90}}
    elif compression != "none":
        options["compression"] = compression
    return options


def _write_levels(
    strips: Iterable[NDArray[np.uint8]],
    path: Path,
    levels_folder: Path,
    sizes: list[tuple[int, int]],
    options: dict[str, Any],
    mpp: float | None,
) -> None:
    import tifffile

    bigtiff = sizes[0][0] * sizes[0][1] * 3 > _CLASSIC_TIFF_BYTES
    tile = options["tile"][0]
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as tiff:
        for level, (width, height) in enumerate(sizes):
            above = None
            if level + 1 < len(sizes):
                above_shape = (sizes[level + 1][1], sizes[level + 1][0], 3)
                above_path = levels_folder / f"level-{level + 1}"
                above = np.memmap(above_path, np.uint8, "w+", shape=above_shape)
            resolution: dict[str, Any] = {}
            if mpp is not None:
                per_cm = 1e4 / (mpp * sizes[0][0] / width)
                resolution = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            tiff.write(
                _tiles(strips, above, tile),
                shape=(height, width, 3),
                subfiletype=1 if level else 0,
                **resolution,
                **options,
            )
            if above is not None:
                strips = _stored_strips(above)


def _stored_strips(level: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for top in range(0, level.shape[0], _STRIP_PX):
        yield np.asarray(level[top : top + _STRIP_PX])


def _tiles(
    strips: Iterable[NDArray[np.uint8]], above: NDArray[np.uint8] | None, tile: int
) -> Iterator[NDArray[np.uint8]]:
    """Tiles in reading order, padded with white; the reduced picture is put into `above`."""
    n_reduced = 0
    for strip in strips:
        height, width = strip.shape[:2]
        if above is not None:
            rows, columns = min(height // _RATIO, above.shape[0] - n_reduced), above.shape[1]
            if rows:
                above[n_reduced : n_reduced + rows] = cv2.resize(
                    strip[: rows * _RATIO, : columns * _RATIO],
                    (columns, rows),
                    interpolation=cv2.INTER_AREA,
                )
            n_reduced += rows
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                piece = strip[top : top + tile, left : left + tile]
                if piece.shape[:2] != (tile, tile):
                    padded = np.full((tile, tile, 3), 255, np.uint8)
                    padded[: piece.shape[0], : piece.shape[1]] = piece
                    piece = padded
                yield np.ascontiguousarray(piece)
