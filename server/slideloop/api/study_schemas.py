"""The objects of the wire that the study nouns share: study, round, and what bodies may hold.

Owns their fields (interfaces.md, Objects) and the limits on names and geometry. Knows nothing of
what stands behind them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from slideloop.api.schemas import (
    MAX_COORDINATE,
    MAX_VERTICES,
    Answer,
    EventId,
    Identity,
    JournalRef,
    Strict,
)
from slideloop.errors import GeometryError
from slideloop.learning.engines import ENGINES
from slideloop.learning.sampling import STRATEGIES

MAX_NAME = 200
"""Characters of a study's, a class's or a reader's name."""

MAX_ROUNDS = 1000
MAX_PATCHES = 1000
"""Patches of one round."""

LEAST_RING = 4
"""Points of a closed ring."""

Name = Annotated[str, Field(max_length=MAX_NAME, pattern=r"\S")]
"""A name that is not blank."""

ClassName = Annotated[str, Field(max_length=MAX_NAME)]
"""A class, or where labels are taken `unsure` or `exclude`; the study says what it refuses."""

Rounds = Annotated[int, Field(ge=1, le=MAX_ROUNDS)]
Patches = Annotated[int, Field(ge=1, le=MAX_PATCHES)]
Strategy = Annotated[str, Field(json_schema_extra={"enum": list(STRATEGIES)})]
Engine = Annotated[str, Field(json_schema_extra={"enum": list(ENGINES)})]
State = Literal["new", "indexing", "labelling", "training", "session_over", "exhausted"]

_POSITION = {
    "type": "array",
    "items": {"type": "number", "minimum": -MAX_COORDINATE, "maximum": MAX_COORDINATE},
    "minItems": 2,
    "maxItems": 2,
}
_RINGS = {
    "type": "array",
    "items": {"type": "array", "items": _POSITION, "minItems": LEAST_RING},
    "minItems": 1,
}


def _of_type(name: str, coordinates: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"type": {"const": name}, "coordinates": coordinates},
        "required": ["type", "coordinates"],
        "additionalProperties": False,
    }


Geometry = Annotated[
    dict[str, Any],
    WithJsonSchema(
        {
            "description": (
                "GeoJSON Polygon or MultiPolygon in level-0 pixels, "
                f"of at most {MAX_VERTICES} vertices in all."
            ),
            "oneOf": [
                _of_type("Polygon", _RINGS),
                _of_type("MultiPolygon", {"type": "array", "items": _RINGS, "minItems": 1}),
            ],
        }
    ),
]


class StudyPath(BaseModel):
    """Which study."""

    study_id: Identity


class Change(Strict):
    """Base of every body that changes a study."""

    event_id: EventId | None = Field(
        None, description="Sent again with the same body, the request counts once."
    )


class Judgement(Change):
    """Base of every body that says what an expert saw."""

    reader: Name | None = Field(None, description="Who judged.")


class Rectangle(Answer):
    """The rectangle of a query, level-0 pixels, and the class of what it shows."""

    slide: str
    x: float
    y: float
    width: float
    height: float
    label: str


class Session(Answer):
    """A query and how far its rounds are."""

    id: str
    query: Rectangle
    rounds_done: int


class Study(Answer):
    """A study and where it stands."""

    id: str
    name: str
    slides: list[str]
    search_slides: list[str]
    mode: Literal["classes", "relevance"]
    classes: list[str]
    positive: str
    strategy: str
    rounds: int
    k: int
    engine: str
    seed: int
    refine_query: bool
    session_start: str
    n_labels: dict[str, int] = Field(
        description="Reviewed patches per class, and those answered unsure or exclude."
    )
    n_query_labels: int
    n_region_labels: int
    sessions: list[Session]
    state: State
    archived: bool
    journal: JournalRef


class Patch(Answer):
    """A patch to judge, level-0 pixels."""

    id: str
    slide: str
    x: float
    y: float
    width: float
    height: float
    rank: int = Field(description="0 is the nearest.")
    distance: float | None
    probability: float | None = Field(description="Of the query's class.")
    reason: Literal[
        "front",
        "mid",
        "end",
        "closest_negative",
        "farthest_positive",
        "entropy",
        "random",
        "top",
    ]


class Note(Answer):
    """What the user should know about a round."""

    code: str
    text: str


class Round(Answer):
    """The current round of a study."""

    study: str
    session: str
    round: int
    rounds: int
    round_id: str | None = Field(description="Null while no patches are shown.")
    state: Literal["indexing", "labelling", "training", "session_over", "exhausted"]
    query: Rectangle
    strategy: str
    strategy_used: str | None
    engine: str
    model_round: int = Field(description="Of the study's trainings, from 1 on; 0 before any.")
    n_pool: int
    progress: float = Field(ge=0, le=1)
    patches: list[Patch]
    labels: dict[str, str]
    remaining: int
    notes: list[Note]


class ChangedRound(Round):
    """The round after a change."""

    journal: JournalRef


def checked_geometry(geometry: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no (Multi)Polygon of finite numbers, or too large to look at further.

    Whether it encloses anything, and what, is looked at by the study.

    Parameters
    ----------
    geometry : dict
        As it was sent.

    Returns
    -------
    dict
        The same.

    Raises
    ------
    GeometryError
    """
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind not in ("Polygon", "MultiPolygon") or set(geometry) != {"type", "coordinates"}:
        raise _refused("is not an object of a type and coordinates alone")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    n_vertices = 0
    for polygon in _listed(polygons):
        for ring in _listed(polygon):
            n_vertices += len(_listed(ring, LEAST_RING))
            if n_vertices > MAX_VERTICES:
                raise _refused(f"has more than {MAX_VERTICES} vertices")
            if not all(map(_is_position, ring)):
                raise _refused("has a vertex that is not two numbers of a slide's size")
    return geometry


def _listed(value: Any, least: int = 1) -> list[Any]:
    if not isinstance(value, list) or len(value) < least:
        raise _refused(f"lacks a polygon, or a ring of at least {LEAST_RING} points")
    return value


def _is_position(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    # A truth value is an int to Python; one that is no number is within no bounds.
    return all(type(v) in (int, float) and -MAX_COORDINATE <= v <= MAX_COORDINATE for v in value)


def _refused(what: str) -> GeometryError:
    return GeometryError(
        f"The region's geometry {what}.",
        hint=f"Send a GeoJSON Polygon or MultiPolygon of at most {MAX_VERTICES} vertices, in "
        "level-0 pixels.",
    )
