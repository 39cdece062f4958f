"""Rounds: queries start them, labels and regions answer them, undo takes both back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from slideloop.api.current import request_of, service, waiting
from slideloop.api.schemas import (
    MAX_LABELS,
    Answer,
    Coordinate,
    EventId,
    Identity,
    JournalRef,
    Length,
    Strict,
    Wait,
    noun,
    refusals,
)
from slideloop.api.study_schemas import (
    ChangedRound,
    ClassName,
    Geometry,
    Judgement,
    Round,
    StudyPath,
    checked_geometry,
)

blueprint = noun("rounds", "Queries, the patches shown, labels, regions, and undo.")


class NewQuery(Judgement):
    """A rectangle of the expert's, level-0 pixels, and the class of what it shows."""

    slide: Identity
    x: Coordinate
    y: Coordinate
    width: Length
    height: Length
    label: ClassName


class NewLabel(Judgement):
    """The label of one patch: a class, `unsure` or `exclude`."""

    label: ClassName
    round_id: Identity


class OneLabel(Strict):
    """The label of one patch among others."""

    patch: Identity
    label: ClassName


class NewLabels(Judgement):
    """Labels of several patches of one round: all are taken, or none."""

    round_id: Identity
    labels: Annotated[list[OneLabel], Field(min_length=1, max_length=MAX_LABELS)]


class NewRegion(Judgement):
    """A region, and the label of every patch that it covers to at least half."""

    slide: Identity
    label: ClassName
    geometry: Geometry
    train: bool = Field(False, description="Train now, not with the next round.")


class Undo(Strict):
    """What to take back."""

    scope: Literal["last", "round"] = Field(
        description="`last`: the latest label, region or query. `round`: the open round's labels, "
        "or if it has none the round before."
    )
    event_id: EventId


class LabelPath(StudyPath):
    """Which patch of which study."""

    patch_id: Identity


class Labelled(Answer):
    """What a label came to."""

    remaining: int
    n_labels: dict[str, int]
    round_complete: bool
    journal: JournalRef


class Given(Answer):
    """What a region came to."""

    n_given: int
    n_train: int
    n_labels: dict[str, int]
    journal: JournalRef


class WithoutQuery(Answer):
    """A study whose only query was taken back."""

    study: str
    state: Literal["new"]
    journal: JournalRef


class Undone(RootModel[ChangedRound | WithoutQuery]):
    """Where the study stands after an undo."""


@blueprint.post("/studies/<study_id>/queries", responses={201: ChangedRound, **refusals(404, 409)})
def start_session(path: StudyPath, body: NewQuery) -> tuple[dict[str, Any], int]:
    """Start a session: a query, and the rounds that it leads to.

    The first patches come with the answer where they take no time; `GET round` waits for them.
    """
    rectangle = (body.x, body.y, body.width, body.height)
    study = service().studies.get(path.study_id)
    started = study.query(body.slide, rectangle, body.label, request_of(body))
    return started.body, started.status


@blueprint.get("/studies/<study_id>/round", responses={200: Round, **refusals(404, 409)})
def get_round(path: StudyPath, query: Wait) -> dict[str, Any]:
    """Return the current round; with `wait`, the next patches as soon as they are there."""
    study = service().studies.get(path.study_id)
    with waiting(query.wait) as wait_s:
        return study.round(wait_s)


@blueprint.put(
    "/studies/<study_id>/labels/<patch_id>", responses={200: Labelled, **refusals(404, 409)}
)
def label_patch(path: LabelPath, body: NewLabel) -> tuple[dict[str, Any], int]:
    """Label one patch of the open round; the newest label counts."""
    study = service().studies.get(path.study_id)
    taken = study.label(path.patch_id, body.label, body.round_id, request_of(body))
    return taken.body, taken.status


@blueprint.post("/studies/<study_id>/labels", responses={200: Labelled, **refusals(404, 409)})
def label_patches(path: StudyPath, body: NewLabels) -> tuple[dict[str, Any], int]:
    """Label several patches of the open round, all or none."""
    labels = [(item.patch, item.label) for item in body.labels]
    study = service().studies.get(path.study_id)
    taken = study.labels(body.round_id, labels, request_of(body))
    return taken.body, taken.status


@blueprint.post("/studies/<study_id>/regions", responses={200: Given, **refusals(404, 409)})
def label_region(path: StudyPath, body: NewRegion) -> tuple[dict[str, Any], int]:
    """Label every patch that a region covers to at least half.

    At most 64 of them train, spread over the region; all of them leave the search set.
    """
    geometry = checked_geometry(body.geometry)
    study = service().studies.get(path.study_id)
    taken = study.region(body.slide, body.label, geometry, body.train, request_of(body))
    return taken.body, taken.status


@blueprint.post("/studies/<study_id>/undo", responses={200: Undone, **refusals(404, 409)})
def undo(path: StudyPath, body: Undo) -> tuple[dict[str, Any], int]:
    """Take back; pool and models are as they were before."""
    study = service().studies.get(path.study_id)
    undone = study.undo(body.scope, request_of(body))
    return undone.body, undone.status
