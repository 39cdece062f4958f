"""Opening a slide with the back-end that fits it, behind one interface.

Owns the choice of the back-end and what a slide tells about itself. The back-ends are imported
when a slide needs them, so importing this module costs nothing. Knows nothing of grids.
"""

from __future__ import annotations

import importlib
import math
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from slideloop.errors import (
    InvalidInputError,
    SlideloopError,
    SlideNotFoundError,
    UnreadableSlideError,
)
from slideloop.slides.limits import DEFAULT_LIMITS, Limits
from slideloop.slides.tiff_header import TiffHeader, read_header

PLAUSIBLE_MPP = (0.02, 20.0)
"""Pixel sizes in um that a scanner can have; others are left-over print resolutions."""

_JPEG_2000 = frozenset({33003, 33004, 33005, 34712})

_MODULES = {
    "tiffslide": "slideloop.slides.tiffslide_reader",
    "openslide": "slideloop.slides.openslide_reader",
}
READERS = tuple(_MODULES)
"""Names of the back-ends that `open_slide` takes as `reader`."""


@dataclass(frozen=True)
class SlideInfo:
    """What a slide tells about itself.

    Parameters
    ----------
    path : Path
        The file, as it was named.
    width, height : int
        Size in level-0 pixels, as QuPath shows the slide.
    mpp : float or None
        um per level-0 pixel; None if the file does not say or says something implausible.
    level_downsamples : tuple of float
        Level-0 pixels per pixel of each level, 1.0 first.
    reader : str
        Back-end in use, one of `READERS`.
    origin : tuple of int
        Offset `(x, y)` of the shown area in the file's own level-0 pixels, added to each read.
    vendor : str or None
        Maker or format as the back-end names it; None if it does not say.
    notes : tuple of str
        Sentences for the user on what is unusual about the file.
    """

    path: Path
    width: int
    height: int
    mpp: float | None
    level_downsamples: tuple[float, ...]
    reader: str
    origin: tuple[int, int] = (0, 0)
    vendor: str | None = None
    notes: tuple[str, ...] = ()


