"""The state of a study: the fold of its events (architecture.md, "State is the journal").

Owns what each event means for labels, pool, sessions and rounds, and what is refused in which
state. No I/O and no models here: the same events always give the same state.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from slideloop.errors import (
    ClassRefusedError,
    JournalError,
    NotInRoundError,
    PoolExhaustedError,
    QueryNotRelevantError,
    StaleRoundError,
    StudyStateError,
    UnknownPatchError,
)
from slideloop.learning.database import place_of, reference, references, slide_of
from slideloop.studies.settings import EXCLUDE, NOT_CLASSES, UNSURE, Settings
from slideloop.studies.undo import effective

if TYPE_CHECKING:
    from slideloop.studies.journal import Event

__all__ = ["EXCLUDE", "NOT_CLASSES", "UNSURE", "Label", "Round", "Session", "Settings", "Study"]

State = Literal["new", "indexing", "labelling", "training", "session_over", "exhausted"]
Cell = tuple[int, int, int]
"""Slide number, column and row of a patch that was not indexed yet."""


@dataclass(frozen=True)
class Label:
    """The newest label of a patch.

    Attributes
    ----------
    name : str
        A class, `unsure` or `exclude`.
    source : {"review", "query", "region"}
        Whether an expert judged the patch in a round, or it was given.
    round_id : str or None
        Round in which it was reviewed.
    trains : bool
        Whether models learn from it; of a region's patches only some do.
    """

    name: str
    source: str
    round_id: str | None = None
    trains: bool = True


@dataclass
class Session:
    """One query and its rounds.

    Attributes
    ----------
    id : str
    slide : int
        Number of the query's slide in the study.
    rectangle : tuple of float
        As the expert drew it, level-0 pixels.
    label : str
    squares_at : tuple of (int, int, int, int)
        Squares off the grid.
    squares_sha256 : str
        Of their pooled features.
    on_grid : ndarray of int64
        References of squares that are patches of the grid.
    rounds_done : int
    """

    id: str
    slide: int
    rectangle: tuple[float, float, float, float]
    label: str
    squares_at: tuple[tuple[int, int, int, int], ...]
    squares_sha256: str
    on_grid: NDArray[np.int64]
    rounds_done: int = 0


@dataclass
class Round:
    """The patches shown at one time.

    Attributes
    ----------
    id : str
    session : str
    number : int
        From 1 on within the session.
    shown : dict of str to int
        Patch id to reference, in the order shown.
    data : dict
        The event that showed it.
    labels : dict of str to str
        Patch id to label, of those labelled so far.
    """

    id: str
    session: str
    number: int
    shown: dict[str, int]
    data: dict[str, Any]
    labels: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def remaining(self) -> int:
        """Number of patches without a label."""
        return len(self.shown) - len(self.labels)


@dataclass(frozen=True)
class Training:
    """The newest training.

    Attributes
    ----------
    model_round : int
        From 1 on.
    digest : str
        Of the models it gave.
    has_classifier : bool
    started : int
        Seq of the event that began it.
    """

    model_round: int
    digest: str
    has_classifier: bool
    started: int


class Study:
    """Live state of a study.

    Attributes
    ----------
    id, name : str
    settings : Settings
    archived : bool
    slides : list of dict
        As recorded: id, fingerprint, name, path, grid, width, height, mpp.
    search_slides : list of int
        Numbers of the slides whose patches may be shown.
    labels : dict of int to Label
        By patch reference.
    gone : set of int
        References that left the search set: reviewed, queried, given, reserved.
    unplaced : dict of Cell to Label or None
        Cells that left it before they were indexed; with the label that a region gave them.
    sessions : list of Session
    round : Round or None
        The newest round of the newest session; open while `state` is "labelling".
    next_round : int
        Number of the round to be shown next in the session.
    training : Training or None
        The newest one.
    asked : set of str
        Ids of slides, other than the study's own, whose prediction was asked for.
    seen : set of str
        Ids of all patches that were ever shown, also by rounds that were undone.
    """

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.archived = False
        self.settings = Settings(classes=("", ""))
        self.slides: list[dict[str, Any]] = []
        self.search_slides: list[int] = []
        self.labels: dict[int, Label] = {}
        self.gone: set[int] = set()
        self.unplaced: dict[Cell, Label | None] = {}
        self.sessions: list[Session] = []
        self.round: Round | None = None
        self.next_round = 1
        self.training: Training | None = None
        self.asked: set[str] = set()
        self.seen: set[str] = set()
        self._phase: Literal["new", "showing", "labelling", "done", "exhausted"] = "new"
        # Trainings that rounds and regions called for; how many of these the newest one that
        # began, and the newest one that ended, answered.
        self._n_wanted = self._n_begun = self._n_met = 0
        self._has_untrained = False

    @classmethod
    def of(cls, events: Iterable[Event]) -> Study:
        """Fold events, those left out that were undone."""
        study = cls()
        every = list(events)
        for event in effective(every):
            study.apply(event.type, event.data)
        for event in every:
            if event.type == "round_shown":
                study.seen.update(patch["id"] for patch in event.data["patches"])
        return study

    # Folding -------------------------------------------------------------------------------

    def apply(self, type_: str, data: dict[str, Any]) -> None:
        """Fold one event into the state; events of other types change nothing.

        An undo is not folded: the events that remain are folded anew, by `of`.

        Raises
        ------
        JournalError
            If it does not fit the events before it.
        """
        fold = getattr(self, f"_on_{type_}", None)
        if fold is None:
            return
        try:
            fold(data)
        except (LookupError, TypeError, ValueError, AttributeError, AssertionError) as err:
            # The chain may hold and the content make no sense all the same: a forged journal.
            raise JournalError(
                f"An event of the journal, a {type_}, does not fit those before it ({err!r}).",
                hint="Take the journal from a backup.",
            ) from err

    def _on_study_created(self, data: dict[str, Any]) -> None:
        fields: dict[str, Any] = {**data["settings"], "classes": tuple(data["settings"]["classes"])}
        self.id, self.name = data["id"], data["name"]
        self.settings = Settings(**fields)
        self.slides = list(data["slides"])
        self.search_slides = list(data["search_slides"])
        for slide, places in enumerate(data.get("reserved", [])):
            self.gone.update(references(slide, np.array(places, np.int64)).tolist())

    def _on_slide_added(self, data: dict[str, Any]) -> None:
        searches_all = len(self.search_slides) == len(self.slides)
        self.slides.append(data["slide"])
        if searches_all:
            self.search_slides.append(len(self.slides) - 1)
            self._look_again()

    def _on_settings(self, data: dict[str, Any]) -> None:
        self.name = data.get("name", self.name)
        self.archived = data.get("archived", self.archived)
        self.settings = self.settings.with_changes(data)
        if "search_slides" in data:
            self.search_slides = list(data["search_slides"])
            self._look_again()

    def _look_again(self) -> None:
        if self._phase == "exhausted":
            self._phase = "showing"

    def _on_query(self, data: dict[str, Any]) -> None:
        self._put_back()
        slide = data["slide"]
        covered = references(slide, np.array(data["covered"], np.int64)).tolist()
        on_grid = references(slide, np.array(data["on_grid"], np.int64))
        given = references(slide, np.array(data["given"], np.int64)).tolist()
        self.gone.update(covered, on_grid.tolist())
        for column, row in data["cells"]:
            self.unplaced.setdefault((slide, column, row), None)
        for ref in given:
            self.labels[ref] = Label(data["label"], "query")
        self.sessions.append(
            Session(
                id=data["session"],
                slide=slide,
                rectangle=cast("tuple[float, float, float, float]", tuple(data["rectangle"])),
                label=data["label"],
                squares_at=tuple(tuple(square) for square in data["squares"]),
                squares_sha256=data["squares_sha256"],
                on_grid=on_grid,
            )
        )
        self.round = None
        self.next_round = 1
        self._phase = "showing"

    def _put_back(self) -> None:
        """Give what the open round showed and nobody judged back to the search set (3.2)."""
        if self.round is not None:
            shown = self.round.shown.values()
            self.gone.difference_update(ref for ref in shown if ref not in self.labels)

    def _on_round_shown(self, data: dict[str, Any]) -> None:
        shown = {p["id"]: reference(p["slide"], p["place"]) for p in data["patches"]}
        if not shown:
            self.round = None
            self._phase = "exhausted"
            return
        self.round = Round(data["round_id"], data["session"], data["round"], shown, data)
        self.gone.update(shown.values())
        self.seen.update(shown)
        self._phase = "labelling"

    def _on_label(self, data: dict[str, Any]) -> None:
        current = self.round
        assert current is not None
        name = data["label"]
        self.labels[current.shown[data["patch"]]] = Label(name, "review", current.id)
        current.labels[data["patch"]] = name
        self._has_untrained |= name not in NOT_CLASSES
        self._end_round()

    def _on_region(self, data: dict[str, Any]) -> None:
        slide, name, train = data["slide"], data["label"], set(data["train"])
        refs: set[int] = set()
        for place in data["places"]:
            ref = reference(slide, place)
            refs.add(ref)
            self.labels[ref] = Label(name, "region", None, place in train)
        self.gone |= refs
        train_cells = {tuple(cell) for cell in data["train_cells"]}
        for column, row in data["cells"]:
            trains = (column, row) in train_cells
            self.unplaced[slide, column, row] = Label(name, "region", None, trains)
        if self.round is not None and self._phase == "labelling":
            for patch, ref in self.round.shown.items():
                if ref in refs:
                    self.round.labels[patch] = name
        self._has_untrained = True
        if data["train_now"]:
            self._n_wanted += 1
        self._end_round()

    def _end_round(self) -> None:
        """Close the open round if that was its last label; training follows if it taught."""
        current = self.round
        if self._phase != "labelling" or current is None or current.remaining:
            return
        self.session.rounds_done = current.number
        if self._has_untrained:
            self._n_wanted += 1
        if current.number < self.settings.rounds:
            self._phase = "showing"
            self.next_round = current.number + 1
        else:
            self._phase = "done"

    def _on_training_started(self, data: dict[str, Any]) -> None:
        self._n_begun = self._n_wanted
        self._has_untrained = False

    def _on_training_done(self, data: dict[str, Any]) -> None:
        self._n_met = self._n_begun
        self.training = Training(
            data["model_round"], data["digest"], data["classifier"], data["started"]
        )

    def _on_prediction(self, data: dict[str, Any]) -> None:
        self.asked.update(data.get("asked", ()))

    # Questions -----------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The state of the study, and of its current round (interfaces.md, Rounds)."""
        if self._phase == "showing":
            waits_for_models = self.is_training_wanted and not self.starts_fresh
            return "training" if waits_for_models or self.next_round > 1 else "indexing"
        if self._phase == "done":
            return "training" if self.is_training_wanted else "session_over"
        return self._phase

    @property
    def is_training_wanted(self) -> bool:
        """Whether a round or a region calls for a training that is not done."""
        return self._n_met < self._n_wanted

    @property
    def is_show_wanted(self) -> bool:
        """Whether the next patches can be sampled: wanted, and the models they need are there."""
        if self._phase != "showing":
            return False
        return self.starts_fresh or not self.is_training_wanted

    @property
    def starts_fresh(self) -> bool:
        """Whether the next round is a session's first, served by untrained models (3.5)."""
        return self.next_round == 1 and self.settings.session_start == "pretrained"

    @property
    def n_trainings(self) -> int:
        """Trainings done."""
        return self.training.model_round if self.training else 0

    @property
    def session(self) -> Session:
        """The newest session.

        Raises
        ------
        StudyStateError
            Before the first query.
        """
        if not self.sessions:
            raise StudyStateError(
                "The study has no query yet.", hint="Draw a rectangle and send it as the query."
            )
        return self.sessions[-1]

    def seed_of(self, *purpose: str | int) -> int:
        """Return the seed of one step: a function of the study's seed and the step alone."""
        text = "/".join(map(str, (self.settings.seed, *purpose)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])

    def class_idx(self, name: str) -> int:
        """Return the index of a class."""
        return self.settings.classes.index(name)

    def trainable(
        self, since: Mapping[int, Label] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return references, ascending, and class indices of all labels that train.

        Parameters
        ----------
        since : mapping of int to Label, optional
            Labels by reference of patches that a region took before they were indexed.
        """
        names = {
            ref: label.name
            for ref, label in {**(since or {}), **self.labels}.items()
            if label.trains and label.name not in NOT_CLASSES
        }
        refs = sorted(names)
        return np.array(refs, np.int64), np.array(
            [self.class_idx(names[r]) for r in refs], np.int64
        )

    def relevant(self) -> NDArray[np.int64]:
        """Return references that refine the session's query (algorithm.md 3.1), ascending.

        Those are the reviewed patches of its class, of the whole study or of the round just
        labelled; what queries and regions gave is left out, since it was not judged.
        """
        name = self.session.label
        of_round = self.round.id if self.round and self.settings.refine_over == "round" else None
        refs = [
            ref
            for ref, label in self.labels.items()
            if label.name == name
            and label.source == "review"
            and (of_round is None or label.round_id == of_round)
        ]
        return np.array(sorted(refs), np.int64)

    def n_labels(self) -> dict[str, int]:
        """Return reviewed patches per class, and those answered unsure or exclude."""
        counts = Counter(label.name for label in self.labels.values() if label.source == "review")
        return {name: counts[name] for name in (*self.settings.classes, *NOT_CLASSES)}

    def n_given(self, source: Literal["query", "region"]) -> int:
        """Return how many patches got their label by queries, or by regions."""
        return sum(label.source == source for label in self.labels.values())

    def labels_of(self, slide: int) -> dict[int, Label]:
        """Return the labels of one slide's patches, by place in its index order."""
        return {
            place_of(ref): label for ref, label in self.labels.items() if slide_of(ref) == slide
        }

    def slide_number(self, slide_id: str) -> int | None:
        """Return the number of a slide in the study, or None if it is not in it."""
        ids = [record["id"] for record in self.slides]
        return ids.index(slide_id) if slide_id in ids else None

    # Refusals ------------------------------------------------------------------------------

    def check_query(self, label: str) -> None:
        """Refuse a query that the study cannot take.

        Raises
        ------
        ClassRefusedError
            If it is for no class of the study.
        QueryNotRelevantError
            In relevance mode, if it is not what is sought.
        PoolExhaustedError
            If nothing is left to show.
        """
        if label not in self.settings.classes:
            raise self._not_a_class(label, self.settings.classes)
        if self.settings.mode == "relevance" and label != self.settings.classes[0]:
            raise QueryNotRelevantError(
                f"In relevance mode a query shows what is sought, {self.settings.classes[0]!r}, "
                f"not {label!r}.",
                hint="Draw the rectangle on what you seek, or make a study in classes mode.",
            )
        if self.state == "exhausted":
            raise PoolExhaustedError(
                "Every patch of the search set has been reviewed.",
                hint="Import the mask, or add another slide to the study.",
            )

    def check_label(self, patch: str, label: str, round_id: str) -> None:
        """Refuse a label that does not belong to the open round.

        Raises
        ------
        UnknownPatchError
            If no round ever showed the patch.
        StaleRoundError
            If `round_id` is not the open round.
        NotInRoundError
            If the round does not show the patch.
        ClassRefusedError
            If it is neither a class nor an answer.
        """
        if patch not in self.seen:
            raise UnknownPatchError(
                f"No round of the study has shown a patch {patch}.",
                hint="Take the ids from the round.",
            )
        if self.state != "labelling" or self.round is None or self.round.id != round_id:
            raise StaleRoundError(
                f"The round {round_id} is not open any more.", hint="Ask for the current round."
            )
        if patch not in self.round.shown:
            raise NotInRoundError(
                f"The open round does not show the patch {patch}.", hint="Ask for the round again."
            )
        self.check_answer(label)

    def check_answer(self, label: str) -> None:
        """Refuse what is neither a class nor an answer.

        Raises
        ------
        ClassRefusedError
        """
        if label not in (*self.settings.classes, *NOT_CLASSES):
            raise self._not_a_class(label, (*self.settings.classes, *NOT_CLASSES))

    def _not_a_class(self, label: str, choices: tuple[str, ...]) -> ClassRefusedError:
        return ClassRefusedError(
            f"{label!r} is no class of this study.", hint=f"Use one of: {', '.join(choices)}."
        )
