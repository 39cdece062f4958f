"""Slides through OpenSlide: SVS, MRXS, NDPI, SCN, BIF, VMS, DICOM, tiled TIFF.

Owns everything that is peculiar to OpenSlide, with the bounds as QuPath applies them; imported
only when a slide is opened with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openslide
from numpy.typing import NDArray

from slideloop.errors import UnreadableSlideError
from slideloop.slides.pyramid import PyramidReader, on_white
from slideloop.slides.reader import SlideInfo, plausible_mpp
from slideloop.slides.tiff_header import TiffHeader

_BOUNDS = ("x", "y", "width", "height")


def open_file(path: Path, header: TiffHeader | None) -> OpenSlideReader:
    """Open a file with OpenSlide.

    Parameters
    ----------
    path : Path
        A regular file.
    header : TiffHeader or None
        Not needed; OpenSlide resolves alpha itself.

    Returns
    -------
    OpenSlideReader

    Raises
    ------
    UnreadableSlideError
        If OpenSlide cannot open it.
    """
    del header
    try:
        slide = openslide.OpenSlide(path)
    except (openslide.OpenSlideError, OSError, ValueError) as err:
        raise UnreadableSlideError(f"OpenSlide cannot open {path.name!r} ({err}).") from err
    try:
        properties = dict(slide.properties)
        x, y, width, height = shown_area(properties, *slide.dimensions)
        info = SlideInfo(
            path=path,
            width=width,
            height=height,
            mpp=plausible_mpp(
                properties.get(openslide.PROPERTY_NAME_MPP_X),
                properties.get(openslide.PROPERTY_NAME_MPP_Y),
            ),
            level_downsamples=tuple(float(value) for value in slide.level_downsamples),
            reader="openslide",
            origin=(x, y),
            vendor=properties.get(openslide.PROPERTY_NAME_VENDOR),
        )
        return OpenSlideReader(slide, info)
    except openslide.OpenSlideError as err:
        slide.close()
        raise UnreadableSlideError(f"OpenSlide cannot open {path.name!r} ({err}).") from err


def shown_area(properties: Mapping[str, str], width: int, height: int) -> tuple[int, int, int, int]:
    """Find the part of the slide that QuPath shows.

    QuPath's OpenSlide server shifts every request by the bounds, and takes their size only if
    both sides differ from the slide's.

    Parameters
    ----------
    properties : mapping of str to str
        OpenSlide's properties.
    width, height : int
        Size of the whole slide in level-0 pixels.

    Returns
    -------
    tuple of int
        `(x, y, width, height)` in the file's level-0 pixels; the whole slide if one of the four
        bounds is missing or no number.
    """
    try:
        x, y, shown_width, shown_height = (
            int(properties[f"openslide.bounds-{side}"]) for side in _BOUNDS
        )
    except (KeyError, ValueError):
        return 0, 0, width, height
    if shown_width != width and shown_height != height:
        return x, y, shown_width, shown_height
    return x, y, width, height


class OpenSlideReader(PyramidReader):
    """A slide open in OpenSlide, whose reads are safe from several threads."""

    def __init__(self, slide: openslide.OpenSlide, info: SlideInfo) -> None:
        super().__init__(info, slide.level_dimensions)
        self._slide = slide
        self._is_open = True

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self._is_open:
            self._is_open = False
            self._slide.close()

    def _read_level(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        downsample = self.info.level_downsamples[level]
        location = (round(x * downsample), round(y * downsample))
        try:
            image = self._slide.read_region(location, level, (width, height))
        except (openslide.OpenSlideError, OSError) as err:
            raise UnreadableSlideError(
                f"{self.info.path.name!r} cannot be decoded at ({x}, {y}) of level {level} "
                f"({err}).",
                hint="The file is damaged there; copy it again from where it came.",
            ) from err
        return on_white(np.asarray(image))
