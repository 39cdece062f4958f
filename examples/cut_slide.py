"""Cut an annotated slide into two by whole regions, to learn on one and measure on the other.

python examples/cut_slide.py SLIDE TRUTH OUT_DIR [--share 0.3333] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from shapely.geometry import shape
from shapely.ops import unary_union

from slideloop.errors import InvalidInputError, SlideloopError, TruthError
from slideloop.evaluation.pyramid import write_pyramid
from slideloop.files import whole_file
from slideloop.slides.reader import open_slide

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.slides.reader import SlideReader

STRIP_PX = 1024
Feature = dict[str, Any]


def regions_of(features: list[Feature]) -> list[list[Feature]]:
    """Group annotations that touch, corners included, in the order of their first one.

    Parameters
    ----------
    features : list of dict
        GeoJSON features with polygons in level-0 pixels.

    Returns
    -------
    list of list of dict
    """
    grown = [shape(feature["geometry"]).buffer(1) for feature in features]
    joined = unary_union(grown)
    parts = list(getattr(joined, "geoms", [joined]))
    number = [
        next(i for i, part in enumerate(parts) if part.intersects(outline.representative_point()))
        for outline in grown
    ]
    groups: dict[int, list[Feature]] = {}
    for feature, i in zip(features, number, strict=True):
        groups.setdefault(i, []).append(feature)
    return list(groups.values())


def class_of(feature: Feature) -> str:
    """Return the class of a QuPath annotation, written as a string or as an object."""
    given = feature.get("properties", {}).get("classification")
    return given if isinstance(given, str) else (given or {}).get("name", "")


def divide(features: list[Feature], share: float, seed: int) -> tuple[list[Feature], list[Feature]]:
    """Divide annotations into two by whole regions, each class's regions in the same share.

    Parameters
    ----------
    features : list of dict
    share : float
        Share of the regions of each class that goes to the second part, above 0, below 1; at least
        one region and at most all but one.
    seed : int

    Returns
    -------
    search, held_out : list of dict

    Raises
    ------
    InvalidInputError
        If `share` is not between 0 and 1.
    TruthError
        If a class has a single region.
    """
    check_share(share)
    rng = np.random.default_rng([seed, 2])
    by_class: dict[str, list[list[Feature]]] = {}
    for region in regions_of(features):
        by_class.setdefault(class_of(region[0]), []).append(region)
    search: list[Feature] = []
    held_out: list[Feature] = []
    for name, regions in sorted(by_class.items()):
        if len(regions) < 2:
            raise TruthError(
                f"Class {name!r} has a single region, which cannot be divided.",
                hint="Use a slide with at least two regions of each class.",
            )
        n = n_held_out(len(regions), share)
        order = rng.permutation(len(regions))
        for place, i in enumerate(order):
            (held_out if place < n else search).extend(regions[i])
    return search, held_out


def check_share(share: float) -> None:
    """Refuse a share that leaves one of two parts empty."""
    if not 0 < share < 1:
        raise InvalidInputError(
            f"A share of {share} cannot be cut.", hint="Give one above 0, below 1."
        )


def n_held_out(n: int, share: float) -> int:
    """Return how many of n, at least two, are held out: at least one and at most all but one."""
    return min(max(1, round(share * n)), n - 1)


def rings_of(feature: Feature) -> list[NDArray[np.int32]]:
    """Return the outlines of an annotation in whole pixels, holes among them."""
    geometry = feature["geometry"]
    polygons = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    return [np.rint(ring).astype(np.int32) for polygon in polygons for ring in polygon]


def strips(slide: SlideReader, features: list[Feature]) -> Iterator[NDArray[np.uint8]]:
    """Read a slide from the top; what lies in none of the annotations is white.

    Yields
    ------
    ndarray of uint8, shape (1024, width, 3)
        The last one may be lower.
    """
    width, height = slide.info.width, slide.info.height
    outlines = [rings_of(feature) for feature in features]
    for top in range(0, height, STRIP_PX):
        rows = min(STRIP_PX, height - top)
        inside = np.zeros((rows, width), np.uint8)
        for rings in outlines:
            y = np.concatenate(rings)[:, 1]
            if y.max() >= top and y.min() < top + rows:
                cv2.fillPoly(inside, [ring - [0, top] for ring in rings], 1)
        yield np.where(inside[..., None] == 1, slide.read(0, top, width, rows), np.uint8(255))


def main(arguments: list[str] | None = None) -> int:
    """Write `search.tif`, `search.geojson`, `held-out.tif` and `held-out.geojson`.

    Returns
    -------
    int
        0, or 2 with one sentence on stderr when something cannot be used or written.
    """
    return command(cut, "Cut an annotated slide into two, by regions.", arguments)


def command(
    cut: Callable[[Path, Path, Path, float, int], None],
    description: str,
    arguments: list[str] | None,
) -> int:
    """Call what cuts a slide as the command line says.

    Parameters
    ----------
    cut : callable
        Takes slide, truth, folder to write to, share that is held out, and seed.
    description : str
    arguments : list of str or None
        None: the process's own.

    Returns
    -------
    int
        As `main`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("slide", type=Path)
    parser.add_argument("truth", type=Path, help="its annotations as GeoJSON of QuPath")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--share", type=float, default=1 / 3, help="held out (default a third)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    given = parser.parse_args(arguments)
    try:
        cut(given.slide, given.truth, given.out_dir, given.share, given.seed)
    except (SlideloopError, OSError, json.JSONDecodeError) as err:
        print(err, file=sys.stderr)
        return 2
    return 0


def cut(slide_path: Path, truth_path: Path, out: Path, share: float, seed: int) -> None:
    """Write the two parts of a slide, without loss of what is kept."""
    given = json.loads(truth_path.read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    parts = divide(given["features"], share, seed)
    with open_slide(slide_path) as slide:
        for name, features in zip(("search", "held-out"), parts, strict=True):
            size = (slide.info.width, slide.info.height)
            path = out / f"{name}.tif"
            write_pyramid(
                strips(slide, features), size, path, compression="deflate", mpp=slide.info.mpp
            )
            with whole_file(out / f"{name}.geojson") as unfinished:
                text = json.dumps({"type": "FeatureCollection", "features": features})
                unfinished.write_text(text, encoding="utf-8")
            print(f"{path}: {len(regions_of(features))} regions, {len(features)} annotations")


if __name__ == "__main__":
    sys.exit(main())
