"""Bodies of requests, read strictly.

Owns what JSON is taken as JSON: UTF-8, one object, no NaN or Infinity, no name twice in one object,
not nested without end, no half of a character. Knows nothing of what the fields mean.
"""

from __future__ import annotations

import json
from typing import Any

import flask

from slideloop.api.schemas import MAX_DEPTH
from slideloop.errors import InvalidInputError, UnsupportedMediaTypeError

JSON_TYPE = "application/json"


class StrictRequest(flask.Request):
    """A request whose JSON is read by `read_object`, however it is asked for."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the body as an object; neither flag weakens the rules.

        Raises
        ------
        UnsupportedMediaTypeError
            If the body is not declared as JSON in UTF-8.
        InvalidInputError
            As `read_object`.
        """
        charset = self.mimetype_params.get("charset", "utf-8").lower()
        encoding = self.headers.get("Content-Encoding", "identity").lower()
        if self.mimetype != JSON_TYPE or charset != "utf-8" or encoding != "identity":
            raise UnsupportedMediaTypeError(
                f"The body is declared as {self.content_type or 'nothing'!r}, "
                f"encoding {encoding!r}.",
                hint=f"Send JSON in UTF-8 with 'Content-Type: {JSON_TYPE}'.",
            )
        return read_object(self.get_data(cache=False))


def read_object(body: bytes) -> dict[str, Any]:
    """Read one JSON object.

    Parameters
    ----------
    body : bytes
        UTF-8.

    Returns
    -------
    dict
        As the standard library reads it.

    Raises
    ------
    InvalidInputError
        If it is not JSON, not one object, or breaks one of the rules above.
    """
    try:
        value = json.loads(
            body.decode(), parse_constant=_refuse_constant, object_pairs_hook=_without_doubles
        )
    except RecursionError as err:
        raise _too_deep() from err
    except InvalidInputError:
        raise
    except ValueError as err:  # not UTF-8, not JSON, or a number of thousands of digits
        raise InvalidInputError(
            f"The body is not JSON: {_reason(err)}.", hint="Send one JSON object in UTF-8."
        ) from err
    if not isinstance(value, dict):
        raise InvalidInputError(
            f"The body is a JSON {type(value).__name__}, not an object.",
            hint="Send one JSON object.",
        )
    _require_shallow(value)
    if b"\\ud" in body.lower():
        _require_whole_characters(value)
    return value


def _reason(err: ValueError) -> str:
    if isinstance(err, json.JSONDecodeError):
        return f"{err.msg} at line {err.lineno}, column {err.colno}"
    if isinstance(err, UnicodeDecodeError):
        return f"byte {err.start} is not UTF-8"
    return "a number has too many digits"


def _refuse_constant(name: str) -> float:
    raise InvalidInputError(
        f"The body holds {name}, which JSON does not have.", hint="Leave it out."
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        double = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise InvalidInputError(
            f"The body names {double[:100]!r} twice in one object.", hint="Name it once."
        )
    return fields


def _require_shallow(value: dict[str, Any]) -> None:
    """Look level by level, since recursion is what deep nesting breaks."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> InvalidInputError:
    return InvalidInputError(
        f"The body is nested more than {MAX_DEPTH} levels deep.", hint="Send a flatter object."
    )


def _require_whole_characters(value: dict[str, Any]) -> None:
    """Refuse half of a surrogate pair, which no file and no other program could hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as err:
        raise InvalidInputError(
            "The body holds half of a character (an unpaired surrogate).", hint="Leave it out."
        ) from err
