"""From what the expert draws to what is recorded of it: queries and regions (algorithm.md 2).

Owns which of the patches meant take the label as given, and which of those train.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import OnGlassError
from slideloop.learning.database import place_of, slide_of
from slideloop.studies.areas import Area, Query, Rectangle, query_area, region_area
from slideloop.studies.queries import Squares, sha256
from slideloop.studies.rounds import id_of_patch

if TYPE_CHECKING:
    from slideloop.studies.ground import Ground
    from slideloop.studies.study import Study

MOST_GIVEN = 16
"""Most grid patches that take a query's label as given (algorithm.md 2)."""

MOST_OF_REGION = 64
"""Most patches of a region that train (interfaces.md, Paths)."""


@dataclass(frozen=True)
class PreparedQuery:
    """A query's rectangle, its pixels read and embedded.

    Attributes
    ----------
    slide : int
    rectangle : tuple of float
    area : Query
    squares : Squares
        Features of `area.off_grid`.
    prefix : int
        Patches of the slide that were indexed then.
    """

    slide: int
    rectangle: Rectangle
    area: Query
    squares: Squares
    prefix: int


@dataclass(frozen=True)
class PreparedRegion:
    """A region, its patches found.

    Attributes
    ----------
    slide : int
    geometry : dict
        As it was drawn.
    area : Area
    placed : list of [int, int]
        Column and row of `area.places`.
    prefix : int
        Patches of the slide that were indexed then.
    """

    slide: int
    geometry: dict[str, Any]
    area: Area
    placed: list[list[int]]
    prefix: int


def prepare_query(
    ground: Ground, slide: int, rectangle: Rectangle, prefix: int | None = None
) -> PreparedQuery:
    """Find a rectangle's patches and embed its squares off the grid.

    Parameters
    ----------
    ground : Ground
    slide : int
        Number of the slide in the study.
    rectangle : tuple of float
        (x, y, width, height) in level-0 pixels.
    prefix : int, optional
        How much of the slide's index counts; None: all that is there.

    Raises
    ------
    OutsideSlideError
        If it lies outside the slide.
    OnGlassError
        If it lies on dropped patches and white pixels only.
    StudyStateError
        If the slide is a folder of tiles.
    """
    access = ground.access(slide)
    indexed = ground.indexed(slide, prefix)
    area = query_area(access, indexed, rectangle)
    squares = ground.no_squares(slide)
    is_glass: list[bool] = []
    if area.off_grid:
        is_glass, pooled, full = access.embed(area.off_grid)
        squares = pooled, full
    tissue = [s for s, glass in zip(area.off_grid, is_glass, strict=True) if not glass]
    if not area.on_grid and not tissue:
        x, y, width, height = rectangle
        raise OnGlassError(
            f"The rectangle at ({x:g}, {y:g}) of {width:g} x {height:g} px lies on glass only.",
            hint="Draw it on tissue.",
        )
    area = Query(area.on_grid, tissue, area.covered)
    return PreparedQuery(slide, rectangle, area, squares, indexed.n)


def prepare_tile(ground: Ground, ref: int) -> PreparedQuery:
    """Prepare a tile, by its reference, as the query."""
    slide, place = slide_of(ref), place_of(ref)
    area = Query([place], [], Area([place], []))
    n = len(ground.database.stores[slide])
    return PreparedQuery(slide, (place, 0, 1, 1), area, ground.no_squares(slide), n)


def query_data(study: Study, prepared: PreparedQuery, label: str, number: int) -> dict[str, Any]:
    """Return what is recorded of a query.

    Parameters
    ----------
    study : Study
    prepared : PreparedQuery
    label : str
        Class of what it shows.
    number : int
        Of the study's queries, those undone counted, from 1 on.
    """
    area = prepared.area
    places = sorted({*area.on_grid, *area.covered.places})
    return {
        "session": id_of(study, "session", number),
        "slide": prepared.slide,
        "rectangle": list(prepared.rectangle),
        "label": label,
        "on_grid": area.on_grid,
        "squares": [list(square) for square in area.off_grid],
        "squares_sha256": sha256(prepared.squares[0]),
        "covered": places,
        "cells": [list(cell) for cell in area.covered.cells],
        "given": _spread(places, MOST_GIVEN, study.seed_of("query", len(study.sessions))),
        "prefix": prepared.prefix,
    }


def prepare_region(
    ground: Ground, slide: int, geometry: dict[str, Any], prefix: int | None = None
) -> PreparedRegion:
    """Find a region's patches.

    Parameters
    ----------
    ground : Ground
    slide : int
        Number of the slide in the study.
    geometry : dict
        GeoJSON Polygon or MultiPolygon, level-0 pixels.
    prefix : int, optional
        How much of the slide's index counts; None: all that is there.

    Raises
    ------
    GeometryError, OutsideSlideError, OnGlassError
    """
    indexed = ground.indexed(slide, prefix)
    area = region_area(ground.access(slide), indexed, geometry)
    cells = ground.database.stores[slide].cells[area.places]
    return PreparedRegion(slide, geometry, area, cells.tolist(), indexed.n)


def region_data(study: Study, prepared: PreparedRegion, label: str, number: int) -> dict[str, Any]:
    """Return what is recorded of a region.

    Parameters
    ----------
    study : Study
    prepared : PreparedRegion
    label : str
    number : int
        Of the study's regions, those undone counted, from 1 on.
    """
    area, record = prepared.area, study.slides[prepared.slide]
    n = len(area.places)
    chosen = _spread(
        list(range(n + len(area.cells))), MOST_OF_REGION, study.seed_of("region", number)
    )
    return {
        "slide": prepared.slide,
        "label": label,
        "geometry": prepared.geometry,
        "patches": [id_of_patch(record, column, row) for column, row in prepared.placed],
        "places": area.places,
        "cells": [list(cell) for cell in area.cells],
        "train": [area.places[i] for i in chosen if i < n],
        "train_cells": [list(area.cells[i - n]) for i in chosen if i >= n],
        "prefix": prepared.prefix,
    }


def id_of(study: Study, *parts: str | int) -> str:
    """Return the id of a session or round of a study."""
    return str(uuid.uuid5(uuid.UUID(study.id), "/".join(map(str, parts))))


def _spread(places: list[int], most: int, seed: int) -> list[int]:
    """Choose at most `most` of the sorted places, one at random from each of equal parts."""
    if len(places) <= most:
        return places
    parts = np.array_split(np.array(places), most)
    rng = np.random.default_rng(seed)
    return [int(rng.choice(part)) for part in parts]
