"""What happens in which order: query, label, train, next round (paper, Algorithm 1).

Owns the sequence: what happened is appended to the journal before the state changes. What is
recorded of a step is computed elsewhere (`drawing`, `rounds`, `trainings`), so that the work can
run while labels are taken.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from slideloop.errors import NotTrainedError, StudyStateError
from slideloop.learning.database import place_of, slide_of
from slideloop.studies.drawing import (
    PreparedQuery,
    PreparedRegion,
    prepare_query,
    prepare_tile,
    query_data,
    region_data,
)
from slideloop.studies.prediction import Prediction, best_of, given_labels
from slideloop.studies.rounds import RoundInputs, round_inputs, sample_round
from slideloop.studies.study import Study
from slideloop.studies.trainings import (
    TrainingInputs,
    models_of,
    run_training,
    training_data,
    training_inputs,
)
from slideloop.studies.undo import Scope, taken_back

if TYPE_CHECKING:
    from slideloop.learning.database import SearchSet
    from slideloop.learning.engine import Models
    from slideloop.studies.areas import Rectangle
    from slideloop.studies.ground import Ground
    from slideloop.studies.journal import Event, Journal
    from slideloop.studies.settings import Settings


class Loop:
    """Runs one study.

    Parameters
    ----------
    journal : Journal
        With at least `study_created`.
    ground : Ground
        Its slides and their features.

    Attributes
    ----------
    study : Study
        The fold of the journal.
    """

    def __init__(self, journal: Journal, ground: Ground) -> None:
        self.journal, self.ground = journal, ground
        self.study = Study.of(journal.events)

    def record(self, type_: str, data: dict[str, Any], event_id: str | None = None) -> Event:
        """Append an event and fold it into the state."""
        event = self.journal.append(type_, data, event_id)
        if type_ == "undo":
            self.refold()
        else:
            self.study.apply(type_, data)
        return event

    def refold(self) -> None:
        """Make the state anew from the journal."""
        self.study = Study.of(self.journal.events)

    def n_ever(self, type_: str) -> int:
        """Count events of a type, those undone too: ids are never used twice."""
        return sum(event.type == type_ for event in self.journal.events)

    # What the expert does ------------------------------------------------------------------

    def query(self, slide: int, rectangle: Rectangle, label: str) -> None:
        """Start a session with the expert's rectangle and show its first patches (section 2).

        Parameters
        ----------
        slide : int
            Number of the slide in the study.
        rectangle : tuple of float
            (x, y, width, height) in level-0 pixels.
        label : str
            Class of what it shows.

        Raises
        ------
        ClassRefusedError, QueryNotRelevantError
            If the study cannot be queried for that class.
        OutsideSlideError
            If it lies outside the slide.
        OnGlassError
            If it lies on dropped patches and white pixels only.
        PoolExhaustedError
            If nothing is left to show.
        """
        self.study.check_query(label)
        self.take_query(prepare_query(self.ground, slide, rectangle), label)
        self.settle()

    def query_patch(self, ref: int, label: str) -> None:
        """Start a session with one patch of the database as the query, such as a tile.

        Raises as `query` does.
        """
        slide, place = slide_of(ref), place_of(ref)
        access = self.ground.slides[slide]
        if access is not None:
            column, row = self.ground.database.stores[slide].cells[place].tolist()
            self.query(slide, access.grid.rectangle(column, row), label)
            return
        self.take_query(prepare_tile(self.ground, ref), label)
        self.settle()

    def take_query(
        self,
        prepared: PreparedQuery,
        label: str,
        reader: str | None = None,
        event_id: str | None = None,
    ) -> Event:
        """Record a query; its first patches are a step of their own.

        Raises
        ------
        ClassRefusedError, QueryNotRelevantError, PoolExhaustedError
        """
        self.study.check_query(label)
        self.ground.queries.keep(prepared.squares)
        data = query_data(self.study, prepared, label, self.n_ever("query") + 1)
        return self.record("query", {**data, "reader": reader, "event_id": event_id}, event_id)

    def label(
        self,
        patch: str,
        label: str,
        round_id: str,
        reader: str | None = None,
        event_id: str | None = None,
        *,
        is_first: bool = True,
    ) -> Event:
        """Take one label; the newest counts while the round is open.

        Parameters
        ----------
        patch, label, round_id : str
        reader : str, optional
            Who judged.
        event_id : str, optional
        is_first : bool
            Whether the event id is this label's own; one request's further labels share it.

        Raises
        ------
        UnknownPatchError, StaleRoundError, NotInRoundError, ClassRefusedError
            If it does not belong to the open round; nothing is changed then.
        """
        self.study.check_label(patch, label, round_id)
        data = {
            "patch": patch,
            "label": label,
            "round_id": round_id,
            "reader": reader,
            "event_id": event_id,
        }
        return self.record("label", data, event_id if is_first else None)

    def region(
        self,
        prepared: PreparedRegion,
        label: str,
        train_now: bool,
        reader: str | None = None,
        event_id: str | None = None,
    ) -> Event:
        """Label all patches that a region covers to at least half.

        Parameters
        ----------
        prepared : PreparedRegion
        label : str
            A class, `unsure` or `exclude`.
        train_now : bool
            Train at once, not with the next round.
        reader, event_id : str, optional

        Raises
        ------
        ClassRefusedError
        """
        self.study.check_answer(label)
        data = region_data(self.study, prepared, label, self.n_ever("region") + 1)
        more = {"train_now": train_now, "reader": reader, "event_id": event_id}
        return self.record("region", {**data, **more}, event_id)

    def undo(self, scope: Scope, event_id: str | None = None) -> Event:
        """Take back the latest action, or the latest round's labels; see `undo.taken_back`.

        Raises
        ------
        NothingToUndoError
        """
        undone = taken_back(self.journal.events, scope)
        data = {"scope": scope, "undone": undone, "event_id": event_id}
        return self.record("undo", data, event_id)

    # What follows from it ------------------------------------------------------------------

    def is_due(self, step: str) -> bool:
        """Say whether "show" or "train" is to be done now."""
        if step == "train":
            return self.study.is_training_wanted
        return self.study.is_show_wanted and self.ground.has_enough(self.study)

    def settle(self) -> None:
        """Do all that is due, at once."""
        while True:
            if self.is_due("show"):
                inputs = self.round_inputs()
                models = self.models if inputs.model_round else None
                self.record("round_shown", sample_round(self.ground, inputs, models))
            elif self.is_due("train"):
                trained = self.training_inputs()
                started = self.record("training_started", trained.started)
                start = time.perf_counter()
                models = run_training(self.ground, trained)
                self.ground.models.keep(models.digest, models)
                self.end_training(started, models, time.perf_counter() - start)
            else:
                return

    def learn(self) -> None:
        """Train on all labels after the round's last one, then show the next round (3.4).

        Raises
        ------
        StudyStateError
            If labels of the open round are missing.
        """
        current = self.study.round
        if current is None or current.remaining:
            raise StudyStateError(
                "There is nothing to learn: the round is not labelled to its end.",
                hint="Label the patches that remain.",
            )
        self.settle()

    def training_inputs(self, search: SearchSet | None = None) -> TrainingInputs:
        """Return what a training would learn from now."""
        return training_inputs(self.study, self.ground, search)

    def end_training(self, started: Event, models: Models, seconds: float) -> Event:
        """Record that models are there; they were kept before."""
        data = {**training_data(started, models), "seconds": round(seconds, 3)}
        return self.record("training_done", data)

    def round_inputs(self, search: SearchSet | None = None) -> RoundInputs:
        """Return what the next round's patches follow from now."""
        return round_inputs(self.study, self.ground, self.n_ever("round_shown") + 1, search)

    # Models and prediction -----------------------------------------------------------------

    @property
    def models(self) -> Models | None:
        """Models of the newest training, trained again where they were not kept; None: none."""
        training = self.study.training
        if training is None:
            return None
        return models_of(self.ground, training, self.journal.events)

    def is_as_recorded(self) -> bool:
        """Say whether the models are, to the last bit, those that were trained."""
        models, training = self.models, self.study.training
        return models is not None and training is not None and models.digest == training.digest

    def predict(self, slide: int) -> Prediction:
        """Predict all patches of one slide by the newest classifier (section 5).

        Raises
        ------
        NotTrainedError
            Before two classes were labelled.
        """
        models = self.models
        if models is None or not models.has_classifier:
            raise not_trained()
        store = self.ground.database.stores[slide]
        probability = self.ground.engine.predict(store, len(store), models)
        labels = self.ground.labels_of(self.study, slide, len(probability))
        return given_labels(self.study, labels, *best_of(probability))


