"""The one thread that computes: what goes first, what goes in between, how it ends."""

from __future__ import annotations

import logging
import threading

import pytest

from slideloop.studies.worker import INDEX, PREDICT, SHOW, TRAIN, Worker

LONG_S = 20.0


class Gate:
    """A task that holds the worker until it is opened."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.entered.set()
        assert self.opened.wait(LONG_S)


def held(worker: Worker) -> Gate:
    gate = Gate()
    worker.submit(INDEX, "gate", gate)
    assert gate.entered.wait(LONG_S)
    return gate


def finish(worker: Worker) -> None:
    """Wait until all that was queued is done."""
    done = threading.Event()
    worker.submit(INDEX, ("done", object()), done.set)
    assert done.wait(LONG_S)


def test_the_most_urgent_goes_first_and_equals_in_their_order(worker: Worker) -> None:
    seen: list[str] = []
    gate = held(worker)
    for priority, name in [(INDEX, "i"), (PREDICT, "p"), (TRAIN, "t1"), (TRAIN, "t2"), (SHOW, "s")]:
        worker.submit(priority, name, lambda name=name: seen.append(name))
    gate.opened.set()
    finish(worker)
    assert seen == ["s", "t1", "t2", "p", "i"]


def test_a_task_that_waits_is_not_queued_twice_but_one_that_runs_is(worker: Worker) -> None:
    seen: list[int] = []
    gate = held(worker)
    for n in range(3):
        worker.submit(SHOW, "same", lambda n=n: seen.append(n))
    worker.submit(INDEX, "gate", lambda: seen.append(9))
    gate.opened.set()
    finish(worker)
    assert seen == [0, 9]


def test_all_tasks_run_in_one_thread_that_is_not_the_caller(worker: Worker) -> None:
    threads: set[int] = set()
    for n in range(5):
        worker.submit(SHOW, n, lambda: threads.add(threading.get_ident()))
    finish(worker)
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_a_task_that_fails_is_logged_and_the_next_one_runs(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("no good")

    with caplog.at_level(logging.ERROR):
        worker.submit(SHOW, "bad", fail)
        finish(worker)
    assert "bad" in caplog.text
    assert "ValueError: no good" in caplog.text


def test_breathing_runs_what_is_more_urgent_inside_and_leaves_the_rest(worker: Worker) -> None:
    seen: list[str] = []

    def index() -> None:
        seen.append("index begins")
        worker.submit(INDEX, "other", lambda: seen.append("other index"))
        worker.submit(TRAIN, "train", train)
        worker.breathe(INDEX)
        seen.append("index ends")

    def train() -> None:
        seen.append("train begins")
        worker.submit(PREDICT, "predict", lambda: seen.append("predict"))
        worker.submit(SHOW, "show", lambda: seen.append("show"))
        worker.breathe(TRAIN)
        seen.append("train ends")

    worker.submit(INDEX, "index", index)
    finish(worker)
    assert seen == [
        "index begins",
        "train begins",
        "show",
        "train ends",
        "predict",
        "index ends",
        "other index",
    ]


def test_what_fails_inside_does_not_end_what_breathes(worker: Worker) -> None:
    seen: list[str] = []

    def index() -> None:
        worker.submit(SHOW, "bad", lambda: 1 / 0)
        worker.breathe(INDEX)
        seen.append("went on")

    worker.submit(INDEX, "index", index)
    finish(worker)
    assert seen == ["went on"]


def test_breathing_in_another_thread_does_nothing(worker: Worker) -> None:
    seen: list[str] = []
    gate = held(worker)
    worker.submit(SHOW, "show", lambda: seen.append("show"))
    worker.breathe(INDEX)
    assert seen == []
    gate.opened.set()
    finish(worker)
    assert seen == ["show"]


def test_closing_drops_what_waits_and_lets_the_running_task_see_it() -> None:
    worker = Worker()
    seen: list[str] = []
    entered = threading.Event()
    ended = threading.Event()

    def run() -> None:
        entered.set()
        while not worker.closing:
            ended.wait(0.01)
        worker.breathe(INDEX)
        seen.append("ended")

    worker.submit(INDEX, "run", run)
    assert entered.wait(LONG_S)
    worker.submit(SHOW, "dropped", lambda: seen.append("dropped"))
    worker.close()
    assert seen == ["ended"]
    worker.submit(SHOW, "late", lambda: seen.append("late"))
    worker.close()
    assert seen == ["ended"]


def test_a_task_may_close_the_worker(worker: Worker) -> None:
    done = threading.Event()

    def run() -> None:
        worker.close()
        done.set()

    worker.submit(SHOW, "close", run)
    assert done.wait(LONG_S)
