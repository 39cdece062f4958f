"""Bodies of requests, read strictly."""

from __future__ import annotations

import pytest

from slideloop.api.bodies import read_object
from slideloop.api.schemas import MAX_DEPTH
from slideloop.errors import InvalidInputError


def _refusal(body: bytes) -> str:
    with pytest.raises(InvalidInputError) as refused:
        read_object(body)
    return refused.value.message


def test_an_object_is_read_as_it_is() -> None:
    body = '{"a": [1, 1.5, null, true, {"b": "µ 😀"}]}'.encode()
    assert read_object(body) == {"a": [1, 1.5, None, True, {"b": "µ 😀"}]}


def test_an_escaped_pair_is_one_character() -> None:
    assert read_object(rb'{"a": "\ud83d\ude00"}') == {"a": "😀"}


@pytest.mark.parametrize("body", [b"", b"{", b"{'a': 1}", b"{} {}", b'{"a": 01}', b'{"a": "\n"}'])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    assert "not JSON" in _refusal(body)


@pytest.mark.parametrize("body", [b'{"a": "\xff"}', b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16")])
def test_what_is_not_plain_utf8_is_refused(body: bytes) -> None:
    assert "not JSON" in _refusal(body)


@pytest.mark.parametrize("body", [b"[]", b"1", b'"{}"', b"null", b"true"])
def test_what_is_not_an_object_is_refused(body: bytes) -> None:
    assert "not an object" in _refusal(body)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(number: str) -> None:
    assert number in _refusal(f'{{"a": [{number}]}}'.encode())


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 1}', b'{"b": {"a": 1, "c": 2, "a": 3}}'])
def test_a_name_twice_in_one_object_is_refused(body: bytes) -> None:
    assert "'a' twice" in _refusal(body)


def test_a_name_in_two_objects_is_no_double() -> None:
    assert read_object(b'{"a": {"a": {"a": 1}}}') == {"a": {"a": {"a": 1}}}


def _nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


def test_nesting_up_to_the_limit_passes() -> None:
    read_object(_nested(MAX_DEPTH))


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 100_000, 2_000_000])
def test_deeper_nesting_is_refused(levels: int) -> None:
    assert "deep" in _refusal(_nested(levels))


def test_objects_nested_deeply_are_refused() -> None:
    assert "deep" in _refusal(b'{"a":' * 200_000 + b"1" + b"}" * 200_000)


def test_a_number_of_a_million_digits_is_refused() -> None:
    assert "digits" in _refusal(b'{"a": ' + b"1" * 1_000_000 + b"}")


@pytest.mark.parametrize(
    "body", [rb'{"a": "\ud83d"}', rb'{"\uDE00": 1}', rb'{"a": [["\ude00\ud83d"]]}']
)
def test_half_of_a_character_is_refused(body: bytes) -> None:
    assert "half of a character" in _refusal(body)


def test_the_value_of_a_double_is_not_said() -> None:
    assert "secret" not in _refusal(b'{"a": "secret", "a": "secret"}')
