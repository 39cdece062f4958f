"""Reports and journals: what a study came to, and every event of it."""

from __future__ import annotations

from typing import Any, Literal

import flask
from flask_openapi3.models.media_type import MediaType
from pydantic import ConfigDict, Field

from slideloop.api.current import service
from slideloop.api.report_page import page
from slideloop.api.schemas import LARGEST_INT, Answer, JournalRef, Query, noun, refusals
from slideloop.api.study_schemas import State, StudyPath

HTML_TYPE = "text/html; charset=utf-8"
NDJSON_TYPE = "application/x-ndjson"

_PAGE_CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_TEXT = MediaType.model_validate({"schema": {"type": "string"}})

blueprint = noun("reports", "What a study came to: its report, and its journal.")


class Form(Query):
    """In which form."""

    format: Literal["json", "html"] = "json"


class Which(Query):
    """Which events."""

    after: int = Field(0, ge=0, le=LARGEST_INT, description="The seq before the first one.")
    limit: int | None = Field(
        None, ge=1, le=LARGEST_INT, description="At most so many; all if left out."
    )


class Reported(Answer):
    """The study that is reported on."""

    id: str
    name: str
    state: State
    archived: bool


class ChangeMade(Answer):
    """A change of settings."""

    time: str
    changes: dict[str, Any]


class ReportedSlide(Answer):
    """A slide of the study."""

    id: str
    name: str
    fingerprint: str
    width: int
    height: int
    mpp: float | None
    grid: dict[str, Any]
    filter: str
    n_patches: int = Field(description="Indexed when a step last looked.")
    is_searched: bool


class LabelCounts(Answer):
    """The labels that count, as in the study."""

    n_labels: dict[str, int]
    n_query_labels: int
    n_region_labels: int


class ReportedSession(Answer):
    """A query."""

    id: str
    time: str
    slide: str
    rectangle: list[float]
    label: str
    reader: str | None
    rounds_done: int


class ReportedRound(Answer):
    """A round, and the labels that it got."""

    session: int = Field(description="Number of the session, from 1 on.")
    round: int
    round_id: str
    time: str
    strategy: str
    strategy_used: str
    engine: str
    model_round: int
    n_pool: int
    n_shown: int
    labels: dict[str, int]
    n_given: int = Field(description="Of its patches, those that a region answered.")
    waited_s: float = Field(description="From what the expert did last to the patches.")
    seconds: float | None = Field(description="From the patches to the last label.")


class ReportedRegion(Answer):
    """A region."""

    time: str
    slide: str
    label: str
    n_given: int
    n_train: int
    reader: str | None


class ReportedTraining(Answer):
    """A training."""

    model_round: int
    time: str
    n_trained: int | None
    metric: bool
    classifier: bool
    digest: str
    seconds: float | None


class ReportedPrediction(Answer):
    """The newest prediction of a slide."""

    time: str
    slide: str
    model_round: int
    n: int
    sha256: str


class Effort(Answer):
    """What it cost; seconds with the expert's pauses in them."""

    n_reviewed: int
    n_queries: int
    n_rounds: int
    n_patches: int
    share: float | None = Field(description="Of the patches searched, those reviewed.")
    labelling_s: float
    round_s: float | None = Field(description="Median of the rounds.")
    label_s: float | None = Field(description="Mean.")
    waited_s: float
    training_s: float


class Reader(Answer):
    """How much one reader judged; null: requests that did not say who."""

    reader: str | None
    n_queries: int
    n_labels: int
    n_regions: int


class TakenBack(Answer):
    """What was taken back, and no longer counts anywhere else."""

    times: int
    queries: int
    labels: int
    regions: int
    rounds: int
    trainings: int


class Report(Answer):
    """What a study came to."""

    model_config = ConfigDict(**{"openapi_extra": {"content": {HTML_TYPE: _TEXT}}})  # pyright: ignore[reportArgumentType, reportCallIssue]

    study: Reported
    created: str
    updated: str
    settings: dict[str, Any]
    changes: list[ChangeMade]
    slides: list[ReportedSlide]
    labels: LabelCounts
    sessions: list[ReportedSession]
    rounds: list[ReportedRound]
    regions: list[ReportedRegion]
    trainings: list[ReportedTraining]
    predictions: list[ReportedPrediction]
    effort: Effort
    readers: list[Reader]
    undone: TakenBack
    journal: JournalRef


@blueprint.get("/studies/<study_id>/report", responses={200: Report, **refusals(404, 409)})
def get_report(path: StudyPath, query: Form) -> dict[str, Any] | flask.Response:
    """Return labels per class and round, effort, timings and settings; html is a page to send."""
    from slideloop.studies.report import report
    from slideloop.studies.study import Study

    study = service().studies.get(path.study_id)
    with study.lock:
        events = list(study.journal.events)
    found = report(events, Study.of(events))
    if query.format == "json":
        return found
    response = flask.Response(page(found), content_type=HTML_TYPE)
    response.headers["Content-Security-Policy"] = _PAGE_CSP
    return response


@blueprint.get(
    "/studies/<study_id>/journal",
    responses={
        200: {
            "description": "A line of JSON per event, as it is stored, with its hash.",
            "content": {NDJSON_TYPE: {"schema": {"type": "string"}}},
        },
        **refusals(404, 409),
    },
)
def get_journal(path: StudyPath, query: Which) -> flask.Response:
    """Return the study's events, the oldest first, as newline-delimited JSON."""
    study = service().studies.get(path.study_id)
    return flask.Response(study.events(query.after, query.limit), content_type=NDJSON_TYPE)
