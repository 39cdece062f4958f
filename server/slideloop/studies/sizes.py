"""One physical patch size per study (algorithm.md 1.1).

Owns the comparison of slides' patches in um.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slideloop.errors import MppNeededError, StoreMismatchError

SAME_SIZE = 0.10
"""Patches may differ by this share."""


def require_same_size(records: Sequence[dict[str, Any]]) -> None:
    """Refuse slides whose patches show areas of different size.

    Parameters
    ----------
    records : sequence of dict
        As studies record slides: name, mpp (um per level-0 pixel, or None), grid.

    Raises
    ------
    MppNeededError
        If um/px is known of some only.
    StoreMismatchError
        If a patch is more than 10 % wider or narrower than the first slide's.
    """
    first = records[0]
    for record in records[1:]:
        if (record["mpp"] is None) != (first["mpp"] is None):
            unknown = record if record["mpp"] is None else first
            raise MppNeededError(
                f"{unknown['name']} does not state its um/px, the other slides do: "
                "one patch size in um cannot be kept.",
                hint="Open it again with its mpp.",
            )
        sizes = [r["grid"]["patch_px0"] * (r["mpp"] or 1.0) for r in (first, record)]
        if abs(sizes[1] / sizes[0] - 1) > SAME_SIZE:
            unit = "px" if first["mpp"] is None else "um"
            target = sizes[0] / record["grid"]["patch_px"]
            raise StoreMismatchError(
                f"A patch of {record['name']} is {sizes[1]:.4g} {unit} wide, one of "
                f"{first['name']} {sizes[0]:.4g} {unit}.",
                hint=f"Open it again with target_mpp {target:.4g}.",
            )
