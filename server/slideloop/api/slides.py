"""Slides: opened by their path, compared with what QuPath shows, indexed behind the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel

from slideloop.api.current import options, service
from slideloop.api.schemas import (
    MAX_COORDINATE,
    MAX_PATH,
    MAX_PROBE_SIDE,
    MAX_TEXT,
    Answer,
    Identity,
    Job,
    Slide,
    Strict,
    noun,
    refusals,
)
from slideloop.slides.agreement import MAX_PROBES

if TYPE_CHECKING:
    from slideloop.studies.slides import SlideRequest

blueprint = noun("slides", "Slide files, and how far their index is.")

Resolution = Annotated[float, Field(gt=0.02, lt=20)]
"""um/px."""

Side = Annotated[int, Field(ge=1, le=MAX_COORDINATE)]
Grey = Annotated[float, Field(ge=0, le=255)]


class Probe(Strict):
    """A rectangle of the slide, and its mean colour as QuPath shows it."""

    x: Annotated[int, Field(ge=0, le=MAX_COORDINATE)]
    y: Annotated[int, Field(ge=0, le=MAX_COORDINATE)]
    width: Annotated[int, Field(ge=1, le=MAX_PROBE_SIDE)]
    height: Annotated[int, Field(ge=1, le=MAX_PROBE_SIDE)]
    rgb: Annotated[list[Grey], Field(min_length=3, max_length=3)]


class OpenSlide(Strict):
    """A slide to open; what is left out of the last six is as the server was started."""

    path: Annotated[str, Field(min_length=1, max_length=MAX_PATH)] = Field(
        description="A whole path or file URI, below a folder that the server reads."
    )
    width: Side | None = Field(None, description="Level-0 pixels as QuPath shows it.")
    height: Side | None = None
    mpp: Resolution | None = None
    server_type: Annotated[str, Field(max_length=MAX_TEXT)] | None = Field(
        None, description="QuPath's server.getServerType()."
    )
    probe: Annotated[list[Probe], Field(max_length=MAX_PROBES)] = Field(
        default_factory=list, description="What the rectangles look like in QuPath."
    )
    patch_px: Annotated[int, Field(ge=16, le=4096)] | None = None
    stride_px: Annotated[int, Field(ge=1, le=4096)] | None = None
    target_mpp: Resolution | None = None
    filter: Literal["tissue", "paper", "none"] | None = None
    normalisation: Annotated[str, Field(max_length=MAX_TEXT)] | None = Field(
        None, description="sample, dataset, imagenet, or R,G,B/R,G,B."
    )
    store: Literal["full", "pooled"] | None = None


class Opened(Answer):
    """A slide whose index is complete."""

    slide: Slide


class Opening(Answer):
    """A slide and the job that indexes it."""

    slide: Slide
    job: Job


class Slides(RootModel[list[Slide]]):
    """The slides that the workspace knows."""


class OfFile(Strict):
    """Which slides."""

    path: Annotated[str, Field(min_length=1, max_length=MAX_PATH)] | None = Field(
        None, description="Only those of this file, whatever it was called when they were opened."
    )


class SlidePath(BaseModel):
    """Which slide."""

    slide_id: Identity


@blueprint.post("/slides", responses={200: Opened, 202: Opening, **refusals(404, 409)})
def open_slide(body: OpenSlide) -> tuple[dict[str, Any], int]:
    """Open a slide and start its index; a slide that moved is found again by its new path.

    Twice gives the same slide and job. 200 when the index is complete already.
    """
    slide, job = service().slides.open(_request(body))
    if job is None:
        return {"slide": slide}, 200
    return {"slide": slide, "job": job}, 202


def _request(body: OpenSlide) -> SlideRequest:
    from slideloop.studies.slides import SlideRequest

    fields = body.model_dump(exclude={"path"})
    return SlideRequest(path=options().roots.find(body.path), **fields)


@blueprint.get("/slides", responses={200: Slides, **refusals(404)})
def list_slides(query: OfFile) -> list[dict[str, Any]]:
    """Return the slides that the workspace knows; with `path`, those that have its content."""
    if query.path is None:
        return service().slides.all()
    return service().slides.of_file(options().roots.find(query.path))


@blueprint.get("/slides/<slide_id>", responses={200: Slide, **refusals(404)})
def get_slide(path: SlidePath) -> dict[str, Any]:
    """Return one slide."""
    return service().slides.view(path.slide_id)
