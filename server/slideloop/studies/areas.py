"""Which patches a rectangle or a region of the expert means (algorithm.md 2).

Owns the geometry between level-0 pixels and places in a slide's index order. Knows nothing of
labels or events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import shapely
from shapely.geometry import shape

from slideloop.errors import GeometryError, OnGlassError, OutsideSlideError
from slideloop.slides.grid import query_squares

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

    from slideloop.slides.grid import Grid

Rectangle = tuple[float, float, float, float]
Square = tuple[int, int, int, int]
LEAST_SHARE = 0.5
"""A patch belongs to an area that covers at least this share of it."""


class SlideAccess(Protocol):
    """What a study needs of a slide beside its features."""

    @property
    def grid(self) -> Grid: ...  # noqa: D102

    @property
    def width(self) -> int: ...  # noqa: D102

    @property
    def height(self) -> int: ...  # noqa: D102

    def place(self, column: int, row: int) -> int | None:
        """Return a cell's place in the index order; None if it is dropped or not indexed yet."""
        ...

    def embed(
        self, squares: Sequence[Square]
    ) -> tuple[list[bool], NDArray[np.float16], NDArray[np.float16] | None]:
        """Return, per square, whether it is glass; pooled and full features of those not."""
        ...


@dataclass(frozen=True)
class Indexed:
    """How far a slide is indexed.

    Attributes
    ----------
    n : int
        Patches in its store.
    is_complete : bool
        Whether that is all: then a cell without a place is a dropped one.
    """

    n: int
    is_complete: bool


@dataclass(frozen=True)
class Area:
    """Cells of a slide's grid.

    Attributes
    ----------
    places : list of int
        Of those indexed, ascending.
    cells : list of (int, int)
        Column and row of those not indexed yet; some of them will be dropped.
    """

    places: list[int]
    cells: list[tuple[int, int]]


@dataclass(frozen=True)
class Query:
    """What a query's rectangle means.

    Attributes
    ----------
    on_grid : list of int
        Places of its squares that are patches.
    off_grid : list of Square
        Its other squares, level-0 pixels.
    covered : Area
        Patches that leave the search set.
    """

    on_grid: list[int]
    off_grid: list[Square]
    covered: Area


def query_area(access: SlideAccess, indexed: Indexed, rectangle: Rectangle) -> Query:
    """Return what the expert's rectangle means.

    Raises
    ------
    InvalidInputError
        If it is no rectangle.
    OutsideSlideError
        If it lies outside the slide.
    """
    squares = query_squares(rectangle, access.grid, access.width, access.height)
    on_grid: list[int] = []
    off_grid: list[Square] = []
    for square in squares:
        cell = access.grid.cell_at(*square)
        place = None if cell is None else _place(access, indexed, *cell)
        if place is not None:
            on_grid.append(place)
        elif cell is None or not indexed.is_complete:
            off_grid.append(square)
        # Otherwise the filter dropped it: glass.
    x, y, width, height = rectangle
    side = access.grid.patch_px0
    # Where the rectangle is smaller than a patch, the patch-sized square stands for it.
    if width < side:
        x, width = squares[0][0], side
    if height < side:
        y, height = squares[0][1], side
    cells = access.grid.cells_covered(x, y, width, height, LEAST_SHARE).tolist()
    return Query(on_grid, off_grid, _sorted(access, indexed, cells))


def region_area(access: SlideAccess, indexed: Indexed, geometry: dict[str, Any]) -> Area:
    """Return the patches that a region covers to at least half.

    Parameters
    ----------
    access : SlideAccess
    indexed : Indexed
    geometry : dict
        GeoJSON Polygon or MultiPolygon in level-0 pixels.

    Raises
    ------
    GeometryError
        If it is no such thing, or covers no patch to half.
    OutsideSlideError
        If it lies outside the slide.
    OnGlassError
        If all patches that it covers were dropped.
    """
    polygon = _polygon(geometry)
    if not polygon.intersects(shapely.box(0, 0, access.width, access.height)):
        raise OutsideSlideError(
            f"The region lies outside the slide of {access.width} x {access.height} px.",
            hint="Draw it on the slide, and send level-0 pixels.",
        )
    cells = _covered_by(polygon, access.grid)
    if not cells:
        raise GeometryError(
            "The region covers no patch to at least half.",
            hint=f"Draw it larger; a patch is {access.grid.patch_px0} px wide.",
        )
    area = _sorted(access, indexed, cells)
    if not area.places and not area.cells:
        raise OnGlassError("The region lies on glass only.", hint="Draw it on tissue.")
    return area


def _place(access: SlideAccess, indexed: Indexed, column: int, row: int) -> int | None:
    place = access.place(column, row)
    return place if place is not None and place < indexed.n else None


def _sorted(access: SlideAccess, indexed: Indexed, cells: Iterable[Sequence[int]]) -> Area:
    places: list[int] = []
    unplaced: list[tuple[int, int]] = []
    for column, row in cells:
        place = _place(access, indexed, column, row)
        if place is not None:
            places.append(place)
        elif not indexed.is_complete:
            unplaced.append((column, row))
    return Area(sorted(places), sorted(unplaced))


def _polygon(geometry: dict[str, Any]) -> BaseGeometry:
    try:
        polygon = shape(geometry)
        coordinates = shapely.get_coordinates(polygon)
    except (
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
        shapely.errors.ShapelyError,
    ) as err:
        raise _refused("is not one") from err
    if polygon.geom_type not in ("Polygon", "MultiPolygon") or not len(coordinates):
        raise _refused("is empty or of another type")
    if not all(map(math.isfinite, coordinates.ravel())):
        raise _refused("has a coordinate that is no number")
    if not polygon.is_valid:
        # A hand-drawn outline crosses itself now and then.
        polygon = shapely.make_valid(polygon, method="structure", keep_collapsed=False)
    if polygon.is_empty or not polygon.area:
        raise _refused("encloses nothing")
    return polygon


def _covered_by(polygon: BaseGeometry, grid: Grid) -> list[tuple[int, int]]:
    """Return the cells that a polygon covers to at least half."""
    side, step = grid.patch_px0, grid.stride_px0
    left, top, right, bottom = polygon.bounds
    columns = _range(left, right, side, step, grid.n_columns)
    rows = _range(top, bottom, side, step, grid.n_rows)
    column, row = (index.ravel() for index in np.meshgrid(columns, rows))
    boxes = shapely.box(column * step, row * step, column * step + side, row * step + side)
    shapely.prepare(polygon)
    inside = shapely.contains_properly(polygon, boxes)
    crossed = shapely.intersects(polygon, boxes) & ~inside
    share = np.where(inside, 1.0, 0.0)
    parts = shapely.intersection(polygon, boxes[crossed])
    share[crossed] = [part.area / side**2 for part in parts]
    is_covered = share >= LEAST_SHARE - 1e-9
    return list(zip(column[is_covered].tolist(), row[is_covered].tolist(), strict=True))


def _range(start: float, end: float, side: int, step: int, n: int) -> NDArray[np.int64]:
    """Return the columns (or rows) of which an interval touches the patches."""
    first = max(math.floor((start - side) / step), 0)
    last = min(math.ceil(end / step), n - 1)
    return np.arange(first, last + 1)


def _refused(what: str) -> GeometryError:
    return GeometryError(
        f"The region's geometry {what}.",
        hint="Send a GeoJSON Polygon or MultiPolygon in level-0 pixels.",
    )
