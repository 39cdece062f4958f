"""Errors on their way out, over an app of a few views that fail."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Annotated

import flask
import pytest
from pydantic import Field, ValidationError

from slideloop import errors
from slideloop.api.problems import escaped, handle_errors, refused
from slideloop.api.schemas import Strict
from slideloop.errors import BusyError, InvalidInputError, SlideloopError, UnauthorizedError

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

ID = "0123456789abcdef"


class _Body(Strict):
    n: int
    x: float = 0
    text: Annotated[str, Field(max_length=5)] = ""
    flag: bool = False


def _answer(err: Exception) -> TestResponse:
    """Return what a client gets when a view raises."""
    app = flask.Flask("tried")
    handle_errors(app)

    @app.before_request
    def name_it() -> None:
        flask.g.request_id = ID

    @app.get("/")
    def fail() -> str:
        raise err

    return app.test_client().get("/")


ALL = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, SlideloopError)
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: error.__name__)
def test_every_known_error_is_said_as_problem_json(error: type[SlideloopError]) -> None:
    answer = _answer(error("What.", hint="How."))
    assert answer.content_type == "application/problem+json"
    assert answer.status_code == error.http_status
    problem = json.loads(answer.data)
    assert problem.pop("title")
    assert problem == {
        "type": "about:blank",
        "status": error.http_status,
        "code": error.code,
        "detail": "What.",
        "hint": "How.",
        "retry": error.retry,
        "request_id": ID,
    }


def test_what_may_be_sent_again_says_when() -> None:
    assert int(_answer(BusyError("Busy.")).headers["Retry-After"]) >= 1
    assert "Retry-After" not in _answer(InvalidInputError("No.")).headers


def test_a_missing_token_is_asked_for() -> None:
    assert _answer(UnauthorizedError("No.")).headers["WWW-Authenticate"] == "Bearer"


def test_an_unforeseen_fault_is_a_500_that_says_nothing_of_itself() -> None:
    answer = _answer(KeyError("the secret"))
    assert answer.status_code == 500
    assert json.loads(answer.data)["code"] == "internal"
    assert b"secret" not in answer.data
    assert b"KeyError" not in answer.data


def test_an_unforeseen_fault_is_logged_under_the_id_that_was_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "slideloop"):
        answer = _answer(RuntimeError("one\ntwo\x1b[31m\r\u2028three"))
    assert json.loads(answer.data)["request_id"] == ID
    assert "RuntimeError" in caplog.text
    messages = [record.getMessage() for record in caplog.records]
    assert all(message.startswith(ID) and message.isprintable() for message in messages)


def _refusal(**fields: object) -> InvalidInputError:
    try:
        _Body.model_validate(fields)
    except ValidationError as err:
        with pytest.raises(InvalidInputError) as raised:
            refused(err)
        return raised.value
    raise AssertionError("the body fits")


@pytest.mark.parametrize("value", [True, "1", 1.0, None, [1]])
def test_only_an_integer_is_an_integer(value: object) -> None:
    assert "n: " in _refusal(n=value).message


@pytest.mark.parametrize("value", [True, "1", None, float("nan"), float("inf"), 10**400])
def test_only_a_finite_number_is_a_number(value: object) -> None:
    assert "x: " in _refusal(n=1, x=value).message


@pytest.mark.parametrize("value", [1, 0, "true"])
def test_only_true_and_false_are_flags(value: object) -> None:
    assert "flag: " in _refusal(n=1, flag=value).message


def test_an_integer_is_a_number_too() -> None:
    assert _Body.model_validate({"n": 1, "x": 2}).x == 2


def test_unknown_fields_are_refused_by_name() -> None:
    assert "paht: " in _refusal(n=1, paht="x").message


def test_the_name_of_an_unknown_field_cannot_break_the_line() -> None:
    message = _refusal(n=1, **{"a\nb\x1b" + "c" * 1000: 1}).message
    assert message.isprintable()
    assert len(message) < 200


def test_values_are_not_repeated() -> None:
    assert "secret" not in _refusal(n="secret", text="secret text").message


def test_many_faults_are_counted_not_listed() -> None:
    message = _refusal(**{f"f{i}": 1 for i in range(1000)}).message
    assert "more)" in message
    assert len(message) < 1000


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\x1b[2J", "\x00", "\x85", "\u2028", "\x9b1m"])
def test_escaped_text_stays_on_its_line(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped(text).isascii()
