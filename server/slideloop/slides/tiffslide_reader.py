"""Slides through TiffSlide: SVS and generic TIFF, tiled or striped.

Owns everything that is peculiar to TiffSlide; imported only when a slide is opened with it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiffslide import TiffSlide

from slideloop.errors import UnreadableSlideError
from slideloop.slides.pyramid import PyramidReader, on_white
from slideloop.slides.reader import SlideInfo, plausible_mpp
from slideloop.slides.tiff_header import TiffHeader


def open_file(path: Path, header: TiffHeader | None) -> TiffSlideReader:
    """Open a file with TiffSlide.

    Parameters
    ----------
    path : Path
        A regular file.
    header : TiffHeader or None
        What its header says, for the meaning of alpha.

    Returns
    -------
    TiffSlideReader

    Raises
    ------
    UnreadableSlideError
        If TiffSlide cannot open it.
    """
    # TiffSlide, tifffile and zarr raise whatever comes; all of it means the same here.
    try:
        slide = TiffSlide(path)
    except Exception as err:
        raise _cannot_open(path, err) from err
    try:
        properties = slide.properties
        axes = properties["tiffslide.series-axes"]
        if axes != "YXS":
            raise ValueError(f"axes {axes}")
        width, height = slide.dimensions
        info = SlideInfo(
            path=path,
            width=width,
            height=height,
            mpp=plausible_mpp(properties["tiffslide.mpp-x"], properties["tiffslide.mpp-y"]),
            level_downsamples=tuple(float(value) for value in slide.level_downsamples),
            reader="tiffslide",
            vendor=header.vendor if header else properties["tiffslide.vendor"],
        )
    except Exception as err:
        slide.close()
        raise _cannot_open(path, err) from err
    return TiffSlideReader(slide, info, bool(header and header.is_alpha_premultiplied))


def _cannot_open(path: Path, err: Exception) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"TiffSlide cannot open {path.name!r} ({type(err).__name__}: {err})."
    )


class TiffSlideReader(PyramidReader):
    """A slide open in TiffSlide, which keeps one array handle per thread (TiffSlide issue 14)."""

    def __init__(self, slide: TiffSlide, info: SlideInfo, is_premultiplied: bool) -> None:
        super().__init__(info, slide.level_dimensions)
        self._slide = slide
        self._is_premultiplied = is_premultiplied

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._slide.close()

    def _read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        location = (self._level0(x, level), self._level0(y, level))
        try:
            pixels = self._slide.read_region(location, level, (width, height), as_array=True)
        except Exception as err:
            raise UnreadableSlideError(
                f"{self.info.path.name!r} cannot be decoded at ({x}, {y}) of level {level} "
                f"({type(err).__name__}: {err}).",
                hint="The file is damaged there; copy it again from where it came.",
            ) from err
        pixels = np.asarray(pixels, dtype=np.uint8)
        if pixels.shape[2] == 4:
            return on_white(pixels, is_premultiplied=self._is_premultiplied)
        return np.ascontiguousarray(pixels)

    def _level0(self, position: int, level: int) -> int:
        """Find the level-0 position that TiffSlide truncates to a position of a level."""
        downsample = self.info.level_downsamples[level]
        position0 = math.ceil(position * downsample)
        return position0 if int(position0 / downsample) >= position else position0 + 1
