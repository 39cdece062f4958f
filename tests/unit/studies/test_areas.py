"""Which patches a region means."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from slideloop.errors import GeometryError, OnGlassError, OutsideSlideError
from slideloop.slides.grid import Grid, make_grid
from slideloop.studies.areas import Indexed, query_area, region_area

SIDE = 100


@dataclass
class Glass:
    """A slide of 8 x 6 patches; the cells in `dropped` have no place."""

    grid: Grid = field(default_factory=lambda: make_grid(850, 640, None, SIDE))
    width: int = 850
    height: int = 640
    dropped: set[tuple[int, int]] = field(default_factory=set)

    def place(self, column: int, row: int) -> int | None:
        return None if (column, row) in self.dropped else row * 8 + column

    def embed(self, squares: Any) -> Any:
        raise AssertionError("no pixel is needed for a region")


ALL = Indexed(48, True)


def polygon(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[*map(list, points), list(points[0])]]}


def box(x: float, y: float, width: float, height: float) -> dict[str, Any]:
    return polygon((x, y), (x + width, y), (x + width, y + height), (x, y + height))


def test_a_patch_belongs_to_a_region_that_covers_half_of_it() -> None:
    assert region_area(Glass(), ALL, box(0, 0, 150, 100)).places == [0, 1]
    assert region_area(Glass(), ALL, box(0, 0, 149, 100)).places == [0]


@given(
    st.lists(
        st.tuples(st.floats(-50, 900), st.floats(-50, 700)), min_size=3, max_size=9, unique=True
    )
)
def test_every_patch_is_decided_by_its_share(points: list[tuple[float, float]]) -> None:
    shape = shapely.Polygon(points)
    if not shape.is_valid:
        return
    expected = [
        row * 8 + column
        for row in range(6)
        for column in range(8)
        if shape.intersection(
            shapely.box(column * SIDE, row * SIDE, (column + 1) * SIDE, (row + 1) * SIDE)
        ).area
        >= SIDE * SIDE / 2 - 1e-6
    ]
    try:
        found = region_area(Glass(), ALL, polygon(*points)).places
    except (GeometryError, OutsideSlideError):
        found = []
    assert found == expected


def test_holes_and_parts_count() -> None:
    outer = box(0, 0, 300, 300)["coordinates"][0]
    hole = box(100, 100, 100, 100)["coordinates"][0]
    other = box(700, 500, 100, 100)["coordinates"]
    geometry = {"type": "MultiPolygon", "coordinates": [[outer, hole], other]}
    assert region_area(Glass(), ALL, geometry).places == [0, 1, 2, 8, 10, 16, 17, 18, 47]


def test_a_hand_drawn_outline_that_crosses_itself_counts_what_it_encloses() -> None:
    bow = polygon((0, 0), (400, 400), (400, 0), (0, 400))
    places = region_area(Glass(), ALL, bow).places
    assert {8, 16, 8 + 3, 16 + 3} <= set(places)
    assert not {1, 2, 24 + 1, 24 + 2} & set(places)


def test_dropped_patches_are_left_out() -> None:
    slide = Glass(dropped={(1, 0)})
    assert region_area(slide, ALL, box(0, 0, 300, 100)).places == [0, 2]


def test_a_region_on_glass_is_refused() -> None:
    with pytest.raises(OnGlassError):
        region_area(Glass(dropped={(0, 0)}), ALL, box(0, 0, 100, 100))


def test_patches_not_indexed_yet_are_cells_without_a_place() -> None:
    area = region_area(Glass(dropped={(1, 0)}), Indexed(2, False), box(0, 0, 400, 100))
    assert area.places == [0]
    assert area.cells == [(1, 0), (2, 0), (3, 0)]


@pytest.mark.parametrize("x", [-500.0, 850.5, 5000.0])
def test_a_region_outside_the_slide_is_refused(x: float) -> None:
    with pytest.raises(OutsideSlideError, match="850 x 640 px"):
        region_area(Glass(), ALL, box(x, 0, 300, 300))


@pytest.mark.parametrize(
    "geometry",
    [
        box(math.nan, 0, 100, 100),
        box(0, math.inf, 100, 100),
        polygon((0, 0), (100, 100), (200, 200)),
        box(5, 5, 20, 20),
        {"type": "Polygon", "coordinates": []},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Polygon", "coordinates": [[["a", "b"]]]},
        {"type": "Polygon"},
        {"type": "Point", "coordinates": [5, 5]},
        {"type": "LineString", "coordinates": [[0, 0], [500, 500]]},
        {"type": "Nonsense", "coordinates": []},
        {},
    ],
)
def test_a_geometry_that_means_no_patch_is_refused(geometry: dict[str, Any]) -> None:
    with pytest.raises(GeometryError) as caught:
        region_area(Glass(), ALL, geometry)
    assert caught.value.code == "geometry_invalid"
    assert caught.value.hint


def test_a_large_outline_is_decided_in_time() -> None:
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    ring = np.column_stack((400 + 300 * np.cos(angle), 300 + 250 * np.sin(angle)))
    geometry = {"type": "Polygon", "coordinates": [[*ring.tolist(), ring[0].tolist()]]}
    assert len(region_area(Glass(), ALL, geometry).places) > 15


def test_squares_of_a_query_not_indexed_yet_are_read_from_pixels() -> None:
    found = query_area(Glass(), Indexed(1, False), (0, 0, 200, 100))
    assert found.on_grid == [0]
    assert found.off_grid == [(100, 0, 100, 100)]
    assert (found.covered.places, found.covered.cells) == ([0], [(1, 0)])


def test_squares_of_a_query_that_were_dropped_are_glass() -> None:
    found = query_area(Glass(dropped={(1, 0)}), ALL, (0, 0, 200, 100))
    assert (found.on_grid, found.off_grid) == ([0], [])
    assert found.covered.cells == []
