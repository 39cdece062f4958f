"""What experts annotated on a slide, read from GeoJSON, a mask image or BACH XML.

Owns the checks that a truth fits its slide. Knows nothing of grids (`truth_cells`), models or
studies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from slideloop.errors import GeometryError, TruthError
from slideloop.evaluation.truth_regions import Region

DEFAULT_OUTSIDE = "Other"
"""Class of everything that nobody annotated, where neither file nor user names it."""

GEOJSON_SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz")
IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")

OVERHANG = 0.01
"""Share of the slide's width and height by which a stroke may pass its edge; it is cut off."""


@dataclass(frozen=True)
class Truth:
    """The annotated regions of one slide.

    Parameters
    ----------
    classes : tuple of str
        Annotated classes in the order of the file, without the outside class unless that was
        annotated too.
    regions : dict of str to shapely geometry
        Polygon or MultiPolygon per class, level-0 pixels, valid, inside the slide. Where classes
        overlap, the area counts for each.
    outside : str
        Class of everything not annotated.
    width, height : int
        Size of the slide in level-0 pixels.
    n_repaired : int
        Hand-drawn regions whose stroke crossed itself by a slip and was mended (BACH XML only).
    """

    classes: tuple[str, ...]
    regions: dict[str, BaseGeometry]
    outside: str
    width: int
    height: int
    n_repaired: int = 0


def read_truth(
    path: Path, positive: str, width: int, height: int, outside: str | None = None
) -> Truth:
    """Read the truth of one slide (algorithm, section 6, "Truth formats").

    Parameters
    ----------
    path : Path
        GeoJSON (`.geojson`, `.json`, also `.gz`), mask image (`.png`, `.tif`, `.bmp`) or BACH
        whole-slide XML (`.xml`).
    positive : str
        Class sought. It names the nonzero pixels of a mask image; in BACH XML "Tumor" means the
        three annotated classes together; it may also be the outside class.
    width, height : int
        Size of the slide in level-0 pixels.
    outside : str, optional
        Class of everything not annotated; default "Normal" for BACH XML, else "Other".

    Returns
    -------
    Truth
        Regions joined per class. Classes whose name ends in `*` (QuPath's "Region*", "Ignore*")
        are no annotation and left out, unless one is `positive`.

    Raises
    ------
    TruthError
        If the file cannot be read, lacks the positive class, holds an invalid or empty region, or
        was made for a slide of another size.
    """
    from slideloop.evaluation import truth_image, truth_xml

    suffixes = path.name.lower()
    if not path.is_file():
        raise TruthError(f"There is no truth file {path}.", hint="Check the path.")
    n_repaired = 0
    if suffixes.endswith(".xml"):
        regions, n_repaired = truth_xml.read_bach(path, positive)
        positive = truth_xml.canonical(positive)
        outside = outside or truth_xml.OUTSIDE
    elif suffixes.endswith(GEOJSON_SUFFIXES):
        regions = _read_geojson(path, positive)
    elif suffixes.endswith(IMAGE_SUFFIXES):
        regions = truth_image.read_mask(path, positive, width, height)
    else:
        raise TruthError(
            f"{path.name} is in no known truth format.",
            hint=f"Use {', '.join((*GEOJSON_SUFFIXES, *IMAGE_SUFFIXES, '.xml'))}.",
        )
    outside = outside or DEFAULT_OUTSIDE
    _check_regions(regions, path.name, width, height)
    joined = _joined(regions, width, height)
    if positive not in joined and positive != outside:
        found = ", ".join(repr(name) for name in joined) or "none at all"
        raise TruthError(
            f"{path.name} has no region of class '{positive}'; its classes are: {found}.",
            hint="Choose one of them as the positive class.",
        )
    return Truth(tuple(joined), joined, outside, width, height, n_repaired)


def annotated_area(truth: Truth, positive: str) -> float:
    """Measure what is annotated as positive, the area that `iou_mask` compares with.

    Parameters
    ----------
    truth : Truth
        Truth of one slide.
    positive : str
        An annotated class or the outside class.

    Returns
    -------
    float
        Area in level-0 pixels squared.
    """
    area = truth.regions[positive].area if positive in truth.regions else 0.0
    if positive == truth.outside:
        area += truth.width * truth.height - shapely.union_all(list(truth.regions.values())).area
    return float(area)


def canonical_positive(path: Path, positive: str) -> str:
    """Give the name under which `read_truth` lists the positive class.

    Parameters
    ----------
    path : Path
        Truth file.
    positive : str
        Class as the user wrote it.

    Returns
    -------
    str
        `positive` itself, except for BACH XML, whose class names come in several spellings.
    """
    from slideloop.evaluation import truth_xml

    return truth_xml.canonical(positive) if path.suffix.lower() == ".xml" else positive


def _read_geojson(path: Path, positive: str) -> list[Region]:
    from slideloop.masks.geojson import read_geojson

    try:
        features = read_geojson(path)
    except GeometryError as err:
        raise TruthError(err.message, hint=err.hint) from err
    return [
        Region(feature.number, feature.class_name, feature.geometry)
        for feature in features
        if feature.class_name is not None
        and (feature.class_name == positive or not feature.class_name.endswith("*"))
    ]


def _check_regions(regions: Iterable[Region], source: str, width: int, height: int) -> None:
    for region in regions:
        geometry = region.geometry
        name = f"Feature {region.number} of {source} ({region.class_name})"
        if geometry.geom_type not in ("Polygon", "MultiPolygon"):
            raise TruthError(
                f"{name} is a {geometry.geom_type}; a truth is made of polygons.",
                hint="Remove it, or draw it as an area.",
            )
        if not geometry.is_valid:
            raise TruthError(
                f"{name} is not a valid polygon: {shapely.is_valid_reason(geometry)}.",
                hint="Correct its outline, for instance with QuPath's brush.",
            )
        if geometry.area == 0:
            raise TruthError(f"{name} has no area.", hint="Remove it.")
        left, top, right, bottom = geometry.bounds
        over_x, over_y = max(1.0, OVERHANG * width), max(1.0, OVERHANG * height)
        if left < -over_x or top < -over_y or right > width + over_x or bottom > height + over_y:
            raise TruthError(
                f"{name} reaches from ({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f}), "
                f"but the slide has {width} x {height} pixels.",
                hint="Give the truth that was drawn on this slide, at its full resolution.",
            )


def _joined(regions: list[Region], width: int, height: int) -> dict[str, BaseGeometry]:
    by_class: dict[str, list[BaseGeometry]] = {}
    for region in regions:
        by_class.setdefault(region.class_name, []).append(region.geometry)
    slide = shapely.box(0, 0, width, height)
    joined = {name: _inside(shapely.union_all(parts), slide) for name, parts in by_class.items()}
    return {name: geometry for name, geometry in joined.items() if geometry.area > 0}


def _inside(geometry: BaseGeometry, slide: BaseGeometry) -> BaseGeometry:
    if slide.covers(geometry):
        return geometry
    cut = shapely.intersection(geometry, slide)
    # A region that touches the edge from outside leaves points and lines there.
    polygons = [part for part in shapely.get_parts(cut) if part.geom_type.endswith("Polygon")]
    return shapely.union_all(np.array(polygons, dtype=object))