def not_trained() -> NotTrainedError:
    """Return the error that says that no classifier is there."""
    return NotTrainedError(
        "The study has no trained classifier yet.",
        hint="Label patches of at least two classes, to the end of a round.",
    )


def create_study(
    journal: Journal,
    settings: Settings,
    slides: list[dict[str, Any]],
    *,
    search_slides: list[int] | None = None,
    reserved: list[list[int]] | None = None,
    environment: dict[str, Any] | None = None,
    name: str = "",
    event_id: str | None = None,
) -> None:
    """Write the first event of a study.

    Parameters
    ----------
    journal : Journal
        Empty; its `study` becomes the id.
    settings : Settings
    slides : list of dict
        Records of the slides: id, fingerprint, name, path, grid, width, height, mpp.
    search_slides : list of int, optional
        Numbers of the slides that are searched; all of them unless told otherwise.
    reserved : list of list of int, optional
        Per slide, places in its index order that are never shown (queries of a simulation).
    environment : dict, optional
        What replay compares: encoder, weights, device, threads, versions.
    name : str
    event_id : str, optional
    """
    journal.append(
        "study_created",
        {
            "id": journal.study,
            "name": name,
            "settings": settings.as_dict(),
            "slides": slides,
            "search_slides": list(range(len(slides))) if search_slides is None else search_slides,
            "reserved": reserved or [],
            "environment": environment or {},
            "event_id": event_id,
        },
        event_id,
    )
