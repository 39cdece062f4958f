"""Generated slides to measure on, made once per folder."""

from __future__ import annotations

import math
from pathlib import Path

from slideloop.evaluation.generated import Scene, write_slide
from slideloop.files import whole_file

PATCH = 256
UNALIGNED_PX = 240
_SEED = 5


def size_of(n_patches: int) -> tuple[int, int]:
    """Return width and height in pixels of a slide of about so many grid patches, 5 to 4."""
    rows = max(1, round(math.sqrt(n_patches * 4 / 5)))
    return max(1, round(n_patches / rows)) * PATCH, rows * PATCH


def scene(size: tuple[int, int]) -> Scene:
    """Return what a slide of that size shows."""
    return Scene(_SEED, *size)


def aligned(folder: Path, size: tuple[int, int]) -> Path:
    """Write a slide whose tiles are the patches: JPEG, 256 px, pyramidal."""
    path = folder / f"aligned-{size[0]}x{size[1]}.tif"
    if not path.exists():
        write_slide(scene(size), path)
    return path


def unaligned(folder: Path, size: tuple[int, int]) -> Path:
    """Write a slide of JPEG tiles of 240 px, so that a patch lies on four of them.

    One level, held in memory while it is written.
    """
    import tifffile

    path = folder / f"unaligned-{size[0]}x{size[1]}.tif"
    if not path.exists():
        with whole_file(path) as unfinished:
            tifffile.imwrite(
                unfinished,
                scene(size).pixels(0, 0, *size),
                tile=(UNALIGNED_PX, UNALIGNED_PX),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 90},
                metadata=None,
                resolution=(20000, 20000),
                resolutionunit="CENTIMETER",
            )
    return path
