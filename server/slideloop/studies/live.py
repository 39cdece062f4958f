"""A study as the server runs it: every request in, one answer out, nothing lost.

Owns the order lookup, check, commit, answer, and waiting. What is computed between two requests
is the business of `steps`.
"""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from slideloop.errors import (
    BusyError,
    InvalidInputError,
    NotPredictedError,
    NotTrainedError,
    UnknownSlideError,
)
from slideloop.studies.drawing import PreparedQuery, prepare_query, prepare_region
from slideloop.studies.ground import LEAST_TO_START
from slideloop.studies.ledger import StoredJournal
from slideloop.studies.loop import not_trained
from slideloop.studies.once import Answer, Request, first_answer
from slideloop.studies.prediction import SlidePrediction, given_labels
from slideloop.studies.sizes import require_same_size
from slideloop.studies.steps import Steps
from slideloop.studies.views import round_view, study_view
from slideloop.studies.worker import PREDICT

if TYPE_CHECKING:
    from slideloop.studies.areas import Rectangle
    from slideloop.studies.jobs import JobHandle, Jobs
    from slideloop.studies.journal import Journal
    from slideloop.studies.ledger import Ledger
    from slideloop.studies.slides import SlideRegister
    from slideloop.studies.steps import Predicted
    from slideloop.studies.study import Study, Training
    from slideloop.studies.undo import Scope

FIRST_PATCHES_S = 2.0
"""How long a query waits for its first patches before it is answered without them."""

PREDICTION_S = 1.0
"""How long a prediction is waited for at least: one that is being computed anew."""


