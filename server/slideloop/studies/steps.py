"""What the server does for one study by itself: training, the next patches, predictions.

Owns the work between two answers of the expert. Each step takes its inputs under the study's lock,
works without it, and records under it again, unless the study was changed in between: what is due
follows from the state alone, so a step that was lost is simply due again.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slideloop.errors import JobCancelledError, SlideloopError
from slideloop.studies.prediction import best_of
from slideloop.studies.rounds import sample_round
from slideloop.studies.study import Training
from slideloop.studies.trainings import models_of, run_training
from slideloop.studies.undo import effective, undone_seqs
from slideloop.studies.worker import PREDICT, SHOW, TRAIN, Worker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.learning.database import Features
    from slideloop.studies.loop import Loop
    from slideloop.studies.study import Training

_log = logging.getLogger(__name__)

N_KEPT = 3
"""Trainings whose predictions stay in memory."""


@dataclass(frozen=True)
class Predicted:
    """A classifier's answer on one slide, without the given labels; n patches long."""

    training: Training
    label: NDArray[np.int16]
    probability: NDArray[np.float64]


class Steps:
    """The background side of one study.

    Parameters
    ----------
    loop : Loop
    worker : Worker
    store_of : callable
        Returns the store of a slide by its id.

    Attributes
    ----------
    lock : RLock
        Held for every look at the loop's state and every change.
    changed : Condition
        Of `lock`; notified after each change.
    progress : float
        Of the step under way, 0 to 1.
    problem : SlideloopError or None
        Why a step failed; cleared by the next change.
    is_closed : bool
        Whether the server ends: nobody waits any more.
    """

    def __init__(self, loop: Loop, worker: Worker, store_of: Callable[[str], Features]) -> None:
        self.loop = loop
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.progress = 0.0
        self.problem: SlideloopError | None = None
        self.is_closed = False
        self._worker = worker
        self._store_of = store_of
        self._version = 0
        self.n_undone = 0
        self._predicted: dict[tuple[str, str], Predicted] = {}
        # Predictions by the newest training, by slide, and those that somebody waits for.
        self._wanted: dict[str, Training] = {}
        self._asked: dict[tuple[Training, str], None] = {}

    def close(self) -> None:
        """Let those who wait go: nothing will change any more."""
        with self.lock:
            self.is_closed = True
            self.changed.notify_all()

    # What is due ---------------------------------------------------------------------------

    def poke(self, *, is_changed: bool = True, is_undone: bool = False) -> None:
        """Do what the state calls for; to be called with the lock after every change."""
        if is_changed:
            self._version += 1
            self.problem = None
        if is_undone:
            self.n_undone += 1
            self.progress = 0.0
        self.changed.notify_all()
        if self.problem is not None or self._worker.closing:
            return
        study = self.loop.study.id
        if self.loop.is_due("show"):
            self._worker.submit(SHOW, (study, "show"), self._guarded(self._show))
        if self.loop.is_due("train"):
            self._worker.submit(self._priority(TRAIN), (study, "train"), self._guarded(self._train))
        if self._asked or self._wanted:
            priority = self._priority(PREDICT)
            self._worker.submit(priority, (study, "predict"), self._guarded(self._predict))

    def _priority(self, usual: int) -> int:
        """Return the priority of a step: what is quick does not wait for what is long."""
        return SHOW if self.loop.ground.engine.is_quick else usual

    def _guarded(self, step: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                step()
            except JobCancelledError:
                # The study was changed under it, or the server ends; what is still due comes back.
                with self.lock:
                    self.poke(is_changed=False)
            except SlideloopError as err:
                _log.warning("Study %s: %s", self.loop.study.id, err)
                self._fail(err)
            except Exception as err:
                _log.exception("Study %s: a step failed.", self.loop.study.id)
                self._fail(SlideloopError(f"The next step failed: {type(err).__name__}."))

        return run

    def _fail(self, problem: SlideloopError) -> None:
        with self.lock:
            self.problem = problem
            self._wanted.clear()
            self._asked.clear()
            self.changed.notify_all()

    # The steps -----------------------------------------------------------------------------

    def _train(self) -> None:
        with self.lock:
            if not self.loop.is_due("train"):
                return
            inputs = self.loop.training_inputs()
            started = self.loop.record("training_started", inputs.started)
            self.progress = 0.0
            watch = self._watch(TRAIN, self.n_undone)
        start = time.perf_counter()
        models = run_training(self.loop.ground, inputs, watch)
        self.loop.ground.models.keep(models.digest, models)
        with self.lock:
            if watch.is_stale():
                return
            self.loop.end_training(started, models, time.perf_counter() - start)
            self.want_predictions([record["id"] for record in self.loop.study.slides])
            self.poke()

    def _show(self) -> None:
        while True:
            with self.lock:
                if not self.loop.is_due("show"):
                    return
                inputs = self.loop.round_inputs()
                training = self.loop.study.training if inputs.model_round else None
                events = list(self.loop.journal.events)
                version = self._version
                watch = self._watch(SHOW, self.n_undone)
            ground = self.loop.ground
            models = models_of(ground, training, events, watch) if training else None
            data = sample_round(ground, inputs, models, watch)
            with self.lock:
                if self._version == version:
                    self.loop.record("round_shown", data)
                    self.progress = 0.0
                    self.poke()
                    return

    def _predict(self) -> None:
        """Make one prediction: a hundred slides do not stand before the next patches."""
        with self.lock:
            wish = self._next_wish()
            if wish is None:
                return
            training, slide = wish
            events = list(self.loop.journal.events)
            watch = self._watch(PREDICT, self.n_undone, shows=False)
        if training.started not in undone_seqs(events):
            ground = self.loop.ground
            models = models_of(ground, training, events, watch)
            store = self._store_of(slide)
            probability = ground.engine.predict(store, len(store), models, watch)
            label, best = best_of(probability)
            with self.lock:
                known = self._predicted.get((training.digest, slide))
                is_new = known is None or len(known.label) != len(label)
                if is_new and not watch.is_stale():
                    self._keep(slide, Predicted(training, label, best))
        with self.lock:
            self.poke(is_changed=False)

    def _next_wish(self) -> tuple[Training, str] | None:
        """Take out the next prediction to be made: what somebody waits for goes first."""
        if self._asked:
            return self._asked.popitem()[0]
        if not self._wanted:
            return None
        slide = next(iter(self._wanted))
        return self._wanted.pop(slide), slide

    def _watch(self, priority: int, n_undone: int, *, shows: bool = True) -> _Watch:
        return _Watch(self, self._worker, priority, n_undone, shows)

    def predict_now(self) -> None:
        """Make the predictions that were asked for, in the calling thread, the worker's."""
        while self._asked:
            self._guarded(self._predict)()

    # Predictions ---------------------------------------------------------------------------

    def want_predictions(self, slides: list[str]) -> None:
        """Ask for predictions of slides by the newest training; with the lock, before `poke`.

        They take the place of those by an earlier training that are not made yet.
        """
        training = self.loop.study.training
        if training is not None and training.has_classifier:
            self._wanted.update(dict.fromkeys(slides, training))

    def want_prediction_by(self, training: Training, slide: str) -> None:
        """Ask for one prediction by any training, to be made next; with the lock."""
        self._asked[training, slide] = None

    def predicted(self, training: Training, slide: str) -> Predicted | None:
        """Return a prediction if it is there; with the lock."""
        return self._predicted.get((training.digest, slide))

    def trainings(self) -> list[Training]:
        """Return the trainings that count and gave a classifier, the newest first."""
        return [
            Training(e.data["model_round"], e.data["digest"], True, e.data["started"])
            for e in reversed(effective(self.loop.journal.events))
            if e.type == "training_done" and e.data["classifier"]
        ]

    def _keep(self, slide: str, predicted: Predicted) -> None:
        training = predicted.training
        self._predicted[training.digest, slide] = predicted
        digests = list(dict.fromkeys(digest for digest, _ in self._predicted))
        for old in digests[:-N_KEPT]:
            for key in [key for key in self._predicted if key[0] == old]:
                del self._predicted[key]
        sha = hashlib.sha256(predicted.label.tobytes()).hexdigest()
        self.loop.record(
            "prediction",
            {
                "slide": slide,
                "model_round": training.model_round,
                "n": len(predicted.label),
                "sha256": sha,
                "digest": training.digest,
            },
        )


class _Watch:
    """Stands between two steps of long work: tells how far it is, and ends it when it is stale."""

    def __init__(
        self, steps: Steps, worker: Worker, priority: int, n_undone: int, shows: bool
    ) -> None:
        self._steps, self._worker, self._priority = steps, worker, priority
        self._n_undone, self._shows = n_undone, shows

    def is_stale(self) -> bool:
        return self._steps.n_undone != self._n_undone

    def __call__(self, share: float) -> None:
        if self.is_stale() or self._worker.closing:
            raise JobCancelledError("The study was changed meanwhile.")
        if self._shows:
            self._steps.progress = share
        self._worker.breathe(self._priority)
