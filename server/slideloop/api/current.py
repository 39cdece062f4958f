"""What a view needs of the request that it answers, and of the server that it runs in.

Owns the typed way to both, so that no blueprint knows the app.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, cast

import flask

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from slideloop.api.app import ServeOptions
    from slideloop.api.schemas import Strict
    from slideloop.api.waiting import WaitingRoom
    from slideloop.studies.once import Request
    from slideloop.studies.service import Service

EXTENSION = "slideloop"
OPTIONS = "slideloop-options"
WAITING_ROOM = "slideloop-waiting-room"


def service() -> Service:
    """Return the service behind the app."""
    return cast("Service", flask.current_app.extensions[EXTENSION])


def options() -> ServeOptions:
    """Return what the server was started with."""
    return cast("ServeOptions", flask.current_app.extensions[OPTIONS])


def waiting(wait_s: float) -> AbstractContextManager[float]:
    """Take a seat in the waiting room for as long as the block runs.

    Parameters
    ----------
    wait_s : float
        Seconds that the client would wait.

    Returns
    -------
    context manager of float
        Gives the seconds to wait: at most 60, and 0 when the room is full.
    """
    room = cast("WaitingRoom", flask.current_app.extensions[WAITING_ROOM])
    return room.seat(wait_s)


def request_id() -> str:
    """Return the id under which this request stands in the log."""
    return cast("str", flask.g.request_id)


def request_of(body: Strict) -> Request:
    """Say who asks what, so that a request that comes twice counts once.

    Parameters
    ----------
    body : Strict
        The body; its `event_id` and `reader`, where it has them, are taken over.

    Returns
    -------
    Request
        `body_sha256` is the same for two requests exactly when verb, path and every field given
        are, whatever the order of the fields and the form of the numbers.
    """
    from slideloop.studies.once import Request

    fields: dict[str, Any] = body.model_dump(mode="json", exclude_unset=True)
    said = [flask.request.method, flask.request.path, fields]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Request(
        event_id=fields.get("event_id"),
        body_sha256=hashlib.sha256(text.encode()).hexdigest(),
        reader=fields.get("reader"),
    )