class LiveStudy:
    """One study, open to requests from any thread.

    Parameters
    ----------
    steps : Steps
    ledger : Ledger
    slides : SlideRegister
    jobs : Jobs
    """

    def __init__(self, steps: Steps, ledger: Ledger, slides: SlideRegister, jobs: Jobs) -> None:
        self.steps, self.lock = steps, steps.lock
        self._ledger, self._slides, self._jobs = ledger, slides, jobs
        self._loop, self._ground = steps.loop, steps.loop.ground
        assert isinstance(steps.loop.journal, StoredJournal)
        self._journal = steps.loop.journal

    @property
    def id(self) -> str:
        """Id of the study."""
        return self._loop.journal.study

    @property
    def journal(self) -> Journal:
        """Its events."""
        return self._loop.journal

    @property
    def study(self) -> Study:
        """The present state; to be read with the lock."""
        return self._loop.study

    # Looking -------------------------------------------------------------------------------

    def view(self) -> dict[str, Any]:
        """Return the wire `study`."""
        with self.lock:
            return study_view(self.study, self._head())

    def round(self, wait_s: float) -> dict[str, Any]:
        """Return the wire `round`; in `indexing` and `training`, wait for the next patches.

        Raises
        ------
        StudyStateError
            Before the first query.
        """
        end = time.monotonic() + wait_s
        with self.lock:
            while self._is_waiting() and (left := end - time.monotonic()) > 0:
                self.steps.changed.wait(left)
            found = self._round()
            found["notes"] += self._index_problems()
            return found

    def events(self, after: int = 0, limit: int | None = None) -> Iterator[bytes]:
        """Yield the journal's lines after a seq, each with its line break."""
        events = self._loop.journal.events
        end = len(events) if limit is None else min(after + limit, len(events))
        for event in events[after:end]:
            yield event.line() + b"\n"

    def _round(self) -> dict[str, Any]:
        state = self.study.state
        progress = 1.0
        if state == "indexing":
            progress = min(self._ground.n_indexed(self.study) / LEAST_TO_START, 1.0)
        elif state == "training":
            progress = min(self.steps.progress, 1.0)
        return round_view(self.study, self._ground.n_pool, progress, self._notes())

    def _notes(self) -> list[dict[str, str]]:
        problem = self.steps.problem
        return [] if problem is None else [{"code": problem.code, "text": str(problem)}]

    def _index_problems(self) -> list[dict[str, str]]:
        """Say why the first patches do not come."""
        notes: list[dict[str, str]] = []
        if self.study.state == "indexing" and not self._ground.has_enough(self.study):
            for number in self.study.search_slides:
                problem = self._slides.view(self.study.slides[number]["id"]).get("problem")
                if problem:
                    text = f"{problem['detail']} {problem['hint']}".strip()
                    notes.append({"code": problem["code"], "text": text})
        return notes

    def _is_waiting(self) -> bool:
        return self.study.state in ("indexing", "training") and self._is_going_on()

    def _is_going_on(self) -> bool:
        return self.steps.problem is None and not self.steps.is_closed

    def _head(self) -> dict[str, Any]:
        return self._journal.events[-1].receipt

    # Changing ------------------------------------------------------------------------------

    def query(self, slide: str, rectangle: Rectangle, label: str, request: Request) -> Answer:
        """Start a session; 201 with its `round`.

        Raises
        ------
        UnknownSlideError
            If the slide is not in the study.
        SlideloopError
            As `Loop.prepare_query` and `Loop.take_query` do.
        """
        known = first_answer(self._ledger, self.id, request)
        if known is not None:
            return known
        label = _nfc(label)
        with self.lock:
            number = self._number(slide)
            self.study.check_query(label)
        prepared = prepare_query(self._ground, number, rectangle)
        answer = self._once(request, lambda: self._take(prepared, label, request))
        return self._with_first_patches(answer, request)

    def _take(self, prepared: PreparedQuery, label: str, request: Request) -> Answer:
        self._loop.take_query(prepared, label, request.reader, request.event_id)
        return Answer(201, self._round())

    def _with_first_patches(self, answer: Answer, request: Request) -> Answer:
        """Give the first patches with the answer where they take no time."""
        session = answer.body["session"]
        end = time.monotonic() + FIRST_PATCHES_S
        with self.lock:
            while self.study.state == "indexing" and self._loop.is_due("show"):
                left = end - time.monotonic()
                if left <= 0 or self.steps.problem is not None:
                    break
                self.steps.changed.wait(left)
            if self.study.state != "labelling" or self.study.session.id != session:
                return answer
            body = {**self._round(), "journal": answer.body["journal"]}
        self._ledger.revise(self.id, request.event_id, body)
        return Answer(answer.status, body)

    def label(self, patch: str, label: str, round_id: str, request: Request) -> Answer:
        """Take one label.

        Raises
        ------
        UnknownPatchError, StaleRoundError, NotInRoundError, ClassRefusedError
        """
        return self.labels(round_id, [(patch, label)], request)

    def labels(self, round_id: str, labels: Sequence[tuple[str, str]], request: Request) -> Answer:
        """Take several labels of the open round, all or none.

        Raises
        ------
        InvalidInputError
            If a patch is named twice.
        UnknownPatchError, StaleRoundError, NotInRoundError, ClassRefusedError
        """
        named = [(patch, _nfc(label)) for patch, label in labels]

        def take() -> Answer:
            if len({patch for patch, _ in named}) < len(named):
                raise InvalidInputError(
                    "A patch is labelled twice in one request.", hint="Send one label a patch."
                )
            for patch, label in named:
                self.study.check_label(patch, label, round_id)
            for number, (patch, label) in enumerate(named):
                self._loop.label(
                    patch,
                    label,
                    round_id,
                    request.reader,
                    request.event_id,
                    is_first=number == 0,
                )
            current = self.study.round
            remaining = current.remaining if current else 0
            return Answer(
                200,
                {
                    "remaining": remaining,
                    "n_labels": self.study.n_labels(),
                    "round_complete": remaining == 0,
                },
            )

        return self._once(request, take)

    def region(
        self, slide: str, label: str, geometry: dict[str, Any], train: bool, request: Request
    ) -> Answer:
        """Label the patches of a region.

        Raises
        ------
        UnknownSlideError, ClassRefusedError, GeometryError, OutsideSlideError, OnGlassError
        """
        known = first_answer(self._ledger, self.id, request)
        if known is not None:
            return known
        name = _nfc(label)
        with self.lock:
            number = self._number(slide)
            self.study.check_answer(name)
        prepared = prepare_region(self._ground, number, geometry)

        def take() -> Answer:
            event = self._loop.region(prepared, name, train, request.reader, request.event_id)
            return Answer(
                200,
                {
                    "n_given": len(event.data["places"]),
                    "n_train": len(event.data["train"]),
                    "n_labels": self.study.n_labels(),
                },
            )

        return self._once(request, take)

    def undo(self, scope: Scope, request: Request) -> Answer:
        """Take back; the `round` as it is then, or the state `new`.

        Raises
        ------
        NothingToUndoError
        """

        def take() -> Answer:
            self._loop.undo(scope, request.event_id)
            if not self.study.sessions:
                return Answer(200, {"study": self.id, "state": "new"})
            return Answer(200, self._round())

        return self._once(request, take, is_undone=True)

    def change(self, fields: dict[str, Any], request: Request) -> Answer:
        """Change settings from the next round on; 200 with the `study`.

        Raises
        ------
        UnknownSlideError, ClassRefusedError, InvalidInputError
        """

        def take() -> Answer:
            if not fields:
                raise InvalidInputError(
                    "The request changes nothing.", hint="Name what is to be changed."
                )
            changes = dict(fields)
            if "search_slides" in changes:
                numbers = {self._number(slide) for slide in changes["search_slides"]}
                changes["search_slides"] = sorted(numbers)
            for name in ("name", "positive"):
                if name in changes:
                    changes[name] = _nfc(changes[name])
            self.study.settings.with_changes(changes)
            data = {**changes, "event_id": request.event_id}
            self._loop.record("settings", data, request.event_id)
            return Answer(200, study_view(self.study, self._head()))

        return self._once(request, take)

    def add_slide(self, slide: str, request: Request) -> Answer:
        """Add a slide; 201 with the `study`, 200 if it was in it.

        Raises
        ------
        UnknownSlideError, NormalisationMismatchError, StoreMismatchError, MppNeededError
        """
        further = self._slides.get(slide)

        def take() -> Answer:
            if self.study.slide_number(slide) is not None:
                return Answer(200, study_view(self.study, self._head()))
            require_same_size([*self.study.slides, further.record])
            self._ground.add_slide(further.store, further)
            data = {"slide": further.record, "event_id": request.event_id}
            self._loop.record("slide_added", data, request.event_id)
            if self.study.training is not None:
                self.steps.want_predictions([slide])
            return Answer(201, study_view(self.study, self._head()))

        return self._once(request, take)

    def _once(
        self, request: Request, take: Callable[[], Answer], *, is_undone: bool = False
    ) -> Answer:
        """Run a change in one transaction with its answer, or give the first answer again."""
        with self.lock:
            known = first_answer(self._ledger, self.id, request)
            if known is not None:
                return known
            n_before = len(self._journal.events)
            try:
                with self._ledger.transaction() as transaction:
                    answer = take()
                    answer.body["journal"] = self._head()
                    transaction.remember(
                        self.id,
                        request.event_id,
                        request.body_sha256,
                        answer.status,
                        answer.body,
                    )
            except BaseException:
                if len(self._journal.events) > n_before:
                    # Whatever was committed after all counts.
                    self._journal.reload()
                    self._loop.refold()
                    self._ground.forget_slides(len(self.study.slides))
                raise
            self.steps.poke(is_undone=is_undone)
        return answer

    def _number(self, slide: str) -> int:
        number = self.study.slide_number(slide)
        if number is None:
            raise UnknownSlideError(
                f"The study has no slide {slide}.",
                hint=f"Add it with POST /studies/{self.id}/slides.",
            )
        return number

    # Predictions ---------------------------------------------------------------------------

    def predict(self, slides: Sequence[str], request: Request) -> Answer:
        """Predict slides by the newest training; 202 with the `job`.

        Raises
        ------
        NotTrainedError
        UnknownSlideError, NormalisationMismatchError
        """
        stores = [self._slides.get(slide).store for slide in slides]

        def take() -> Answer:
            training = self.study.training
            if training is None or not training.has_classifier:
                raise not_trained()
            for store in stores:
                self._ground.database.check(store)
            data = {"asked": list(slides), "event_id": request.event_id}
            self._loop.record("prediction", data, request.event_id)
            return Answer(202, {"job": None})

        answer = self._once(request, take)
        if answer.body["job"] is None:
            # Behind the commit: a job may start, and record, at once.
            job = self._jobs.start(
                "predict",
                f"predict/{self.id}/{request.event_id}",
                lambda handle: self._run_predictions(list(slides), handle),
                params={"study": self.id, "slides": list(slides)},
                priority=PREDICT,
            )
            answer = Answer(202, {**answer.body, "job": self._jobs.view(job)})
            self._ledger.revise(self.id, request.event_id, answer.body)
        return answer

    def _run_predictions(self, slides: list[str], handle: JobHandle) -> dict[str, Any]:
        """Predict in the worker's thread, slide after slide."""
        done: list[dict[str, Any]] = []
        for number, slide in enumerate(slides):
            handle.report(number, len(slides), f"predicting {slide}")
            with self.lock:
                training = self.study.training
                if training is None:
                    raise not_trained()
                self.steps.want_prediction_by(training, slide)
            self.steps.predict_now()
            with self.lock:
                predicted = self.steps.predicted(training, slide)
            if predicted is None:
                raise self.steps.problem or not_trained()
            done.append({"slide": slide, "n": len(predicted.label)})
        handle.report(len(slides), len(slides), "done")
        return {"slides": done, "model_round": self.study.n_trainings}

    def prediction(
        self, slide: str, wait_s: float = 0, model_round: int | None = None
    ) -> SlidePrediction:
        """Return the newest prediction of a slide, the given labels on top.

        Parameters
        ----------
        slide : str
        wait_s : float
            How long to wait for a training under way.
        model_round : int, optional
            Of an earlier training.

        Raises
        ------
        NotTrainedError
            Before two classes were labelled, or if there is no such training.
        NotPredictedError
            For a slide that is not the study's and was never asked for.
        BusyError
            If it is still being computed.
        """
        self._slides.view(slide)
        end = time.monotonic() + wait_s
        with self.lock:
            is_own = self.study.slide_number(slide) is not None
            if not is_own and slide not in self.study.asked:
                raise NotPredictedError(
                    "Nobody asked for a prediction of this slide.",
                    hint=f"Ask with POST /studies/{self.id}/predictions.",
                )
            while self.study.is_training_wanted and self._is_going_on():
                left = end - time.monotonic()
                if model_round is not None or left <= 0:
                    break
                self.steps.changed.wait(left)
            predicted = self._find(slide, model_round, max(end, time.monotonic() + PREDICTION_S))
            return self._laid_out(slide, predicted)

    def _find(self, slide: str, model_round: int | None, end: float) -> Predicted:
        """Return a prediction that is there, or have it made; with the lock."""
        trainings = self.steps.trainings()
        if model_round is not None:
            trainings = [t for t in trainings if t.model_round == model_round]
        if not trainings:
            raise (
                not_trained()
                if model_round is None
                else NotTrainedError(
                    f"The study has no training {model_round}.",
                    hint="Leave model_round out for the newest one.",
                )
            )
        newest = trainings[0]
        if not self._is_fresh(newest, slide):
            self.steps.want_prediction_by(newest, slide)
            self.steps.poke(is_changed=False)
        while not self._is_fresh(newest, slide) and self._is_going_on():
            left = end - time.monotonic()
            if left <= 0:
                break
            self.steps.changed.wait(left)
        for training in trainings:
            predicted = self.steps.predicted(training, slide)
            if predicted is not None:
                return predicted
        raise self.steps.problem or BusyError(
            "The prediction is being computed.", hint="Ask again in some seconds."
        )

    def _is_fresh(self, training: Training, slide: str) -> bool:
        predicted = self.steps.predicted(training, slide)
        if predicted is None:
            return False
        store = self._slides.get(slide).store
        return not store.is_complete or len(store) == len(predicted.label)

    def _laid_out(self, slide: str, predicted: Predicted) -> SlidePrediction:
        access = self._slides.get(slide)
        n = len(predicted.label)
        number = self.study.slide_number(slide)
        labels = {} if number is None else self._ground.labels_of(self.study, number, n)
        merged = given_labels(self.study, labels, predicted.label, predicted.probability)
        return SlidePrediction(
            slide=slide,
            width=access.width,
            height=access.height,
            mpp=access.record["mpp"],
            grid=access.grid,
            classes=self.study.settings.classes,
            complete=access.store.is_complete and len(access.store) == n,
            model_round=predicted.training.model_round,
            cells=access.store.cells[:n],
            label=merged.label,
            probability=merged.probability,
            given=merged.given,
        )

    # The index grew ------------------------------------------------------------------------

    def grown(self, slide: str) -> None:
        """Go on with what waited for a slide's index; called from the worker's thread."""
        with self.lock:
            is_own = self.study.slide_number(slide) is not None
            if not is_own and slide not in self.study.asked:
                return
            if self._slides.get(slide).store.is_complete:
                self.steps.want_predictions([slide])
            self.steps.poke(is_changed=False)


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()
