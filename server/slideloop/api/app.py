"""The app factory: blueprints, and what holds for every request of all of them.

Owns the order in which a request is looked at: who asks, what is asked, with which body. Owns the
headers and the log line of every answer, and the published description.
"""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import flask
from flask.json.provider import DefaultJSONProvider
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI

from slideloop import __version__
from slideloop.api import (
    folders,
    imports,
    jobs,
    meta,
    predictions,
    reports,
    rounds,
    slides,
    studies,
)
from slideloop.api.auth import Gate
from slideloop.api.bodies import StrictRequest
from slideloop.api.current import EXTENSION, OPTIONS, WAITING_ROOM
from slideloop.api.paths import Roots
from slideloop.api.problems import escaped, handle_errors, refused
from slideloop.api.schemas import MAX_BODY_BYTES, PREFIX, PROBLEM_CONTENT, Problem
from slideloop.api.waiting import WaitingRoom

if TYPE_CHECKING:
    from slideloop.api.allowed import AllowedFolders
    from slideloop.studies.service import Service

MODULES = (meta, folders, slides, jobs, studies, rounds, predictions, reports, imports)
"""One blueprint per noun."""

FREE_PATHS = (f"{PREFIX}/health",)
"""What may be asked without a token."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_BODY_REFUSALS = {"413": "Content Too Large", "415": "Unsupported Media Type"}

_log = logging.getLogger("slideloop.api")


@dataclass(frozen=True)
class ServeOptions:
    """What the server is started with, beside the service.

    Parameters
    ----------
    port : int
        That it listens on; part of every host name it goes by.
    roots : Roots
        Folders that clients may name files in.
    token : str or None
        None: no token is asked for.
    allowed_hosts : tuple of str
        Further names that it goes by.
    allowed : AllowedFolders or None
        Takes further folders into `roots`; None: there are none.
    """

    port: int = 8765
    roots: Roots = field(default_factory=Roots)
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed: AllowedFolders | None = None


class _Json(DefaultJSONProvider):
    """Compact JSON in the order given; NaN is a fault of ours, never an answer."""

    ensure_ascii = False
    sort_keys = False
    compact = True

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return super().dumps(obj, **{"allow_nan": False, **kwargs})


class _Api(OpenAPI):
    request_class = StrictRequest
    json_provider_class = _Json


def create_app(service: Service, options: ServeOptions) -> OpenAPI:
    """Make the app over a service.

    Parameters
    ----------
    service : Service
        What answers; the app never closes it.
    options : ServeOptions

    Returns
    -------
    OpenAPI
        A Flask app, whose `api_doc` is the published description.
    """
    app = _Api(
        "slideloop",
        info=Info(
            title="slideloop",
            version=__version__,
            description="Annotate a whole slide by judging a few hundred patches.",
        ),
        security_schemes={"token": {"type": "http", "scheme": "bearer"}},
        validation_error_model=Problem,
        validation_error_callback=refused,
        doc_ui=False,
        static_folder=None,
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.url_map.merge_slashes = False
    app.extensions[EXTENSION] = service
    app.extensions[OPTIONS] = options
    app.extensions[WAITING_ROOM] = WaitingRoom()
    _watch(app, Gate(options.port, options.token, options.allowed_hosts))
    handle_errors(app)
    for module in MODULES:
        app.register_api(module.blueprint)
    _describe(app, needs_token=options.token is not None)
    return app


def _watch(app: OpenAPI, gate: Gate) -> None:
    """Look at every request before anything else does, and at every answer after everything."""

    @app.before_request
    def let_in() -> None:
        flask.g.request_id = uuid.uuid4().hex
        flask.g.started = time.monotonic()
        gate.check(flask.request.headers, needs_token=flask.request.path not in FREE_PATHS)

    @app.after_request
    def send_off(response: flask.Response) -> flask.Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers["X-Request-Id"] = flask.g.request_id
        _log.info(
            "%s %s %s %d %.0f ms",
            flask.g.request_id,
            escaped(flask.request.method),
            escaped(flask.request.path),
            response.status_code,
            1000 * (time.monotonic() - flask.g.started),
        )
        return response


def _describe(app: OpenAPI, *, needs_token: bool) -> None:
    """Finish the published description once, before the first request asks for it."""
    for path, operations in app.api_doc["paths"].items():
        for operation in operations.values():
            lines = operation.pop("description", "").replace("<br/>", "\n").strip()
            if lines:
                operation["description"] = lines
            if needs_token and path not in FREE_PATHS:
                operation["security"] = [{"token": []}]
            if "requestBody" in operation:
                for status, words in _BODY_REFUSALS.items():
                    operation["responses"][status] = {
                        "description": words,
                        "content": PROBLEM_CONTENT,
                    }
