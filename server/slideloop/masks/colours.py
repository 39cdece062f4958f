"""Colours of classes, the ones QuPath itself gives them where it has any.

Owns the table. QuPath refuses a classification object without a colour, so every class needs one.
"""

from __future__ import annotations

import colorsys
import hashlib

QUPATH_RGB = {
    "Tumor": (200, 0, 0),
    "Stroma": (150, 200, 150),
    "Immune cells": (160, 90, 160),
    "Necrosis": (50, 50, 50),
    "Other": (255, 200, 0),
    "Region*": (0, 0, 180),
    "Ignore*": (180, 180, 180),
    "Positive": (250, 62, 62),
    "Negative": (112, 112, 225),
}
"""QuPath's default class list, from the `classes.json` that it writes into a new project."""


def name_parts(class_name: str) -> list[str]:
    """Split a derived class into its parts, as QuPath does: "Tumor: Invasive" has two.

    Parameters
    ----------
    class_name : str
        A class name as shown to the user.

    Returns
    -------
    list of str
        At least one part, without surrounding blanks; empty parts are left out.
    """
    return [part for part in map(str.strip, class_name.split(":")) if part] or [class_name]


def colour_of(class_name: str) -> tuple[int, int, int]:
    """Give the colour of a class, the same on every machine.

    Parameters
    ----------
    class_name : str
        Any name; a derived one gets the mean of its parts' colours.

    Returns
    -------
    tuple of int
        Red, green, blue, 0 to 255.
    """
    parts = name_parts(class_name)
    colours = [QUPATH_RGB.get(part) or _hash_rgb(part) for part in parts]
    red, green, blue = (sum(channel) // len(parts) for channel in zip(*colours, strict=True))
    return red, green, blue


def _hash_rgb(name: str) -> tuple[int, int, int]:
    digest = hashlib.sha256(name.encode()).digest()
    # A hue of the hash at fixed saturation and value stays visible on pink and on white.
    rgb = colorsys.hsv_to_rgb(int.from_bytes(digest[:2], "big") / 65536, 0.75, 0.75)
    red, green, blue = (round(255 * channel) for channel in rgb)
    return red, green, blue
