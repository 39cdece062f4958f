"""Studies: made, found, changed, given further slides."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from slideloop.api.current import request_of, service
from slideloop.api.schemas import (
    LARGEST_INT,
    MAX_LABELS,
    MAX_SLIDES,
    Identity,
    Query,
    Strict,
    noun,
    refusals,
)
from slideloop.api.study_schemas import (
    Change,
    ClassName,
    Engine,
    Name,
    Patches,
    Rounds,
    Strategy,
    Study,
    StudyPath,
)
from slideloop.studies.settings import MOST_CLASSES

blueprint = noun("studies", "Studies: which slides, which classes, how they are learnt.")

Slides = Annotated[list[Identity], Field(min_length=1, max_length=MAX_SLIDES)]
Classes = Annotated[list[ClassName], Field(max_length=MOST_CLASSES)]


class Training(Strict):
    """How the heads are trained (faithful engine); what is left out is the paper's."""

    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    batch: Annotated[int, Field(ge=2, le=4096)] | None = None
    margin: Annotated[float, Field(gt=0, le=10)] | None = None
    metric_distance: Literal["normalised", "raw"] | None = None
    mining: Literal["batch_hard", "hard"] | None = None


class NewStudy(Change):
    """A study to make; `/info.defaults` says what holds where something is left out."""

    name: Name | None = Field(None, description="The first slide's file name if left out.")
    slides: Slides = Field(description="Ids; they may still be indexing.")
    search_slides: Slides | None = Field(
        None, description="Those whose patches may be shown; all if left out."
    )
    mode: Literal["classes", "relevance"] | None = None
    classes: Classes = Field(
        description="At least two; in relevance mode what is relevant, then what is not."
    )
    positive: ClassName | None = Field(
        None, description="The class that masks show; the first one if left out."
    )
    strategy: Strategy | None = None
    rounds: Rounds | None = None
    k: Patches | None = None
    engine: Engine | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST_INT)] | None = None
    refine_query: bool | None = None
    refine_over: Literal["study", "round"] | None = None
    session_start: Literal["current", "pretrained"] | None = None
    reserved: Annotated[list[Identity], Field(max_length=MAX_LABELS)] | None = Field(
        None, description="Patches that are never shown; their slides' index must be complete."
    )
    training: Training | None = None


class StudyChanges(Change):
    """What to change from the next round on; what is left out stays."""

    name: Name | None = None
    strategy: Strategy | None = None
    rounds: Rounds | None = None
    k: Patches | None = None
    search_slides: Slides | None = None
    positive: ClassName | None = None
    add_classes: Annotated[list[ClassName], Field(max_length=MOST_CLASSES)] | None = None
    archived: bool | None = None


class FurtherSlide(Change):
    """A slide to add to a study."""

    slide: Identity


class Which(Query):
    """Which studies to list; all if left out."""

    slide: Identity | None = Field(None, description="Those with this slide.")
    archived: bool | None = Field(None, description="Archived ones only, or others only.")


class Studies(RootModel[list[Study]]):
    """Studies, the oldest first."""


@blueprint.post("/studies", responses={201: Study, **refusals(404, 409)})
def create_study(body: NewStudy) -> tuple[dict[str, Any], int]:
    """Make a study."""
    fields = body.model_dump(exclude={"event_id"}, exclude_none=True)
    made = service().studies.create(fields, request_of(body))
    return made.body, made.status


@blueprint.get("/studies", responses={200: Studies, **refusals(409)})
def list_studies(query: Which) -> list[dict[str, Any]]:
    """Return the studies of the workspace, the oldest first."""
    return service().studies.views(query.slide, query.archived)


@blueprint.get("/studies/<study_id>", responses={200: Study, **refusals(404, 409)})
def get_study(path: StudyPath) -> dict[str, Any]:
    """Return one study."""
    return service().studies.get(path.study_id).view()


@blueprint.patch("/studies/<study_id>", responses={200: Study, **refusals(404, 409)})
def change_study(path: StudyPath, body: StudyChanges) -> tuple[dict[str, Any], int]:
    """Change a study from its next round on."""
    fields = body.model_dump(exclude={"event_id"}, exclude_none=True)
    changed = service().studies.get(path.study_id).change(fields, request_of(body))
    return changed.body, changed.status


@blueprint.post(
    "/studies/<study_id>/slides", responses={200: Study, 201: Study, **refusals(404, 409)}
)
def add_slide(path: StudyPath, body: FurtherSlide) -> tuple[dict[str, Any], int]:
    """Add a slide to a study; 200 if the study has it already."""
    added = service().studies.get(path.study_id).add_slide(body.slide, request_of(body))
    return added.body, added.status
