"""Imports: masks of a study into the images of a closed QuPath project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from slideloop.api.current import options, request_of, service
from slideloop.api.schemas import MAX_PATH, MAX_SLIDES, Answer, Identity, Job, noun, refusals
from slideloop.api.study_schemas import Change, ClassName
from slideloop.studies.settings import MOST_CLASSES

if TYPE_CHECKING:
    from slideloop.studies.imports import ImportRequest

blueprint = noun("imports", "Masks into the images of closed QuPath projects.")


class WantedImport(Change):
    """What goes into which project."""

    project: Annotated[str, Field(min_length=1, max_length=MAX_PATH)] = Field(
        description="A whole path or file URI of a .qpproj, below a folder that the server reads."
    )
    study: Identity
    slides: Annotated[list[Identity], Field(min_length=1, max_length=MAX_SLIDES)] | None = Field(
        None, description="Of the study; all of it if left out."
    )
    kind: Literal["detections", "annotations", "tiles"] = Field("detections", alias="as")
    classes: Annotated[list[ClassName], Field(min_length=1, max_length=MOST_CLASSES)] | None = (
        Field(None, description="The study's positive class if left out.")
    )
    replace: bool = Field(False, description="Whether objects of an earlier import are removed.")


class Importing(Answer):
    """The job that imports; its result has a row per slide."""

    job: Job


@blueprint.post("/imports", responses={202: Importing, **refusals(404, 409)})
def start_import(body: WantedImport) -> tuple[dict[str, Any], int]:
    """Import masks of a study into a QuPath project that is closed.

    Its images are found by the slides' files and their content. 409 `project_open` while QuPath has
    it open, as far as that can be told.
    """
    asked = service().imports.start(_request(body), request_of(body))
    return asked.body, asked.status


def _request(body: WantedImport) -> ImportRequest:
    from slideloop.studies.imports import ImportRequest

    fields = body.model_dump(exclude={"project", "event_id"})
    return ImportRequest(project=options().roots.find(body.project), **fields)