class SlideReader(Protocol):
    """An open slide. Reading is safe from several threads; closing is for the last of them."""

    @property
    def info(self) -> SlideInfo:
        """What the slide tells about itself."""
        ...

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read a rectangle at full resolution.

        Parameters
        ----------
        x, y, width, height : int
            Rectangle in level-0 pixels; it may reach beyond the slide.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
            RGB; white where the slide is transparent or has ended.

        Raises
        ------
        InvalidInputError
            If a side is below 1.
        UnreadableSlideError
            If the file's data are damaged there.
        """
        ...

    def read_scaled(
        self, x: int, y: int, width: int, height: int, out_width: int, out_height: int
    ) -> NDArray[np.uint8]:
        """Read a rectangle and resize it (bilinear, antialiased) from the best level.

        Parameters
        ----------
        x, y, width, height : int
            Rectangle in level-0 pixels; it may reach beyond the slide.
        out_width, out_height : int
            Size wanted, at least 1.

        Returns
        -------
        ndarray of uint8, shape (out_height, out_width, 3)
            RGB. Equal to `read` if the size is unchanged. Costs the pixels of the coarsest level
            that is still finer than the wanted size.

        Raises
        ------
        InvalidInputError
            If a side is below 1.
        UnreadableSlideError
            If the file's data are damaged there.
        """
        ...

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """Read the whole slide small.

        Parameters
        ----------
        max_px : int
            Longest side wanted; a smaller slide keeps its size.

        Returns
        -------
        ndarray of uint8, shape (h, w, 3)
            RGB. A slide of one level is read whole, piece by piece.
        """
        ...

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def open_slide(
    path: str | os.PathLike[str],
    reader: str | None = None,
    *,
    limits: Limits = DEFAULT_LIMITS,
) -> SlideReader:
    """Open a slide in this process.

    A file seen for the first time goes through `opening.check_slide` before, since a native
    decoder that crashes here takes the process with it.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    reader : str or None
        Back-end, one of `READERS`; None lets format and compression decide.
    limits : Limits
        What the file's header may ask for.

    Returns
    -------
    SlideReader
        To be closed, or used in a `with` block.

    Raises
    ------
    SlideNotFoundError
        If there is no regular file at `path`.
    NotRgbError
        If its pixels are not 8-bit RGB.
    UnreadableSlideError
        If no back-end reads it, or it asks for more than `limits`.
    InvalidInputError
        If there is no back-end of the name given.
    """
    if reader is not None and reader not in _MODULES:
        raise InvalidInputError(
            f"There is no slide reader named {reader!r}.", hint=f"Choose one of {READERS}."
        )
    slide_path = require_regular_file(path)
    header = read_header(slide_path, limits)
    reasons: list[str] = []
    for name in (reader,) if reader else reader_order(header):
        try:
            return _open_with(name, slide_path, header, limits)
        except UnreadableSlideError as err:
            reasons.append(err.message)
    raise UnreadableSlideError(
        " ".join(reasons),
        hint="Check that the file is complete and of a format that OpenSlide or TiffSlide reads.",
    )


def require_regular_file(path: str | os.PathLike[str]) -> Path:
    """Make sure of a regular file before anything opens it: opening a FIFO would wait for ever.

    Parameters
    ----------
    path : str or PathLike
        Path to look at; symbolic links are followed.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    SlideNotFoundError
        If it is missing, a folder, a FIFO, a device or a socket, or holds a NUL.
    UnreadableSlideError
        If it may not be read.
    """
    slide_path = Path(path)
    hint = "Give the path of a slide file."
    try:
        mode = slide_path.stat().st_mode
    except (OSError, ValueError) as err:
        raise SlideNotFoundError(f"There is no file {str(path)!r}.", hint=hint) from err
    if not stat.S_ISREG(mode):
        raise SlideNotFoundError(f"{str(path)!r} is {_kind(mode)}, not a file.", hint=hint)
    if not os.access(slide_path, os.R_OK):
        raise UnreadableSlideError(
            f"{slide_path.name!r} may not be read.", hint="Ask for permission to read the file."
        )
    return slide_path


def _kind(mode: int) -> str:
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def reader_order(header: TiffHeader | None) -> tuple[str, ...]:
    """Order the back-ends that may open a file, the best first.

    Parameters
    ----------
    header : TiffHeader or None
        What the TIFF header says; None for a file that is no TIFF (MRXS, VMS, DICOM, ...).

    Returns
    -------
    tuple of str
        TiffSlide first, unless OpenSlide alone knows the format, knows the bounds that QuPath
        applies (Leica, Philips, Hamamatsu), or is several times faster (JPEG 2000 in an SVS).
        OpenSlide refuses striped TIFF.
    """
    if header is None or header.vendor == "ventana":
        return ("openslide",)
    if header.vendor in {"leica", "philips", "hamamatsu"}:
        return ("openslide", "tiffslide")
    if not header.is_tiled:
        return ("tiffslide",)
    if header.vendor == "aperio" and header.compression in _JPEG_2000:
        return ("openslide", "tiffslide")
    return ("tiffslide", "openslide")


def _open_with(name: str, path: Path, header: TiffHeader | None, limits: Limits) -> SlideReader:
    opened: SlideReader = importlib.import_module(_MODULES[name]).open_file(path, header)
    try:
        _require_size(opened.info, limits)
    except SlideloopError:
        opened.close()
        raise
    return opened


def _require_size(info: SlideInfo, limits: Limits) -> None:
    if info.width < 1 or info.height < 1:
        raise UnreadableSlideError(f"{info.path.name!r} has no pixels.")
    if info.width * info.height > limits.image_pixels:
        raise UnreadableSlideError(
            f"{info.path.name!r} promises {info.width} x {info.height} px, "
            f"more than the {limits.image_pixels:,} pixels that are believed."
        )


def plausible_mpp(x_mpp: object, y_mpp: object) -> float | None:
    """Make one pixel size of what a file says, or None of what makes no sense.

    Parameters
    ----------
    x_mpp, y_mpp : object
        um/px along each side: numbers, their text, or None.

    Returns
    -------
    float or None
        Their mean, as QuPath averages them, if both lie within `PLAUSIBLE_MPP`.
    """
    values: list[float] = []
    for raw in (x_mpp, y_mpp):
        try:
            value = float(raw)  # pyright: ignore[reportArgumentType]
        except (TypeError, ValueError, OverflowError):
            return None
        if not (math.isfinite(value) and PLAUSIBLE_MPP[0] <= value <= PLAUSIBLE_MPP[1]):
            return None
        values.append(value)
    return sum(values) / 2
