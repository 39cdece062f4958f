"""What the server is: alive, what it offers, and its published description.

Owns `/health`, `/info` and the docs, which come from files of this installation alone.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, cast

import flask
from pydantic import BaseModel

from slideloop import __version__
from slideloop.api.current import options, service
from slideloop.api.schemas import (
    MAX_BODY_BYTES,
    MAX_LABELS,
    MAX_SLIDES,
    MAX_VERTICES,
    Answer,
    noun,
    refusals,
)
from slideloop.api.waiting import LONGEST_WAIT_S, SEATS, THREADS
from slideloop.learning.engines import ENGINES
from slideloop.learning.sampling import STRATEGIES
from slideloop.qupath.installation import QuPath, find_qupath
from slideloop.slides.agreement import MAX_PROBE_PX, MAX_PROBES
from slideloop.slides.filters import RULES
from slideloop.slides.limits import DEFAULT_LIMITS
from slideloop.studies.settings import Settings as StudySettings

if TYPE_CHECKING:
    from flask_openapi3.openapi import OpenAPI

API_VERSION = 1

blueprint = noun("meta", "What the server is and offers.")

_DOCS_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)
_DOCS_FILES = {
    "swagger-ui.css": ("css", "text/css"),
    "swagger-ui-bundle.js": ("js", "text/javascript"),
}
_DOCS_START = "start.js"
_DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>slideloop API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_DOCS_SCRIPT = """SwaggerUIBundle({
  url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null
});
"""


class Health(Answer):
    """The server answers."""

    status: Literal["ok"]


class FoundQuPath(Answer):
    """QuPath on the server's machine."""

    found: bool
    version: str | None


class Defaults(Answer):
    """What holds where a request leaves something out."""

    encoder: str
    patch_px: int
    stride_px: int
    target_mpp: float | None
    filter: str
    normalisation: str
    store: str
    mode: str
    engine: str
    strategy: str
    rounds: int
    k: int
    seed: int
    refine_query: bool


class InForce(Answer):
    """The limits in force."""

    wait_s: float
    requests: int
    waiting: int
    body_bytes: int
    grid_cells: int
    tile_bytes: int
    image_pixels: int
    geometry_vertices: int
    labels: int
    slides: int
    probes: int
    probe_pixels: int


class Info(Answer):
    """What the server offers; menus are built from it."""

    version: str
    api_version: int
    device: str
    engines: list[str]
    default_engine: str
    encoders: list[str]
    strategies: list[str]
    filters: list[str]
    defaults: Defaults
    limits: InForce
    auth_required: bool
    qupath: FoundQuPath


class DocsPath(BaseModel):
    """Which file of the docs."""

    name: str


@blueprint.get("/health", responses={200: Health})
def get_health() -> dict[str, Any]:
    """Say that the server answers; needs no token."""
    return {"status": "ok"}


@blueprint.get("/info", responses={200: Info})
def get_info() -> dict[str, Any]:
    """Say what the server offers, with which defaults and limits."""
    qupath = _qupath()
    return {
        "version": __version__,
        "api_version": API_VERSION,
        "device": str(service().encoder.device),
        "engines": list(ENGINES),
        "default_engine": ENGINES[0],
        "encoders": [service().encoder.architecture.name],
        "strategies": list(STRATEGIES),
        "filters": list(RULES),
        "defaults": _defaults(),
        "limits": _limits(),
        "auth_required": options().token is not None,
        "qupath": {"found": qupath is not None, "version": qupath.version if qupath else None},
    }


@functools.cache
def _qupath() -> QuPath | None:
    """Look for QuPath once: what is installed does not change while the server runs."""
    return find_qupath()


def _defaults() -> dict[str, Any]:
    settings = service().settings
    study = StudySettings(classes=())
    return {
        "encoder": service().encoder.architecture.name,
        "patch_px": settings.patch,
        "stride_px": settings.stride or settings.patch,
        "target_mpp": settings.mpp,
        "filter": settings.filter,
        "normalisation": settings.normalisation,
        "store": settings.store,
        "mode": study.mode,
        "engine": study.engine,
        "strategy": study.strategy,
        "rounds": study.rounds,
        "k": study.k,
        "seed": study.seed,
        "refine_query": study.refine_query,
    }


def _limits() -> dict[str, Any]:
    return {
        "wait_s": LONGEST_WAIT_S,
        "requests": THREADS,
        "waiting": SEATS,
        "body_bytes": MAX_BODY_BYTES,
        "grid_cells": DEFAULT_LIMITS.grid_cells,
        "tile_bytes": DEFAULT_LIMITS.tile_bytes,
        "image_pixels": DEFAULT_LIMITS.image_pixels,
        "geometry_vertices": MAX_VERTICES,
        "labels": MAX_LABELS,
        "slides": MAX_SLIDES,
        "probes": MAX_PROBES,
        "probe_pixels": MAX_PROBE_PX,
    }


@blueprint.get("/openapi.json", doc_ui=False)
def get_description() -> dict[str, Any]:
    """Return the published description."""
    return cast("OpenAPI", flask.current_app).api_doc


@blueprint.get("/docs", doc_ui=False)
def get_docs() -> flask.Response:
    """Return the description as a page to read."""
    return _docs(_DOCS_PAGE, "text/html")


@blueprint.get("/docs/<name>", doc_ui=False, responses=refusals(404))
def get_docs_file(path: DocsPath) -> flask.Response:
    """Return a file that the page needs."""
    if path.name == _DOCS_START:
        return _docs(_DOCS_SCRIPT, "text/javascript")
    if path.name not in _DOCS_FILES:
        flask.abort(404)
    folder, kind = _DOCS_FILES[path.name]
    swagger = resources.files("flask_openapi3_swagger") / "templates" / "swagger"
    return _docs((swagger / folder / path.name).read_text("utf-8"), kind)


def _docs(text: str, kind: str) -> flask.Response:
    response = flask.Response(text, content_type=f"{kind}; charset=utf-8")
    response.headers["Content-Security-Policy"] = _DOCS_CSP
    return response
