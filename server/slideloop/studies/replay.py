"""Going back into a study by its journal: its newest models, or every round again.

Owns the comparison of what was recorded with what comes out now (algorithm.md 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slideloop.errors import JournalError, NotTrainedError, SlideloopError
from slideloop.learning.database import SearchSet, reference
from slideloop.studies.areas import SlideAccess
from slideloop.studies.drawing import (
    prepare_query,
    prepare_region,
    prepare_tile,
    query_data,
    region_data,
)
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Event, Journal
from slideloop.studies.loop import Loop
from slideloop.studies.rounds import sample_round
from slideloop.studies.trainings import TrainingInputs, run_training, training_data

if TYPE_CHECKING:
    from slideloop.learning.database import Database
    from slideloop.learning.engine import Engine


@dataclass(frozen=True)
class Comparison:
    """What a replay found.

    Attributes
    ----------
    n_rounds, n_trainings : int
        Compared, those that were undone too.
    differences : tuple of str
        One sentence each; empty if every round came out the same, bit for bit.
    """

    n_rounds: int
    n_trainings: int
    differences: tuple[str, ...]


def replay(
    journal: Journal,
    database: Database,
    engine: Engine,
    slides: Sequence[SlideAccess | None],
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compute every query, round and training of a study again and compare.

    Each step starts from the events recorded before it and from models trained again here.
    Patches, ranks, distances, probabilities and trained parameters must be equal to the last bit;
    times, of course, are not compared.

    Parameters
    ----------
    journal : Journal
        Of the study; not changed.
    database : Database
        Of the study's slides.
    engine : Engine
        As recorded.
    slides : sequence of SlideAccess or None
    progress : callable, optional
        Takes (events done, all events).
    """
    first = Journal(journal.study, journal.events[:1])
    again = _Again(Loop(first, Ground(database, engine, slides)))
    for number, event in enumerate(journal.events[1:], 2):
        again.repeat(event)
        if progress:
            progress(number, len(journal.events))
    n_rounds = sum(event.type == "round_shown" for event in journal.events)
    n_trainings = sum(event.type == "training_done" for event in journal.events)
    return Comparison(n_rounds, n_trainings, tuple(again.differences))


class _Again:
    """A study as it stood before each event, with models of its own."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.differences: list[str] = []
        self._training: tuple[Event, TrainingInputs] | None = None

    def repeat(self, event: Event) -> None:
        """Compute again what an event records, then go on from what was recorded."""
        compute: Callable[[Event], dict[str, Any]] | None = getattr(self, f"_{event.type}", None)
        if compute is not None:
            try:
                expected = compute(event)
            except SlideloopError as err:
                what = f"{event.type} ({_which(event)}) cannot be computed again"
                self.differences.append(f"{what}: {err.message}")
            else:
                self._compare(event, expected)
        self.loop.journal.events.append(event)
        if event.type == "undo":
            self.loop.refold()
        else:
            self.loop.study.apply(event.type, event.data)

    def _query(self, event: Event) -> dict[str, Any]:
        data, loop = event.data, self.loop
        x, y, width, height = data["rectangle"]
        if loop.ground.slides[data["slide"]] is None:
            prepared = prepare_tile(loop.ground, reference(data["slide"], data["on_grid"][0]))
        else:
            rectangle = x, y, width, height
            prepared = prepare_query(loop.ground, data["slide"], rectangle, data["prefix"])
        loop.ground.queries.keep(prepared.squares)
        return query_data(loop.study, prepared, data["label"], loop.n_ever("query") + 1)

    def _region(self, event: Event) -> dict[str, Any]:
        data = event.data
        loop = self.loop
        prepared = prepare_region(loop.ground, data["slide"], data["geometry"], data["prefix"])
        return region_data(loop.study, prepared, data["label"], loop.n_ever("region") + 1)

    def _round_shown(self, event: Event) -> dict[str, Any]:
        inputs = self.loop.round_inputs(SearchSet(tuple(event.data["prefix"])))
        models = self.loop.models if inputs.model_round else None
        return sample_round(self.loop.ground, inputs, models)

    def _training_started(self, event: Event) -> dict[str, Any]:
        inputs = self.loop.training_inputs(SearchSet(tuple(event.data["prefix"])))
        self._training = event, inputs
        return inputs.started

    def _training_done(self, event: Event) -> dict[str, Any]:
        if self._training is None:
            raise JournalError("It has no beginning.", hint="Take the journal from a backup.")
        started, inputs = self._training
        models = run_training(self.loop.ground, inputs)
        # They stand for those recorded, in the rounds that follow.
        self.loop.ground.models.keep(event.data["digest"], models)
        return training_data(started, models)

    def _compare(self, event: Event, expected: dict[str, Any]) -> None:
        names = [
            name
            for name, value in expected.items()
            if name != "machine" and event.data.get(name) != value
        ]
        if names:
            self.differences.append(
                f"{event.type} ({_which(event)}): {', '.join(names)} came out differently."
            )


def _which(event: Event) -> str:
    for name, word in (("round", "round"), ("model_round", "training")):
        if name in event.data:
            return f"{word} {event.data[name]}"
    return f"event {event.seq}"


def restore(
    journal: Journal,
    database: Database,
    engine: Engine,
    slides: Sequence[SlideAccess | None],
) -> Loop:
    """Bring a study to life as its journal ends, with the models of its last training.

    Raises
    ------
    NotTrainedError
        If the study was never trained.
    """
    loop = Loop(journal, Ground(database, engine, slides))
    if loop.models is None:
        raise NotTrainedError(
            "The study was never trained, so it cannot predict.",
            hint="Label a round of patches of two classes first.",
        )
    return loop
