"""Errors on their way out: problem+json, each with the id under which it stands in the log.

Owns the shape of a refusal, and the translation of our errors, of werkzeug's, and of faults that
nobody foresaw.
"""

from __future__ import annotations

import json
import logging
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Response
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from slideloop.api.current import request_id
from slideloop.errors import InvalidInputError, SlideloopError

if TYPE_CHECKING:
    from flask import Flask

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

_log = logging.getLogger("slideloop.api")

_SHOWN_FAULTS = 5
_HTTP_WORDS = {
    400: ("bad_request", "The request is not one that HTTP knows.", "Send it again by the rules."),
    404: ("unknown_path", "There is nothing at this path.", "See /api/v1/docs for what there is."),
    405: ("method_not_allowed", "This path does not know the verb.", "Use a verb of `Allow`."),
    413: ("too_large", "The body is larger than 16 MiB.", "Send it in smaller parts."),
    431: (
        "headers_too_large",
        "The request line and its headers are larger than 128 KiB.",
        "Name shorter paths and values in the URL.",
    ),
}


def refused(err: ValidationError) -> Response:
    """Turn a body, path or query that does not fit its model into one of our errors.

    Raises
    ------
    InvalidInputError
        Always; names the fields and what is wrong with them, never their values.
    """
    faults = err.errors(include_url=False, include_input=False, include_context=False)
    said = [f"{_field(fault['loc'])}: {fault['msg']}" for fault in faults[:_SHOWN_FAULTS]]
    more = f" (and {len(faults) - _SHOWN_FAULTS} more)" if len(faults) > _SHOWN_FAULTS else ""
    raise InvalidInputError(
        f"The request does not fit: {'; '.join(said)}{more}.",
        hint="See /api/v1/docs for the fields and their types.",
    ) from None


def _field(place: tuple[int | str, ...]) -> str:
    """Name a field; the part that the client chose is escaped and cut."""
    return ".".join(json.dumps(str(part)[:60])[1:-1] for part in place) or "the body"


def handle_errors(app: Flask) -> None:
    """Let every error of an app leave it as problem+json."""
    app.register_error_handler(SlideloopError, _known)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _unforeseen)


def _known(err: SlideloopError) -> Response:
    response = _response(err.problem(request_id()))
    if err.http_status == HTTPStatus.UNAUTHORIZED.value:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _of_http(err: HTTPException) -> Response:
    """Say in our form what werkzeug refuses; keep its headers (`Allow`)."""
    response = _response(problem_of_http(err.code or 500, request_id()))
    for name, value in err.get_headers():
        if name != "Content-Type":
            response.headers[name] = value
    return response


def problem_of_http(status: int, request_id: str) -> dict[str, Any]:
    """Return the refusal for a status that HTTP itself has a reason for."""
    usual = (f"http_{status}", f"{HTTPStatus(status).phrase}.", "See /api/v1/docs.")
    code, detail, hint = _HTTP_WORDS.get(status, usual)
    return SlideloopError.of_status(status, code, detail, hint).problem(request_id)


def _unforeseen(err: Exception) -> Response:
    for line in "".join(traceback.format_exception(err)).splitlines():
        _log.error("%s | %s", request_id(), escaped(line[:500]))
    fault = SlideloopError.of_status(
        500,
        "internal",
        "The server met a fault of its own; what was answered before is safe.",
        f"Look for {request_id()} in the server's log, and report it.",
    )
    return _response(fault.problem(request_id()))


def escaped(text: str) -> str:
    """Return text that stays on its line of the log and moves no cursor."""
    return text.encode("unicode_escape").decode("ascii")


def _response(body: dict[str, Any]) -> Response:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False)
    response = Response(text, status=body["status"], content_type=PROBLEM_TYPE)
    if body["retry"]:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
