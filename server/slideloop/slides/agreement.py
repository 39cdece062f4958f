"""Whether a slide here is what QuPath shows: size, um/px, the way it is read there, pixels.

Owns the comparison, all of it in the coordinates that QuPath shows. Knows nothing of requests.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import (
    InvalidInputError,
    ServerTypeUnsupportedError,
    SlideMppDiffersError,
    SlidePixelsDifferError,
    SlideSizeDiffersError,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.slides.reader import SlideInfo, SlideReader

SERVER_TYPES = ("OpenSlide", "Bio-Formats", "ImageJ server", "BufferedImage wrapper")
"""What `getServerType()` says in QuPath 0.5 to 0.7 where pixels come straight from the file.

A wrapper puts its own words around these or in their place: "OpenSlide (Rotate 180)",
"Bio-Formats (Flip HORIZONTAL)", "OpenSlide [reorder BGR]", "Cropped image server",
"Affine transform server", "Z-concatenated image server" and others.
"""

_PYRAMID = re.compile(r"Generated pyramid \((.*)\)")
"""What QuPath puts around a large image without a pyramid by default; level 0 stays as it is."""

SAME_MPP = 0.01
"""um/px may differ by this share: QuPath averages both directions, and stores some as float32."""

MAX_PROBES = 64
MAX_PROBE_PX = 2**25
"""Pixels of all rectangles of a probe together, about a second's reading."""

COLOUR_TOLERANCE = 4.0
"""Grey levels by which a mean colour may differ, per channel."""

_ROWS_AT_ONCE = 512

_PLACE_PX, _OVERVIEW_PX = 256, 1024
_N_PARTS, _N_PLACES = 4, 8


def check_agreement(
    info: SlideInfo,
    reader: SlideReader,
    *,
    width: int | None = None,
    height: int | None = None,
    mpp: float | None = None,
    server_type: str | None = None,
    probe: Sequence[dict[str, Any]] = (),
) -> None:
    """Refuse a slide that is not what the client shows; what is None is not compared.

    Parameters
    ----------
    info : SlideInfo
        What the file says.
    reader : SlideReader
        The open slide.
    width, height : int, optional
        Level-0 pixels.
    mpp : float, optional
        um per level-0 pixel.
    server_type : str, optional
        QuPath's `server.getServerType()`.
    probe : sequence of dict
        Rectangles `x, y, width, height` in level-0 pixels inside the slide, with `rgb`, the mean
        red, green and blue (0 to 255) that the client shows there.

    Raises
    ------
    ServerTypeUnsupportedError
        If the client shows it rotated, flipped, cropped, or in a way that is not known.
    SlideSizeDiffersError, SlideMppDiffersError
    SlidePixelsDifferError
        If a mean colour differs by more than `COLOUR_TOLERANCE` grey levels.
    InvalidInputError
        If the probe is too large, or not inside the slide.
    UnreadableSlideError
        If the slide cannot be read there.
    """
    if server_type is not None:
        _check_server_type(info, server_type)
    _check_size(info, width, height)
    _check_mpp(info, mpp)
    _check_pixels(info, reader, probe)


def _check_server_type(info: SlideInfo, server_type: str) -> None:
    wrapped = _PYRAMID.fullmatch(server_type)
    if (wrapped[1] if wrapped else server_type) in SERVER_TYPES:
        return
    shown = server_type if len(server_type) <= 80 else f"{server_type[:80]}..."
    raise ServerTypeUnsupportedError(
        f"QuPath shows {info.path.name} through {shown!r}, which may turn, flip, cut or recolour "
        "it.",
        hint="Add the image to the project again, without rotation, flip or crop. "
        f"Known: {', '.join(SERVER_TYPES)}.",
    )


def _check_size(info: SlideInfo, width: int | None, height: int | None) -> None:
    shown = info.width if width is None else width, info.height if height is None else height
    if shown != (info.width, info.height):
        raise SlideSizeDiffersError(
            f"QuPath shows {info.path.name} with {shown[0]} x {shown[1]} px, the file has "
            f"{info.width} x {info.height} px here.",
            hint="Open the file's main image in QuPath, not another series, and not rotated or "
            "cropped.",
        )


