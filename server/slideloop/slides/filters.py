"""Which patches hold no tissue (paper, section 3.1; algorithm, 1.2).

Owns the thresholds and the rules. Judges pixels that it is given; knows nothing of slides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError

WHITE_ABOVE = 210
BLACK_BELOW = 5
BACKGROUND_ABOVE_PERCENT = 80
GREY_ABOVE = 127
FEWEST_COMPONENTS = 10


@dataclass(frozen=True)
class Verdict:
    """What speaks against a patch.

    Parameters
    ----------
    background : bool
        White and black pixels together are more than 80 % of it.
    structureless : bool
        Its grey image above the threshold has fewer than 10 connected components.
    """

    background: bool
    structureless: bool


_RULES: dict[str, Callable[[Verdict], bool]] = {
    "tissue": lambda verdict: verdict.background and verdict.structureless,
    "paper": lambda verdict: verdict.background or verdict.structureless,
    "none": lambda verdict: False,
}
RULES = tuple(_RULES)
"""Names of the rules, the default first."""


def judge(patch: NDArray[np.uint8]) -> Verdict:
    """Judge one patch at its native size, before any resizing.

    The grey image is ITU-R 601 as OpenCV rounds it; components are 8-connected and the
    background counts as one, as `cv2.connectedComponents` counts.

    Parameters
    ----------
    patch : ndarray of uint8, shape (height, width, 3)
        RGB.

    Returns
    -------
    Verdict
        Both findings, whatever the rule in use.
    """
    import cv2

    patch = np.ascontiguousarray(patch)
    n_white = cv2.countNonZero(cv2.inRange(patch, (WHITE_ABOVE + 1,) * 3, (255,) * 3))
    n_black = cv2.countNonZero(cv2.inRange(patch, (0,) * 3, (BLACK_BELOW - 1,) * 3))
    grey = cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY)
    _, bright = cv2.threshold(grey, GREY_ABOVE, 255, cv2.THRESH_BINARY)
    n_components, _ = cv2.connectedComponents(bright, connectivity=8)
    return Verdict(
        # Whole numbers, so that exactly 80 % is never above 80 %.
        background=(n_white + n_black) * 100 > BACKGROUND_ABOVE_PERCENT * grey.size,
        structureless=n_components < FEWEST_COMPONENTS,
    )


def is_dropped(verdict: Verdict, rule: str = "tissue") -> bool:
    """Say whether a rule drops a patch.

    Parameters
    ----------
    verdict : Verdict
        Findings of `judge`.
    rule : str
        `tissue` drops what is background and structureless (the released code), `paper` what is
        either (the text), `none` nothing.

    Returns
    -------
    bool
        True if the patch is left out and predicted as background.

    Raises
    ------
    InvalidInputError
        If there is no such rule.
    """
    if rule not in _RULES:
        raise InvalidInputError(
            f"There is no filter named {rule!r}.", hint=f"Choose one of {', '.join(RULES)}."
        )
    return _RULES[rule](verdict)
