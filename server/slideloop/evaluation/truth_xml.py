"""Truth from the whole-slide XML of the ICIAR BACH challenge (Aperio ImageScope's form).

Owns that one format (algorithm, section 6, "Truth formats"). XML from outside is read with
defusedxml only.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import shapely
from shapely.geometry.base import BaseGeometry

from slideloop.errors import TruthError
from slideloop.evaluation.truth_regions import Region

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

OUTSIDE = "Normal"
TUMOR = "Tumor"
CLASSES = {"benign": "Benign", "in situ": "In situ", "invasive": "Invasive"}
"""Annotated classes by the word that both spellings of each share."""

MAX_BYTES = 256 * 2**20

REPAIRABLE = 0.01
"""Most of a region's area that mending a self-crossing stroke may change."""


def canonical(class_name: str) -> str:
    """Give the one name of a class that is spelled in several ways.

    Parameters
    ----------
    class_name : str
        Such as "Carcinoma in situ" or "In situ carcinoma".

    Returns
    -------
    str
        "Benign", "In situ", "Invasive", "Normal" or "Tumor"; anything else comes back as it is.
    """
    words = class_name.lower()
    if words in ("tumor", "tumour"):
        return TUMOR
    for word, name in (*CLASSES.items(), ("normal", OUTSIDE)):
        if word in words:
            return name
    return class_name


def read_bach(path: Path, positive: str) -> tuple[list[Region], int]:
    """Read the regions of a BACH whole-slide XML.

    "Normal" regions, which some copies have, are left out: all outside the others is normal.
    Regions marked as negative are cut out of the others.

    Parameters
    ----------
    path : Path
        XML file.
    positive : str
        With "Tumor" the three annotated classes become one of that name.

    Returns
    -------
    regions : list of Region
        Numbered in the order of the file.
    n_repaired : int
        Regions whose stroke crossed itself and was mended, since that changed its area by at most
        1 %.

    Raises
    ------
    TruthError
        If the file cannot be read, declares entities, is of another form, or a region cannot be
        understood.
    """
    regions: list[Region] = []
    holes: list[BaseGeometry] = []
    n_repaired = 0
    together = canonical(positive) == TUMOR
    for number, element in enumerate(_root(path).iterfind("./Annotation/Regions/Region"), start=1):
        is_hole = element.get("NegativeROA", "0") == "1"
        class_name = _class_name(element, number, path.name, is_hole)
        if class_name == OUTSIDE:
            continue
        drawn = _polygon(element, number, path.name)
        outline = _repaired(drawn)
        if not outline.is_valid:
            raise TruthError(
                f"Region {number} of {path.name} is not a valid polygon: "
                f"{shapely.is_valid_reason(outline)}.",
                hint="Correct its outline.",
            )
        n_repaired += outline is not drawn
        if is_hole:
            holes.append(outline)
        else:
            regions.append(Region(number, TUMOR if together else class_name, outline))
    if holes:
        cut = shapely.union_all(holes)
        regions = [
            Region(region.number, region.class_name, region.geometry.difference(cut))
            for region in regions
        ]
    return [region for region in regions if not region.geometry.is_empty], n_repaired


def _root(path: Path) -> Element:
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise TruthError(
                f"{path.name} holds more than {MAX_BYTES} bytes.",
                hint="Give the XML of one slide.",
            )
        root = fromstring(raw)
    except DefusedXmlException as err:
        raise TruthError(
            f"{path.name} declares XML entities, which are not read.",
            hint="Give a file as Aperio ImageScope writes it, without a DOCTYPE of its own.",
        ) from err
    except (ParseError, ValueError, LookupError) as err:
        raise TruthError(
            f"{path.name} is not XML that can be read: {err}.",
            hint="Give a file as Aperio ImageScope writes it.",
        ) from err
    except OSError as err:
        raise TruthError(
            f"{path.name} cannot be read: {err.strerror or err}.", hint="Check the file."
        ) from err
    if root.tag != "Annotations":
        raise TruthError(
            f"{path.name} starts with <{root.tag}>, not with <Annotations>.",
            hint="Give the whole-slide XML of BACH, in Aperio ImageScope's form.",
        )
    return root


def _class_name(element: Element, number: int, source: str, is_hole: bool) -> str:
    value = next(
        (item.get("Value", "") for item in element.iterfind("./Attributes/Attribute")), ""
    ).strip()
    said = value or element.get("Text", "").strip()
    name = canonical(said)
    if name not in (*CLASSES.values(), OUTSIDE) and not is_hole:
        raise TruthError(
            f"Region {number} of {source} is called '{said}', which is no class of BACH.",
            hint="Known are benign, in situ, invasive and normal.",
        )
    return name


def _polygon(element: Element, number: int, source: str) -> shapely.Polygon:
    try:
        vertices = [
            (float(vertex.get("X", "")), float(vertex.get("Y", "")))
            for vertex in element.iterfind("./Vertices/Vertex")
        ]
    except ValueError as err:
        raise TruthError(
            f"Region {number} of {source} has a vertex without numbers: {err}.",
            hint="Correct or remove it.",
        ) from err
    if not all(math.isfinite(value) for vertex in vertices for value in vertex):
        raise TruthError(
            f"Region {number} of {source} has a coordinate that is not a finite number.",
            hint="Correct or remove it.",
        )
    if len(set(vertices)) < 3:
        raise TruthError(
            f"Region {number} of {source} has {len(set(vertices))} different vertices; "
            "an area needs three.",
            hint="Remove it.",
        )
    return shapely.Polygon(vertices)


def _repaired(polygon: shapely.Polygon) -> BaseGeometry:
    """Mend a stroke that crosses itself by a slip; leave alone what is no slip."""
    if polygon.is_valid:
        return polygon
    parts = shapely.get_parts(shapely.make_valid(polygon))
    mended = shapely.union_all([part for part in parts if part.geom_type.endswith("Polygon")])
    # Parts drawn in opposite directions cancel out in the signed area of the stroke: for a bow-tie
    # it differs widely from the area of the parts.
    is_slip = abs(mended.area - polygon.area) <= REPAIRABLE * mended.area
    return mended if is_slip and mended.area > 0 else polygon
