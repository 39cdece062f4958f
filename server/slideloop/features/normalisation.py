"""Per-channel normalisation of patches (algorithm.md 1.3).

Owns the three means and standard deviations and the workspace's memory of them.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from slideloop.errors import InvalidInputError, NoTissueError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

SAMPLE_PATCHES = 512
"""Kept patches, first of the index order, that the default normalisation is measured on."""


@dataclass(frozen=True)
class Normalisation:
    """Means and standard deviations of R, G, B for pixels in 0..1.

    Attributes
    ----------
    kind : {"sample", "dataset", "imagenet", "given"}
        Where they come from; the figures alone, not the kind, identify a feature store.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    kind: str = "given"

    def __post_init__(self) -> None:
        values = (*self.mean, *self.std)
        is_rgb = len(self.mean) == len(self.std) == 3
        if not is_rgb or not all(map(math.isfinite, values)) or min(self.std) <= 0:
            raise InvalidInputError(
                "A normalisation is three finite means and three standard deviations above 0.",
                hint="Give them as R,G,B/R,G,B for pixels between 0 and 1, or use sample.",
            )

    def figures(self) -> list[list[float]]:
        """Return [means, standard deviations], what a feature store depends on."""
        return [list(self.mean), list(self.std)]


IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "imagenet")


def measure(patches: Iterable[NDArray[np.uint8]], kind: str) -> Normalisation:
    """Measure mean and standard deviation over all pixels of the patches.

    Parameters
    ----------
    patches : iterable of ndarray of uint8, shape (height, width, 3)
        At least one; read once, never held.
    kind : str
        Recorded with the result.

    Raises
    ------
    NoTissueError
        If there is no patch.
    """
    counts = np.zeros((3, 256), np.int64)
    for patch in patches:
        pixels = np.ascontiguousarray(patch)
        for channel in range(3):
            # Whole numbers, exact in float32 up to 2^24 pixels a patch.
            count = cv2.calcHist([pixels], [channel], None, [256], [0, 256])
            counts[channel] += count.ravel().astype(np.int64)
    n = int(counts[0].sum())
    if n == 0:
        raise NoTissueError(
            "No patch passes the filter, so there is nothing to measure the normalisation on.",
            hint="Check the slide, the patch size and --filter (none keeps every patch).",
        )
    levels = np.arange(256)
    mean = counts @ levels / n
    squares = counts @ levels**2
    variance = np.maximum(squares / n - mean * mean, 0)
    # A channel without any variation must not divide by zero: one grey level is the least step.
    std = np.maximum(np.sqrt(variance), 1.0)
    r, g, b = (float(v) / 255 for v in mean)
    sr, sg, sb = (float(v) / 255 for v in std)
    return Normalisation((r, g, b), (sr, sg, sb), kind)


def parse(text: str) -> Normalisation:
    """Read a normalisation given as `R,G,B/R,G,B`.

    Raises
    ------
    InvalidInputError
        If the text is not of that form.
    """
    try:
        mean, std = (tuple(float(v) for v in part.split(",")) for part in text.split("/"))
        return Normalisation(mean, std)  # pyright: ignore[reportArgumentType]
    except ValueError as err:
        raise InvalidInputError(
            f"The normalisation {text!r} is not known.",
            hint="Use sample, dataset, imagenet, or six figures as R,G,B/R,G,B between 0 and 1.",
        ) from err


class WorkspaceNormalisation:
    """The workspace's memory of its first slide's normalisation, written once.

    Parameters
    ----------
    workspace : Path
        Existing folder.
    """

    def __init__(self, workspace: Path) -> None:
        self._path = workspace / "normalisation.json"

    def get(self) -> Normalisation | None:
        """Return what the first slide fixed, or None before there was one."""
        try:
            stored = json.loads(self._path.read_text("utf-8"))
            return Normalisation(tuple(stored["mean"]), tuple(stored["std"]), "sample")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, InvalidInputError) as err:
            raise InvalidInputError(
                f"{self._path} cannot be read ({err}).",
                hint="Delete it: the next slide that is indexed fixes the normalisation anew.",
            ) from err

    def fix(self, normalisation: Normalisation) -> Normalisation:
        """Record the first slide's normalisation; of two at once, the first one stays."""
        text = json.dumps({"mean": normalisation.mean, "std": normalisation.std})
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        try:
            aside.write_text(text, "utf-8")
            self._put(aside)
        finally:
            aside.unlink(missing_ok=True)
        return self.get() or normalisation

    def _put(self, aside: Path) -> None:
        try:
            os.link(aside, self._path)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not self._path.exists():
                aside.replace(self._path)
