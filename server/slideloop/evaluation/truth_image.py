"""Truth from a mask image: every pixel that is not zero is positive.

Owns the way from pixels to polygons in level-0 coordinates.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from slideloop.errors import TruthError
from slideloop.evaluation.truth_regions import Region
from slideloop.masks import outlines

MAX_PIXELS = 2**28
SMALLER_WILL_DO = "Save the mask at a lower resolution; any scale of the slide will do."


def read_mask(path: Path, positive: str, width: int, height: int) -> list[Region]:
    """Read a mask image of any scale that has the slide's shape.

    Parameters
    ----------
    path : Path
        Image whose pixels are zero outside; of several channels any may be nonzero, transparency
        is not looked at.
    positive : str
        Class of the nonzero pixels.
    width, height : int
        Size of the slide in level-0 pixels.

    Returns
    -------
    list of Region
        One region, exactly along the pixels' edges; none for an empty mask.

    Raises
    ------
    TruthError
        If the image cannot be read, is too large, compressed with loss, or of another shape than
        the slide.
    """
    inside = _inside(path, width, height)
    n_rows, n_columns = inside.shape
    _, component = outlines.connected(inside)
    xs = np.linspace(0, width, n_columns + 1)
    ys = np.linspace(0, height, n_rows + 1)
    polygons = outlines.trace(component, xs, ys)
    if not len(polygons):
        return []
    return [Region(1, positive, shapely.multipolygons(polygons.tolist()))]


def _inside(path: Path, width: int, height: int) -> NDArray[np.bool_]:
    from PIL import Image, UnidentifiedImageError

    try:
        with _pixels_allowed(MAX_PIXELS), Image.open(path) as image:
            _check(path.name, image.format, image.size, (width, height))
            # A palette's index says nothing of the colour that is seen.
            shown = image.convert("RGB") if image.mode in ("P", "PA", "RGBA", "LA") else image
            pixels = np.asarray(shown)
    except Image.DecompressionBombError as err:
        raise TruthError(
            f"{path.name} has more than {MAX_PIXELS} pixels.", hint=SMALLER_WILL_DO
        ) from err
    except UnidentifiedImageError as err:
        raise TruthError(
            f"{path.name} is no image that can be read as a mask.", hint="Give a PNG or TIFF."
        ) from err
    except (OSError, SyntaxError, ValueError) as err:
        raise TruthError(
            f"{path.name} cannot be read as a mask: {err}.", hint="Save it again as PNG."
        ) from err
    inside = pixels != 0
    return inside.any(axis=2) if inside.ndim == 3 else inside


@contextmanager
def _pixels_allowed(n_pixels: int) -> Iterator[None]:
    """Let Pillow open images of our own limit; its default is below some slides at full size."""
    from PIL import Image

    before = Image.MAX_IMAGE_PIXELS
    # Pillow warns above its limit and refuses above twice that.
    Image.MAX_IMAGE_PIXELS = n_pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _check(
    source: str, image_format: str | None, size: tuple[int, int], slide: tuple[int, int]
) -> None:
    (n_columns, n_rows), (width, height) = size, slide
    if image_format == "JPEG":
        raise TruthError(
            f"{source} is a JPEG, whose compression leaves nonzero pixels around every edge.",
            hint="Save the mask as PNG.",
        )
    if n_columns * n_rows > MAX_PIXELS:
        raise TruthError(
            f"{source} has {n_columns} x {n_rows} pixels, more than {MAX_PIXELS} in all.",
            hint=SMALLER_WILL_DO,
        )
    off_rows = abs(n_rows - height * n_columns / width)
    off_columns = abs(n_columns - width * n_rows / height)
    if min(off_rows, off_columns) > 1:
        raise TruthError(
            f"{source} has {n_columns} x {n_rows} pixels, which is not the shape of the slide, "
            f"{width} x {height}.",
            hint="Give the mask that was made for this slide, at any scale.",
        )
