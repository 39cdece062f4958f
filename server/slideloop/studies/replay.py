"""Going back into a study by its journal: its newest models, or every round again.

Owns the comparison of what was recorded with what comes out now (algorithm.md 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slideloop.errors import NotTrainedError
from slideloop.learning.database import reference
from slideloop.studies.journal import Journal
from slideloop.studies.loop import Loop, SlideAccess

if TYPE_CHECKING:
    from slideloop.learning.database import Database
    from slideloop.learning.engine import Engine


@dataclass(frozen=True)
class Comparison:
    """What a replay found.

    Attributes
    ----------
    n_rounds, n_trainings : int
        Compared.
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
) -> Comparison:
    """Play a study again from its queries and labels and compare every round and training.

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
    """
    again = Loop(Journal(journal.study, journal.events[:1]), database, engine, slides)
    for event in journal.events[1:]:
        _repeat(again, event.type, event.data)
    before = [e for e in journal.events if e.type in _COMPARED]
    after = [e for e in again.journal.events if e.type in _COMPARED]
    differences = [
        _difference(old.type, old.data, new.data)
        for old, new in zip(before, after, strict=False)
        if (old.type, old.data) != (new.type, new.data)
    ]
    if len(before) != len(after):
        differences.append(f"{len(before)} steps were recorded, {len(after)} came out now.")
    n_rounds = sum(event.type == "round_shown" for event in before)
    n_trainings = sum(event.type == "training_done" for event in before)
    return Comparison(n_rounds, n_trainings, tuple(differences))


_COMPARED = ("query", "round_shown", "training_started", "training_done", "training_skipped")


def _repeat(loop: Loop, type_: str, data: dict[str, Any]) -> None:
    """Do again what came from outside; the rest must follow by itself."""
    if type_ == "query":
        if loop.slides[data["slide"]] is None:
            loop.query_patch(reference(data["slide"], data["on_grid"][0]), data["label"])
        else:
            x, y, width, height = data["rectangle"]
            loop.query(data["slide"], (x, y, width, height), data["label"])
    elif type_ == "label":
        shown = loop.study.round
        if shown is not None and data["patch"] in shown.shown:
            loop.label(data["patch"], data["label"], shown.id, data.get("reader"))
    elif type_ in ("training_started", "training_skipped") and loop.study.state == "training":
        loop.learn()


def _difference(type_: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    names = [key for key in old if old.get(key) != new.get(key)]
    place = f"round {old['round']}" if "round" in old else f"training {old.get('model_round', '')}"
    return f"{type_} ({place.strip()}): {', '.join(names) or 'another event'} came out differently."


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
    events = journal.events
    last = max((i for i, event in enumerate(events) if event.type == "training_started"), default=0)
    if not last:
        raise NotTrainedError(
            "The study was never trained, so it cannot predict.",
            hint="Label a round of patches of two classes first.",
        )
    then = Loop(Journal(journal.study, events[:last]), database, engine, slides)
    then.restore_queries()
    models = then.train_again(events[last].data)
    loop = Loop(journal, database, engine, slides)
    loop.restore_queries()
    loop.models = models
    return loop


def is_as_recorded(loop: Loop) -> bool:
    """Say whether a restored study's models are, to the last bit, those that were trained."""
    digests = [e.data["digest"] for e in loop.journal.events if e.type == "training_done"]
    return loop.models is not None and bool(digests) and loop.models.digest == digests[-1]