def _check_mpp(info: SlideInfo, mpp: float | None) -> None:
    if mpp is None or info.mpp is None or abs(mpp / info.mpp - 1) <= SAME_MPP:
        return
    raise SlideMppDiffersError(
        f"QuPath has {mpp:.5g} um/px for {info.path.name}, the file says {info.mpp:.5g} um/px.",
        hint="Put the pixel size in QuPath's Image tab back to the file's, or open another file.",
    )


def _check_pixels(info: SlideInfo, reader: SlideReader, probe: Sequence[dict[str, Any]]) -> None:
    _check_probe(info, probe)
    for rectangle in probe:
        x, y, width, height = (rectangle[side] for side in ("x", "y", "width", "height"))
        shown = np.asarray(rectangle["rgb"], np.float64)
        here = mean_colour(reader, x, y, width, height)
        if np.abs(shown - here).max() > COLOUR_TOLERANCE:
            raise SlidePixelsDifferError(
                f"QuPath shows {info.path.name} at ({x}, {y}), {width} x {height} px, with the "
                f"mean colour {_named(shown)}, the file has {_named(here)} there.",
                hint="It is another file, series or plane, or QuPath shows it rotated or flipped: "
                "add the file to the project again as it is.",
            )


def _check_probe(info: SlideInfo, probe: Sequence[dict[str, Any]]) -> None:
    if len(probe) > MAX_PROBES or sum(p["width"] * p["height"] for p in probe) > MAX_PROBE_PX:
        raise InvalidInputError(
            f"A probe has at most {MAX_PROBES} rectangles of {MAX_PROBE_PX:,} px together.",
            hint="Send fewer or smaller ones; 16 of 256 x 256 px are enough.",
        )
    for rectangle in probe:
        x, y, width, height = (rectangle[side] for side in ("x", "y", "width", "height"))
        is_inside = 0 <= x < x + width <= info.width and 0 <= y < y + height <= info.height
        if not is_inside:
            raise InvalidInputError(
                f"The probe's rectangle at ({x}, {y}) of {width} x {height} px is not inside the "
                f"slide of {info.width} x {info.height} px.",
                hint="Send level-0 pixels.",
            )


def probe_places(reader: SlideReader) -> list[dict[str, int]]:
    """Return rectangles by which a slide can be told from another, or from itself turned.

    They are the most coloured place of each sixteenth of the slide, and the best eight of these.

    Parameters
    ----------
    reader : SlideReader
        The open slide.

    Returns
    -------
    list of dict
        `x, y, width, height` in level-0 pixels, inside the slide; at least one.

    Raises
    ------
    UnreadableSlideError
        If the slide cannot be read.
    """
    info = reader.info
    width, height = min(_PLACE_PX, info.width), min(_PLACE_PX, info.height)
    overview = reader.thumbnail(_OVERVIEW_PX).astype(np.int16)
    colour = overview.max(2) - overview.min(2)
    scale = info.width / colour.shape[1], info.height / colour.shape[0]
    step = max(1, round(width / scale[0])), max(1, round(height / scale[1]))
    best: dict[tuple[int, int], tuple[float, int, int]] = {}
    for top in range(0, colour.shape[0] - step[1] + 1, step[1]):
        for left in range(0, colour.shape[1] - step[0] + 1, step[0]):
            part = top * _N_PARTS // colour.shape[0], left * _N_PARTS // colour.shape[1]
            here = float(colour[top : top + step[1], left : left + step[0]].mean())
            if here > best.get(part, (-1.0, 0, 0))[0]:
                best[part] = here, left, top
    found = sorted(best.values(), key=lambda each: -each[0])[:_N_PLACES] or [(0.0, 0, 0)]
    return [
        {
            "x": min(int(left * scale[0]), info.width - width),
            "y": min(int(top * scale[1]), info.height - height),
            "width": width,
            "height": height,
        }
        for _, left, top in found
    ]


def mean_colour(
    reader: SlideReader, x: int, y: int, width: int, height: int
) -> NDArray[np.float64]:
    """Return the mean red, green and blue of a rectangle, 0 to 255, shape (3,).

    Parameters
    ----------
    reader : SlideReader
    x, y, width, height : int
        Level-0 pixels, read at full resolution.
    """
    total = np.zeros(3)
    for top in range(y, y + height, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, y + height - top)
        total += reader.read(x, top, width, rows).sum((0, 1), dtype=np.int64)
    return total / (width * height)


def _named(rgb: NDArray[np.float64]) -> str:
    return f"({', '.join(f'{value:.1f}' for value in rgb)})"
