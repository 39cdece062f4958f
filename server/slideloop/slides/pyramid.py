"""What all back-ends share: white surroundings, the bounds offset, levels and scaling.

Owns the geometry of reading. A back-end only delivers pixels from inside one level.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError
from slideloop.slides.reader import SlideInfo

WHITE = 255
_PIXELS_AT_ONCE = 2**24
"""Source pixels held in memory while a large area is scaled down."""

_LEVEL_TOLERANCE = 1.01
"""A level of 4.0001 serves a wanted 4: scanners round the sizes of their levels."""


class PyramidReader(ABC):
    """A slide as levels of decreasing size; implements `reader.SlideReader`.

    Parameters
    ----------
    info : SlideInfo
        What the slide tells about itself.
    level_sizes : tuple of tuple of int
        `(width, height)` of each level in the file, before the bounds are applied.
    """

    def __init__(self, info: SlideInfo, level_sizes: tuple[tuple[int, int], ...]) -> None:
        self._info = info
        self._level_sizes = level_sizes

    @property
    def info(self) -> SlideInfo:
        """What the slide tells about itself."""
        return self._info

    @abstractmethod
    def close(self) -> None:
        """Close the file; a second time does nothing."""

    @abstractmethod
    def _read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a rectangle that lies inside a level, in that level's pixels, as RGB on white."""

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a rectangle at full resolution (see `reader.SlideReader.read`)."""
        _require_sides(width, height)
        left, top = self._info.origin
        return self._read_padded(0, x + left, y + top, width, height)

    def read_scaled(
        self, x: int, y: int, width: int, height: int, out_width: int, out_height: int
    ) -> NDArray[np.uint8]:
        """Read a rectangle and resize it (see `reader.SlideReader.read_scaled`)."""
        _require_sides(width, height)
        _require_sides(out_width, out_height)
        if (width, height) == (out_width, out_height):
            return self.read(x, y, width, height)
        level = self._best_level(min(width / out_width, height / out_height))
        scale_x, scale_y = self._level_scale(level)
        left, top = self._info.origin
        box = (
            (x + left) * scale_x,
            (y + top) * scale_y,
            (x + left + width) * scale_x,
            (y + top + height) * scale_y,
        )
        return self._resample(level, box, out_width, out_height)

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """Read the whole slide small (see `reader.SlideReader.thumbnail`)."""
        width, height = self._info.width, self._info.height
        scale = min(1.0, max_px / max(width, height))
        out_width, out_height = max(1, round(width * scale)), max(1, round(height * scale))
        return self.read_scaled(0, 0, width, height, out_width, out_height)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _level_scale(self, level: int) -> tuple[float, float]:
        """Pixels of a level per level-0 pixel, along x and y."""
        width, height = self._level_sizes[level]
        full_width, full_height = self._level_sizes[0]
        return width / full_width, height / full_height

    def _best_level(self, downsample: float) -> int:
        """Find the coarsest level that is not coarser than wanted."""
        fitting = [
            level
            for level, has in enumerate(self._info.level_downsamples)
            if has <= downsample * _LEVEL_TOLERANCE
        ]
        return max(fitting, key=lambda level: self._info.level_downsamples[level], default=0)

    def _shown(self, level: int) -> tuple[int, int, int, int]:
        """Edges (left, top, right, bottom) of what is shown, in the pixels of a level."""
        scale_x, scale_y = self._level_scale(level)
        level_width, level_height = self._level_sizes[level]
        left, top = self._info.origin
        right, bottom = left + self._info.width, top + self._info.height
        return (
            max(0, math.floor(left * scale_x)),
            max(0, math.floor(top * scale_y)),
            min(level_width, math.ceil(right * scale_x - 1e-6)),
            min(level_height, math.ceil(bottom * scale_y - 1e-6)),
        )

    def _read_padded(
        self, level: int, x: int, y: int, width: int, height: int
    ) -> NDArray[np.uint8]:
        """Read a rectangle in the pixels of a level, white outside what is shown."""
        shown_left, shown_top, shown_right, shown_bottom = self._shown(level)
        left, right = max(x, shown_left), min(x + width, shown_right)
        top, bottom = max(y, shown_top), min(y + height, shown_bottom)
        if (left, top, right, bottom) == (x, y, x + width, y + height):
            return self._read_level(level, x, y, width, height)
        padded = np.full((height, width, 3), WHITE, dtype=np.uint8)
        if left < right and top < bottom:
            padded[top - y : bottom - y, left - x : right - x] = self._read_level(
                level, left, top, right - left, bottom - top
            )
        return padded

    def _resample(
        self, level: int, box: tuple[float, float, float, float], out_width: int, out_height: int
    ) -> NDArray[np.uint8]:
        """Resize a box of a level, in bands so that memory stays bounded.

        A band is read with the margin that the filter reaches over, which gives the pixels of
        resizing the whole box at once, give or take a grey level of rounding.
        """
        from PIL import Image

        left, top, right, bottom = box
        x, first_y = math.floor(left + 1e-6), math.floor(top + 1e-6)
        width = max(1, math.ceil(right - 1e-6) - x)
        last_y = max(first_y + 1, math.ceil(bottom - 1e-6))
        step = (bottom - top) / out_height
        rows_at_once = max(1, int(_PIXELS_AT_ONCE / (width * step)))
        margin = math.ceil(max(step, 1.0)) + 1
        out = np.empty((out_height, out_width, 3), dtype=np.uint8)
        for row in range(0, out_height, rows_at_once):
            end_row = min(row + rows_at_once, out_height)
            band_top, band_bottom = top + row * step, top + end_row * step
            y = max(first_y, math.floor(band_top) - margin)
            end_y = min(last_y, math.ceil(band_bottom) + margin)
            band = Image.fromarray(self._read_padded(level, x, y, width, end_y - y))
            band_box = (
                max(0.0, left - x),
                max(0.0, band_top - y),
                min(float(width), right - x),
                min(float(end_y - y), band_bottom - y),
            )
            resized = band.resize(
                (out_width, end_row - row), Image.Resampling.BILINEAR, box=band_box
            )
            out[row:end_row] = np.asarray(resized)
        return out


def on_white(rgba: NDArray[np.uint8], *, is_premultiplied: bool = False) -> NDArray[np.uint8]:
    """Lay transparent pixels on white.

    Parameters
    ----------
    rgba : ndarray of uint8, shape (height, width, 4)
        Red, green, blue, alpha.
    is_premultiplied : bool
        Whether the colours are multiplied by alpha already.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB, contiguous.
    """
    alpha = rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    colour = rgba[..., :3].astype(np.uint16)
    opacity = alpha.astype(np.uint16)
    if not is_premultiplied:
        colour = (colour * opacity + 127) // 255
    return np.minimum(colour + (255 - opacity), 255).astype(np.uint8)


def _require_sides(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise InvalidInputError(
            f"A rectangle of {width} x {height} px holds no pixels.", hint="Give sides above 0."
        )
