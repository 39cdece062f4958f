"""Predictions: what the newest classifier and the expert say of every patch of a slide."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import flask
import numpy as np
from flask_openapi3.models.media_type import MediaType
from pydantic import ConfigDict, Field

from slideloop.api.current import request_of, service, waiting
from slideloop.api.schemas import (
    LARGEST_INT,
    MAX_SLIDES,
    Answer,
    Identity,
    Job,
    JournalRef,
    SlideGrid,
    Wait,
    noun,
    refusals,
)
from slideloop.api.study_schemas import Change, ClassName, StudyPath
from slideloop.errors import InvalidInputError
from slideloop.masks.cells import class_index, to_png, to_tiff
from slideloop.masks.geojson import mask_features
from slideloop.studies.settings import MOST_CLASSES
from slideloop.studies.slide_view import grid_view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slideloop.masks.cells import CellMask
    from slideloop.masks.geojson import ObjectKind
    from slideloop.studies.prediction import SlidePrediction

NUMBERS_AT_ONCE = 50_000
TILES_AT_ONCE = 5_000
"""Of which the text is made at a time, so that memory does not grow with the slide."""

COPIED_BYTES = 2**20
"""Bytes of a file that are sent at a time."""

GEOJSON_TYPE = "application/geo+json"

blueprint = noun("predictions", "Predictions of slides, as arrays, objects and pictures.")

_PICTURE = MediaType.model_validate({"schema": {"type": "string", "format": "binary"}})
_OTHER_FORMS = {
    GEOJSON_TYPE: MediaType.model_validate({"schema": {"type": "object"}}),
    "image/png": _PICTURE,
    "image/tiff": _PICTURE,
}


class WantedPredictions(Change):
    """Slides to predict by the newest training."""

    slides: Annotated[list[Identity], Field(min_length=1, max_length=MAX_SLIDES)]


class Predicting(Answer):
    """The job that predicts."""

    job: Job
    journal: JournalRef


class Wanted(Wait):
    """Which prediction of which slide, in which form."""

    slide: Identity
    format: Literal["arrays", "geojson", "png", "tiff"] = "arrays"
    model_round: int | None = Field(
        None, ge=1, le=LARGEST_INT, description="Of an earlier training."
    )
    kind: Literal["detections", "annotations", "tiles"] | None = Field(
        None,
        alias="as",
        description="With geojson; detections if left out. Tiles: a square per patch, else one "
        "object per connected component.",
    )
    classes: list[ClassName] = Field(
        default_factory=list,
        max_length=MOST_CLASSES,
        description="With geojson: the classes wanted, each in a parameter of its own; the "
        "study's positive class if left out.",
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="With geojson: patches of a lower probability are left out."
    )


class Prediction(Answer):
    """One entry per indexed, kept patch, in the order of the index."""

    model_config = ConfigDict(**{"openapi_extra": {"content": _OTHER_FORMS}})  # pyright: ignore[reportArgumentType, reportCallIssue]

    slide: str
    grid: SlideGrid
    classes: list[str]
    n: int
    complete: bool = Field(description="Whether the slide's index is, and this covers it.")
    model_round: int
    col: list[int]
    row: list[int]
    label: list[int] = Field(description="Index into classes; -1: excluded.")
    probability: list[float] = Field(description="Of that class; 1 where it was given.")
    given: list[Literal[0, 1]] = Field(description="Whether the label is an expert's.")


@blueprint.post(
    "/studies/<study_id>/predictions", responses={202: Predicting, **refusals(404, 409)}
)
def predict(path: StudyPath, body: WantedPredictions) -> tuple[dict[str, Any], int]:
    """Predict slides, also ones that were never labelled.

    The study's own slides are predicted by themselves after each training.
    """
    asked = service().studies.get(path.study_id).predict(body.slides, request_of(body))
    return asked.body, asked.status


@blueprint.get("/studies/<study_id>/prediction", responses={200: Prediction, **refusals(404, 409)})
def get_prediction(path: StudyPath, query: Wanted) -> flask.Response:
    """Return the prediction of one slide, given labels on top, by the newest training.

    With `wait`, it waits for a training under way. The png has a pixel per cell, the tiff is a
    pyramid of the slide's size: green where the positive class is, black elsewhere.
    """
    if query.format != "geojson" and (query.kind or query.classes or query.threshold is not None):
        raise InvalidInputError(
            f"'as', 'classes' and 'threshold' do not go with format={query.format}.",
            hint="Leave them out, or ask for format=geojson.",
        )
    study = service().studies.get(path.study_id)
    with waiting(query.wait) as wait_s:
        found = study.prediction(query.slide, wait_s, query.model_round)
    if query.format == "arrays":
        pieces = _arrays(found)
        # In one piece its length is known, and the connection stays open for the next request.
        whole = "".join(pieces) if len(found.label) <= NUMBERS_AT_ONCE else pieces
        return flask.Response(whole, content_type="application/json")
    with study.lock:
        positive = study.study.settings.positive
    mask = found.mask()
    if query.format == "png":
        return flask.Response(to_png(mask, positive), content_type="image/png")
    if query.format == "tiff":
        return _tiff(mask, positive, found.mpp)
    names = list(dict.fromkeys(query.classes)) or [positive]
    for name in names:
        class_index(mask, name)  # Refused now: once the answer has begun it is too late.
    objects = _geojson(mask, study.id, names, query.kind or "detections", query.threshold)
    return flask.Response(objects, content_type=GEOJSON_TYPE)


def _arrays(found: SlidePrediction) -> Iterator[str]:
    """Yield the text of the arrays, in pieces that do not grow with the slide."""
    head = {
        "slide": found.slide,
        "grid": grid_view(found.grid),
        "classes": found.classes,
        "n": len(found.label),
        "complete": found.complete,
        "model_round": found.model_round,
    }
    yield _json(head)[:-1]
    arrays = {
        "col": found.cells[:, 0],
        "row": found.cells[:, 1],
        "label": found.label,
        "probability": found.probability,
        "given": found.given.view(np.uint8),
    }
    for name, values in arrays.items():
        yield f',"{name}":['
        for start in range(0, len(values), NUMBERS_AT_ONCE):
            text = _json(values[start : start + NUMBERS_AT_ONCE].tolist())[1:-1]
            yield f",{text}" if start else text
        yield "]"
    yield "}"


def _geojson(
    mask: CellMask, study: str, names: list[str], kind: ObjectKind, threshold: float | None
) -> Iterator[str]:
    """Yield the text of a FeatureCollection; tiles come in bands of rows, since they are many."""
    n_rows, n_columns = mask.label.shape
    height = max(TILES_AT_ONCE // n_columns, 1) if kind == "tiles" else n_rows
    yield '{"type":"FeatureCollection","features":['
    mark = ""
    for top in range(0, n_rows, height):
        label = np.full_like(mask.label, -1)
        label[top : top + height] = mask.label[top : top + height]
        band = dataclasses.replace(mask, label=label)
        features = mask_features(band, study, names, kind, threshold)["features"]
        if features:
            yield mark + ",".join(map(_json, features))
            mark = ","
    yield "]}"


def _tiff(mask: CellMask, positive: str, mpp: float | None) -> flask.Response:
    """Write the mask to a file of its own, which is gone when it is sent."""
    folder = tempfile.TemporaryDirectory(prefix="slideloop-")
    path = Path(folder.name) / "mask.tif"
    try:
        to_tiff(mask, path, positive, mpp)
        response = flask.Response(_copied(path), content_type="image/tiff")
        response.content_length = path.stat().st_size
    except BaseException:
        folder.cleanup()
        raise
    response.call_on_close(folder.cleanup)
    return response


def _copied(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(COPIED_BYTES):
            yield piece


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
