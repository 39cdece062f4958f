"""How much a slide file may ask for before it is refused.

Owns the numbers only; where they are checked is the business of `opening` and `grid`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Largest requests that are still believed; a file beyond them is damaged or hostile.

    Parameters
    ----------
    image_pixels : int
        Pixels of the largest image in the file. The largest scans known have some 4e10.
    tile_bytes : int
        Bytes of one decoded tile or strip, all of which one read of one pixel decodes.
    tiff_pages : int
        Directories of one TIFF file that are looked at.
    grid_cells : int
        Patches of one grid.
    patch_px0 : int
        Side of one patch in level-0 pixels, since patches are judged at full resolution.
    """

    image_pixels: int = 10**11
    tile_bytes: int = 64 * 2**20
    tiff_pages: int = 4096
    grid_cells: int = 5_000_000
    patch_px0: int = 8192


DEFAULT_LIMITS = Limits()
