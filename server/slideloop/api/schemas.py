"""The objects of the wire that several nouns share, and how an operation is documented.

Owns the bases of all bodies and queries, the objects slide, job and problem (interfaces.md), and
the limits on what a body may hold. Knows nothing of what stands behind them.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Literal

from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

PREFIX = "/api/v1"
"""What every path begins with."""

MAX_BODY_BYTES = 16 * 2**20
MAX_DEPTH = 64
MAX_TEXT = 1000
"""Characters of a name; a path may have more."""

MAX_PATH = 8192
MAX_PROBE_SIDE = 4096
MAX_LABELS = 10_000
"""Labels in one request."""

MAX_SLIDES = 1000
"""Slides of one study, or of one request."""

MAX_VERTICES = 100_000
"""Vertices of one region."""

MAX_COORDINATE = 2**31
"""Beyond any slide, and small enough for exact arithmetic."""

LARGEST_INT = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly."""


class Strict(BaseModel):
    """Base of every body: no unknown fields, no NaN, and types are what they are.

    `true` and `"1"` are no numbers, 1.0 is no integer.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Query(BaseModel):
    """Base of every query string: no unknown names, no NaN; values are read from their text."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Wait(Query):
    """A query that may wait."""

    wait: float = Field(
        0, ge=0, description="Seconds to wait at most; more than /info.limits.wait_s is that."
    )


class Answer(BaseModel):
    """Base of every object that is sent; fields may be added to it."""


Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Identity = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
EventId = Annotated[
    str,
    Field(pattern="^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$"),
    AfterValidator(str.lower),
]
"""A UUID of the client's, which makes a request that is sent twice count once."""

Coordinate = Annotated[float, Field(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
"""Level-0 pixels of the slide as QuPath shows it; x right, y down, origin top left."""

Length = Annotated[float, Field(gt=0, le=MAX_COORDINATE)]
"""Level-0 pixels."""


class JournalRef(Answer):
    """The head of the study's journal after the change: a receipt."""

    seq: int = Field(ge=1)
    hash: str = Field(pattern="^[0-9a-f]{64}$")


class Problem(Answer):
    """What went wrong and what to do about it (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str = Field(description="Stable name of the error for programs.")
    detail: str
    hint: str = Field(description="What the user can do.")
    retry: bool = Field(description="Whether the same request may be sent again unchanged.")
    request_id: str | None = Field(description="Of the log line; null where no request failed.")


class SlideGrid(Answer):
    """How a slide is cut into patches."""

    patch_px: int
    stride_px: int
    stride_px0: int
    mpp: float | None = Field(description="um/px of the patches; null: the slide's own, unknown.")
    patch_px0: float = Field(description="Side of a patch in level-0 pixels.")


class Dropped(Answer):
    """How many patches of the grid the two rules speak against, up to now."""

    background: int
    structureless: int
    both: int


class Slide(Answer):
    """A slide that the workspace knows."""

    id: str
    path: str
    fingerprint: str
    width: int
    height: int
    mpp: float | None
    grid: SlideGrid
    filter: str
    normalisation: str
    encoder: str
    n_grid: int
    n_patches: int | None = Field(description="Patches kept; null until all are judged.")
    n_indexed: int
    dropped: Dropped
    complete: bool
    state: Literal["indexing", "ready", "failed", "missing"]
    problem: Problem | None


class Job(Answer):
    """Work that goes on behind the requests."""

    id: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
    progress: float = Field(ge=0, le=1)
    stage: str
    rate: float | None = Field(description="Units a second.")
    eta_s: float | None
    result: dict[str, Any] | None
    error: Problem | None


PROBLEM_CONTENT = {
    "application/problem+json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
}
USUAL_REFUSALS = (400, 401, 403, 422, 431, 500, 503)
"""What any request may be answered with; 413 and 415 are added where there is a body."""


def refusals(*statuses: int) -> dict[str | int | HTTPStatus, Any]:
    """Document the statuses with which an operation refuses, beside the usual ones."""
    return {status: {"content": PROBLEM_CONTENT} for status in statuses}


def noun(name: str, description: str) -> APIBlueprint:
    """Make the blueprint of one noun; its rules are given below /api/v1.

    Parameters
    ----------
    name : str
        Of the blueprint and of its tag in the docs.
    description : str
        One sentence for the docs.
    """

    def operation_id(*, name: str, path: str, method: str) -> str:
        return name

    return APIBlueprint(
        name,
        __name__,
        url_prefix=PREFIX,
        abp_tags=[Tag(name=name, description=description)],
        abp_responses=refusals(*USUAL_REFUSALS),
        operation_id_callback=operation_id,
    )
