"""A slide made by our own code: its pixels, its file, its truth.

Owns the generated slide that the demo, the tests and the memory measurement use. It knows nothing
of readers, features or learning; how a tissue looks is in `histology`, the file in `pyramid`.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError
from slideloop.evaluation import histology, tissue_layout
from slideloop.evaluation.pyramid import write_pyramid
from slideloop.evaluation.tissue_layout import ADIPOSE, BLOCK_PX, GLASS, LYMPHOID, STROMA, TUMOUR
from slideloop.masks.colours import colour_of

TISSUE_NAMES: dict[int, str] = {
    TUMOUR: "Tumor",
    STROMA: "Stroma",
    LYMPHOID: "Immune cells",
    ADIPOSE: "Adipose",
}
"""Class name of each tissue in the truth of a generated slide; GLASS has none."""

_TRUTH_NAMESPACE = uuid.UUID("2f7b9a52-6e0f-5f0e-9a43-0f1c6f0d8a11")
_TRUTH_STEP_PX = 16

__all__ = [
    "ADIPOSE",
    "GLASS",
    "LYMPHOID",
    "STROMA",
    "TISSUE_NAMES",
    "TUMOUR",
    "Scene",
    "truth_geojson",
    "write_slide",
]


_Render = Callable[[int, int, int, int, int], NDArray[np.uint8]]


@dataclass(frozen=True)
class Scene:
    """A stained section on glass, every pixel of it a function of its position.

    Parameters
    ----------
    seed : int
        At least 0; decides where the tissues lie and how each nucleus looks.
    width, height : int
        Size of the slide, px0, each at least 1.

    Raises
    ------
    InvalidInputError
        If the size or the seed makes no sense.
    """

    seed: int = 0
    width: int = 8192
    height: int = 6144

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InvalidInputError(
                f"A generated slide of {self.width} x {self.height} px has no pixels.",
                hint="Give a width and a height of at least 1.",
            )
        if self.seed < 0:
            raise InvalidInputError(
                f"A seed of {self.seed} cannot be used.", hint="Give 0 or a positive number."
            )

    def pixels(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Colours of a rectangle.

        Parameters
        ----------
        x, y, width, height : int
            Level-0 pixels; the rectangle may reach beyond the slide, where there is glass.

        Returns
        -------
        ndarray of uint8, shape (height, width, 3)
            RGB. The same pixel is the same in whatever rectangle it is asked for.
        """
        return self._assembled(histology.pixel_block, (x, y, width, height), (3,))

    def tissue(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Tissue classes of a rectangle.

        Parameters
        ----------
        x, y, width, height : int
            Level-0 pixels, as for `pixels`.

        Returns
        -------
        ndarray of uint8, shape (height, width)
            GLASS or a key of `TISSUE_NAMES`.
        """
        return self._assembled(histology.tissue_block, (x, y, width, height), ())

    def _assembled(
        self, render: _Render, rectangle: tuple[int, int, int, int], depth: tuple[int, ...]
    ) -> NDArray[np.uint8]:
        x, y, width, height = rectangle
        out = np.empty((height, width, *depth), np.uint8)
        for row in range(y // BLOCK_PX, -(-(y + height) // BLOCK_PX)):
            for column in range(x // BLOCK_PX, -(-(x + width) // BLOCK_PX)):
                block = render(self.seed, self.width, self.height, column, row)
                left, top = column * BLOCK_PX, row * BLOCK_PX
                x_from, x_to = max(x, left), min(x + width, left + BLOCK_PX)
                y_from, y_to = max(y, top), min(y + height, top + BLOCK_PX)
                out[y_from - y : y_to - y, x_from - x : x_to - x] = block[
                    y_from - top : y_to - top, x_from - left : x_to - left
                ]
        return out


def write_slide(
    scene: Scene,
    path: str | Path,
    tile: int = 256,
    compression: str = "jpeg",
    mpp: float | None = 0.5,
    levels: int | None = None,
) -> None:
    """Write a scene as a tiled pyramidal TIFF that TiffSlide and OpenSlide read alike.

    Streamed: what is held at once is a strip of blocks, never the slide.

    Parameters
    ----------
    scene : Scene
        What to write.
    path : str or Path
        The file to make; an old one is replaced.
    tile, compression, mpp, levels
        As for `pyramid.write_pyramid`.

    Raises
    ------
    InvalidInputError
        If `tile`, `compression` or `levels` makes no sense.
    OutputError
        If the file cannot be written.
    """
    with ThreadPoolExecutor(2) as pool:
        write_pyramid(
            _strips(scene, pool),
            (scene.width, scene.height),
            path,
            tile=tile,
            compression=compression,
            mpp=mpp,
            levels=levels,
        )


def _strips(scene: Scene, pool: ThreadPoolExecutor) -> Iterator[NDArray[np.uint8]]:
    """Rows of blocks from the top, each uint8 (at most BLOCK_PX, width, 3)."""
    n_columns = -(-scene.width // BLOCK_PX)
    for top in range(0, scene.height, BLOCK_PX):
        height = min(BLOCK_PX, scene.height - top)

        def block(column: int, top: int = top, height: int = height) -> NDArray[np.uint8]:
            left = column * BLOCK_PX
            return scene.pixels(left, top, min(BLOCK_PX, scene.width - left), height)

        yield np.concatenate(list(pool.map(block, range(n_columns))), axis=1)


def truth_geojson(scene: Scene) -> dict[str, Any]:
    """Outline the tissues of a scene as QuPath annotations.

    Parameters
    ----------
    scene : Scene
        What to outline.

    Returns
    -------
    dict
        A GeoJSON FeatureCollection: one valid (Multi)Polygon annotation per tissue that occurs,
        level-0 px, inside the slide, holes kept, within about two pixels of `Scene.tissue`.
    """
    # Pixel i covers i to i + 1 of the outline: the fields are asked at the centres of pixels.
    x, y = _outline_lattice(scene.width), _outline_lattice(scene.height)
    fields = tissue_layout.regions(scene.seed, scene.width, scene.height).fields(x - 0.5, y - 0.5)
    features = []
    for tissue, name in TISSUE_NAMES.items():
        geometry = _outlined(fields[tissue], x, y, scene)
        if geometry is None:
            continue
        features.append(
            {
                "type": "Feature",
                "id": str(uuid.uuid5(_TRUTH_NAMESPACE, f"{scene}/{name}")),
                "geometry": geometry,
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": name, "color": list(colour_of(name))},
                },
            }
        )
    return {"type": "FeatureCollection", "features": features}


def _outline_lattice(side: int) -> NDArray[np.float64]:
    return np.append(np.arange(0, side, _TRUTH_STEP_PX, dtype=np.float64), float(side))


def _outlined(
    field: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64], scene: Scene
) -> dict[str, Any] | None:
    """GeoJSON geometry of where a field is positive, None where it nowhere is."""
    import shapely
    from contourpy import FillType, contour_generator

    filled = contour_generator(x, y, field, fill_type=FillType.OuterOffset).filled(0.0, 1e9)
    polygons = []
    for points, offsets in zip(*filled, strict=True):
        rings = [points[a:b] for a, b in itertools.pairwise(offsets)]
        polygon = shapely.Polygon(rings[0], rings[1:])
        polygons.extend(_polygons(shapely.make_valid(polygon.simplify(1.0))))
    slide = shapely.box(0, 0, scene.width, scene.height)
    whole = shapely.intersection(shapely.union_all(polygons), slide)
    # Two decimals are what QuPath writes.
    whole = shapely.set_precision(whole, 0.01)
    kept = [part for part in _polygons(whole) if part.area >= _TRUTH_STEP_PX**2]
    if not kept:
        return None
    return shapely.geometry.mapping(kept[0] if len(kept) == 1 else shapely.MultiPolygon(kept))


def _polygons(geometry: Any) -> list[Any]:
    """Return the polygons of a geometry, without the lines and points that mending leaves."""
    import shapely

    parts = shapely.get_parts(geometry)
    flat = [inner for part in parts for inner in shapely.get_parts(part)]
    return [part for part in flat if part.geom_type == "Polygon"]
