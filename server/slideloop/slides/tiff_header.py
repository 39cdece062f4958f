"""What the header of a TIFF file says, checked before any pixel is decoded.

Owns the checks on formats and limits that need no decoder; it reads directories with tifffile,
which is pure Python. Knows nothing of the back-ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import NotRgbError, UnreadableSlideError
from slideloop.slides.limits import Limits

if TYPE_CHECKING:
    from tifffile import TiffFile

_VENDORS = {
    "is_svs": "aperio",
    "is_scn": "leica",
    "is_ndpi": "hamamatsu",
    "is_bif": "ventana",
    "is_philips": "philips",
    "is_qpi": "perkinelmer",
}
_PHOTOMETRIC_COLOUR = frozenset({2, 6})
"""RGB and YCbCr."""


@dataclass(frozen=True)
class TiffHeader:
    """The facts of a TIFF's largest image on which the choice of a reader hangs.

    Parameters
    ----------
    vendor : str
        `aperio`, `leica`, `hamamatsu`, `ventana`, `philips`, `perkinelmer` or `generic-tiff`.
    is_tiled : bool
        Tiles; False means strips.
    compression : int
        TIFF compression number.
    has_alpha : bool
        A fourth sample beside red, green and blue.
    is_alpha_premultiplied : bool
        Colours are multiplied by alpha already; also assumed of a fourth sample without a
        meaning, as libtiff does.
    """

    vendor: str
    is_tiled: bool
    compression: int
    has_alpha: bool
    is_alpha_premultiplied: bool


def read_header(path: Path, limits: Limits) -> TiffHeader | None:
    """Read and check the directories of a TIFF file.

    Parameters
    ----------
    path : Path
        A regular file.
    limits : Limits
        What the header may ask for.

    Returns
    -------
    TiffHeader or None
        None if the file is no TIFF.

    Raises
    ------
    NotRgbError
        If the largest image is not 8-bit RGB.
    UnreadableSlideError
        If the header is damaged, points outside the file, or asks for more than `limits`.
    """
    from tifffile import TiffFile, TiffFileError

    try:
        tif = TiffFile(path)
    except TiffFileError:
        return None
    except OSError as err:
        raise UnreadableSlideError(
            f"{path.name!r} cannot be read: {err.strerror or err}.", hint="Check the disk."
        ) from err
    except Exception as err:
        raise _damaged(path, err) from err
    with tif:
        try:
            pages = _pages(tif, limits)
            facts = [_PageFacts.of(page, tif) for page in pages]
            vendor = _vendor(tif)
        except Exception as err:
            raise _damaged(path, err) from err
    if not facts:
        raise UnreadableSlideError(f"{path.name!r} is a TIFF without images.")
    for page_facts in facts:
        page_facts.check(path, path.stat().st_size, limits)
    largest = max(facts, key=lambda page_facts: page_facts.width * page_facts.height)
    largest.check_colours(path)
    return TiffHeader(
        vendor=vendor,
        is_tiled=largest.is_tiled,
        compression=largest.compression,
        has_alpha=largest.samples == 4,
        is_alpha_premultiplied=largest.samples == 4 and largest.extra_sample != 2,
    )


def _damaged(path: Path, err: Exception) -> UnreadableSlideError:
    return UnreadableSlideError(
        f"{path.name!r} has a damaged TIFF header ({type(err).__name__}).",
        hint="Copy the file again from where it came.",
    )


def _pages(tif: TiffFile, limits: Limits) -> list[Any]:
    """Collect the directories and, one step down, the sub-directories of a pyramid."""
    pages: list[Any] = []
    for page in tif.pages:
        pages.append(page)
        if getattr(page, "subifds", None):
            pages.extend(page.pages or ())
        if len(pages) > limits.tiff_pages:
            raise ValueError(f"more than {limits.tiff_pages} directories")
    return [page.aspage() for page in pages]


def _vendor(tif: TiffFile) -> str:
    return next((name for flag, name in _VENDORS.items() if getattr(tif, flag)), "generic-tiff")


@dataclass(frozen=True)
class _PageFacts:
    """One image of the file, freed of tifffile."""

    width: int
    height: int
    samples: int
    dtype: str
    photometric: int
    extra_sample: int
    compression: int
    is_tiled: bool
    has_restart_markers: bool
    chunk_bytes: int
    n_chunks_needed: int
    n_chunks_listed: int
    last_byte: int

    @classmethod
    def of(cls, page: Any, tif: TiffFile) -> _PageFacts:
        samples = int(page.samplesperpixel)
        width, height = int(page.imagewidth), int(page.imagelength)
        if page.is_tiled:
            chunk_width, chunk_height = int(page.tilewidth), int(page.tilelength)
        else:
            chunk_width, chunk_height = width, min(int(page.rowsperstrip or height), height)
        item_bytes = -(-int(np.max(page.bitspersample)) // 8)
        n_needed = math.ceil(width / max(chunk_width, 1)) * math.ceil(height / max(chunk_height, 1))
        is_planar = int(page.planarconfig or 1) == 2
        ends = np.asarray(page.dataoffsets, dtype=np.float64)
        counts = np.asarray(page.databytecounts, dtype=np.float64)
        n_pairs = min(ends.size, counts.size)
        return cls(
            width=width,
            height=height,
            samples=samples,
            dtype=str(page.dtype),
            photometric=int(page.photometric or 0),
            extra_sample=int(page.extrasamples[0]) if page.extrasamples else 0,
            compression=int(page.compression),
            is_tiled=bool(page.is_tiled),
            has_restart_markers=bool(tif.is_ndpi),
            chunk_bytes=chunk_width * chunk_height * item_bytes * (1 if is_planar else samples),
            n_chunks_needed=n_needed * (samples if is_planar else 1),
            n_chunks_listed=n_pairs,
            last_byte=int((ends[:n_pairs] + counts[:n_pairs]).max(initial=0)),
        )

    def check(self, path: Path, n_bytes: int, limits: Limits) -> None:
        """Refuse sizes that are absurd or do not fit the file."""
        name, size = repr(path.name), f"{self.width} x {self.height} px"
        if self.width < 1 or self.height < 1 or self.chunk_bytes < 1:
            raise UnreadableSlideError(f"{name} holds an image without pixels.")
        if self.width * self.height > limits.image_pixels:
            raise UnreadableSlideError(
                f"{name} promises {size}, more than the {limits.image_pixels:,} pixels that are "
                "believed.",
                hint="The header is damaged; export the slide again.",
            )
        # Hamamatsu's one strip per level is read piecewise, by its restart markers.
        if self.chunk_bytes > limits.tile_bytes and not self.has_restart_markers:
            raise UnreadableSlideError(
                f"{name} stores {size} in {'tiles' if self.is_tiled else 'strips'} of "
                f"{self.chunk_bytes / 2**20:.0f} MiB, more than {limits.tile_bytes / 2**20:.0f} "
                "MiB: each patch would have to decode one of them.",
                hint="Export it as a tiled pyramid, with tiles of 256 to 1024 px.",
            )
        if self.n_chunks_listed < self.n_chunks_needed:
            raise UnreadableSlideError(
                f"{name} promises {size} but lists {self.n_chunks_listed} of "
                f"{self.n_chunks_needed} tiles or strips.",
                hint="The header is damaged; export the slide again.",
            )
        if self.last_byte > n_bytes:
            raise UnreadableSlideError(
                f"{name} is cut short: it has {n_bytes:,} bytes and needs {self.last_byte:,}.",
                hint="Copy the file again from where it came.",
            )

    def check_colours(self, path: Path) -> None:
        """Refuse what is not brightfield: fluorescence, 16 bit, palettes."""
        is_rgb = (
            self.dtype == "uint8"
            and self.samples in (3, 4)
            and self.photometric in _PHOTOMETRIC_COLOUR
        )
        if not is_rgb:
            raise NotRgbError(
                f"{path.name!r} holds images of {self.samples} channel"
                f"{'s' if self.samples > 1 else ''} of {self.dtype}, not 8-bit RGB.",
                hint="Only brightfield slides can be used; export an RGB image of it.",
            )
