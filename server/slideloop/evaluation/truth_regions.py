"""One annotated region as it stands in a file, whatever the file's format."""

from __future__ import annotations

from dataclasses import dataclass

from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class Region:
    """One annotated region as read from a file, before any check.

    Parameters
    ----------
    number : int
        Place in the file, from 1.
    class_name : str
        Its class.
    geometry : shapely geometry
        Level-0 pixels.
    """

    number: int
    class_name: str
    geometry: BaseGeometry
