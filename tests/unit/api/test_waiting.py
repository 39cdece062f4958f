"""How many requests may wait, and for how long."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from slideloop.api.waiting import LONGEST_WAIT_S, SEATS, THREADS, WaitingRoom


@pytest.mark.parametrize(
    ("asked", "given"), [(0, 0), (-1, 0), (30, 30), (60, 60), (61, 60), (float("inf"), 60)]
)
def test_a_wait_is_between_none_and_a_minute(asked: float, given: float) -> None:
    with WaitingRoom().seat(asked) as wait_s:
        assert wait_s == given


def test_who_finds_no_seat_is_answered_at_once() -> None:
    room = WaitingRoom(2)
    with room.seat(10), room.seat(10), room.seat(10) as third:
        assert third == 0


def test_a_seat_is_free_again_after_its_request() -> None:
    room = WaitingRoom(1)
    for _ in range(3):
        with room.seat(10) as wait_s:
            assert wait_s == 10


def test_a_seat_is_free_again_after_a_request_that_failed() -> None:
    room = WaitingRoom(1)
    with pytest.raises(KeyError), room.seat(10):
        raise KeyError
    with room.seat(10) as wait_s:
        assert wait_s == 10


def test_who_does_not_wait_takes_no_seat() -> None:
    room = WaitingRoom(1)
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(room.seat(0))
        assert stack.enter_context(room.seat(10)) == 10


def test_who_found_no_seat_gives_none_back() -> None:
    room = WaitingRoom(1)
    with room.seat(10):
        for _ in range(3):
            with room.seat(10):
                pass
        with room.seat(10) as wait_s:
            assert wait_s == 0


def test_the_threads_are_enough_for_32_requests_beside_those_that_wait() -> None:
    assert SEATS == 16
    assert THREADS - SEATS >= 32
    assert LONGEST_WAIT_S == 60
