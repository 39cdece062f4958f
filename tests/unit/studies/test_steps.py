"""What the server does between two answers: in which order predictions are made."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from tests.studies_played import TRUTH, play_session, record_of, settings_of
from tests.synthetic_stores import features_of, identity_of, write_store

from slideloop.learning.database import Database
from slideloop.learning.linear import LinearEngine
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Journal, new_id
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.steps import Steps
from slideloop.studies.worker import REST, SHOW, Worker

LONG_S = 20.0
NAMES = ("a", "b", "c")


@pytest.fixture
def steps(tmp_path: Path, worker: Worker) -> Steps:
    """A study of three slides, trained once; nothing is predicted yet."""
    full = features_of(TRUTH, (8, 2, 2))
    stores = [write_store(tmp_path, full, identity=identity_of(name)) for name in NAMES]
    journal = Journal(new_id())
    create_study(journal, settings_of(rounds=1), [record_of(store) for store in stores])
    loop = Loop(journal, Ground(Database(stores), LinearEngine(), [None] * 3))
    play_session(loop, int(np.flatnonzero(TRUTH == 0)[0]))
    by_id = {store.id: store for store in stores}
    return Steps(loop, worker, by_id.__getitem__)


def held(worker: Worker) -> threading.Event:
    """Hold the worker until the event is set."""
    opened = threading.Event()
    worker.submit(SHOW, "gate", lambda: assert_set(opened))
    return opened


def assert_set(event: threading.Event) -> None:
    assert event.wait(LONG_S)


def finish(worker: Worker) -> None:
    done = threading.Event()
    worker.submit(REST, "done", done.set)
    assert done.wait(LONG_S)


def made(steps: Steps) -> list[tuple[str, int]]:
    """Slide and training of each prediction recorded."""
    ids = [record["id"] for record in steps.loop.study.slides]
    return [
        (NAMES[ids.index(event.data["slide"])], event.data["model_round"])
        for event in steps.loop.journal.events
        if event.type == "prediction"
    ]


def want_all(steps: Steps) -> None:
    with steps.lock:
        steps.want_predictions([record["id"] for record in steps.loop.study.slides])
        steps.poke()


def test_all_slides_are_predicted_in_their_order(steps: Steps, worker: Worker) -> None:
    want_all(steps)
    finish(worker)
    assert made(steps) == [("a", 1), ("b", 1), ("c", 1)]


def test_what_is_urgent_waits_for_one_prediction_at_most(steps: Steps, worker: Worker) -> None:
    seen: list[int] = []
    opened = held(worker)
    want_all(steps)
    worker.submit(SHOW, "next patches", lambda: seen.append(len(made(steps))))
    opened.set()
    finish(worker)
    assert seen == [1]
    assert len(made(steps)) == 3


def test_a_prediction_that_somebody_waits_for_is_made_first(steps: Steps, worker: Worker) -> None:
    opened = held(worker)
    want_all(steps)
    training = steps.loop.study.training
    assert training is not None
    with steps.lock:
        steps.want_prediction_by(training, steps.loop.study.slides[2]["id"])
        steps.poke(is_changed=False)
    opened.set()
    finish(worker)
    assert made(steps) == [("c", 1), ("a", 1), ("b", 1)]


def test_predictions_by_a_newer_training_take_the_place_of_those_not_made(
    steps: Steps, worker: Worker
) -> None:
    opened = held(worker)
    want_all(steps)
    play_session(steps.loop, int(np.flatnonzero(TRUTH == 0)[-1]))
    want_all(steps)
    opened.set()
    finish(worker)
    assert made(steps) == [("a", 2), ("b", 2), ("c", 2)]


def test_a_prediction_is_made_in_the_calling_thread_for_a_job(steps: Steps, worker: Worker) -> None:
    opened = held(worker)
    training = steps.loop.study.training
    assert training is not None
    with steps.lock:
        steps.want_prediction_by(training, steps.loop.study.slides[1]["id"])
    steps.predict_now()
    assert made(steps) == [("b", 1)]
    opened.set()
