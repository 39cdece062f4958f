"""The state of a study: the fold of its events (architecture.md, "State is the journal").

Owns what each event means for labels, pool, sessions and rounds, and what is refused in which
state. No I/O and no models here: the same events always give the same state.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from slideloop.errors import (
    ClassRefusedError,
    InvalidInputError,
    NotInRoundError,
    QueryNotRelevantError,
    StaleRoundError,
    StudyStateError,
)
from slideloop.learning.database import place_of, reference, references, slide_of
from slideloop.learning.sampling import DEFAULT_STRATEGY, find_strategy

UNSURE = "unsure"
EXCLUDE = "exclude"
NOT_CLASSES = (UNSURE, EXCLUDE)
"""Answers that never train; they count as reviewed."""

State = Literal["new", "labelling", "training", "session_over", "exhausted"]


@dataclass(frozen=True)
class Settings:
    """What a study was created with; JSON-ready by `as_dict`.

    Attributes
    ----------
    classes : tuple of str
        The user's names. In relevance mode: what is relevant, what is not.
    mode : {"classes", "relevance"}
    positive : str
        The class that masks show.
    strategy : str
    rounds, k : int
        Rounds a session, patches a round.
    engine : {"linear", "faithful"}
    seed : int
        Everything random in the study comes from it.
    session_start : {"current", "pretrained"}
        Which models serve a session's first round (algorithm.md 3.5).
    refine_query : bool
    refine_over : {"study", "round"}
        Which relevant patches refine the query (algorithm.md 3.1).
    training : dict
        Settings of the heads' training.
    """

    classes: tuple[str, ...]
    mode: str = "classes"
    positive: str = ""
    strategy: str = DEFAULT_STRATEGY
    rounds: int = 5
    k: int = 5
    engine: str = "linear"
    seed: int = 0
    session_start: str = "current"
    refine_query: bool = True
    refine_over: str = "study"
    training: dict[str, Any] = field(default_factory=dict[str, Any])

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready mapping."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def checked(cls, **fields: Any) -> Settings:
        """Make settings, with every field checked.

        Raises
        ------
        ClassRefusedError
            If the classes are fewer than two, empty, double, or answers.
        InvalidInputError
            If another value makes no sense.
        """
        classes = tuple(unicodedata.normalize("NFC", name).strip() for name in fields["classes"])
        positive = unicodedata.normalize("NFC", fields.get("positive") or "").strip()
        known: dict[str, Any] = {
            **fields,
            "classes": classes,
            "positive": positive or next(iter(classes), ""),
        }
        settings = cls(**known)
        _check_classes(settings)
        _check_choice("mode", settings.mode, ("classes", "relevance"))
        _check_choice("session_start", settings.session_start, ("current", "pretrained"))
        _check_choice("refine_over", settings.refine_over, ("study", "round"))
        for name, value in (("rounds", settings.rounds), ("k", settings.k)):
            if value < 1:
                raise InvalidInputError(
                    f"{name} is {value}.", hint="Use at least 1; the paper has 5 of each."
                )
        find_strategy(settings.strategy)
        return settings


def _check_classes(settings: Settings) -> None:
    classes = settings.classes
    faults = {
        "a study needs at least two classes": len(classes) < 2,
        "a class has no name": "" in classes,
        "a class is named twice": len(set(classes)) < len(classes),
        "unsure and exclude are answers, not classes": bool(set(classes) & set(NOT_CLASSES)),
        "relevance has two classes, what is sought and what is not": (
            settings.mode == "relevance" and len(classes) != 2
        ),
        f"{settings.positive!r} is not one of them": settings.positive not in classes,
    }
    for fault, is_there in faults.items():
        if is_there:
            raise ClassRefusedError(
                f"The classes {', '.join(map(repr, classes)) or '(none)'} cannot be used: {fault}.",
                hint="Choose the class names of your QuPath project.",
            )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidInputError(f"{name} is {value!r}.", hint=f"Use one of: {', '.join(choices)}.")


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
    """

    name: str
    source: str
    round_id: str | None = None


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
    labels : dict of str to str
        Patch id to label, of those labelled so far.
    """

    id: str
    session: str
    number: int
    shown: dict[str, int]
    labels: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def remaining(self) -> int:
        """Number of patches without a label."""
        return len(self.shown) - len(self.labels)


class Study:
    """Live state of a study.

    Attributes
    ----------
    id : str
    settings : Settings
    slides : list of dict
        As recorded: id, fingerprint, name, path, grid, width, height, mpp.
    search_slides : list of int
        Numbers of the slides whose patches may be shown.
    labels : dict of int to Label
        By patch reference.
    gone : set of int
        References that left the search set: reviewed, queried, given, reserved.
    sessions : list of Session
    round : Round or None
        The newest round; open while `state` is "labelling".
    n_trainings : int
        Trainings done.
    state : str
    """

    def __init__(self) -> None:
        self.id = ""
        self.settings = Settings(classes=("", ""))
        self.slides: list[dict[str, Any]] = []
        self.search_slides: list[int] = []
        self.labels: dict[int, Label] = {}
        self.gone: set[int] = set()
        self.sessions: list[Session] = []
        self.round: Round | None = None
        self.n_trainings = 0
        self.state: State = "new"

    # Folding -------------------------------------------------------------------------------

    def apply(self, type_: str, data: dict[str, Any]) -> None:
        """Fold one event into the state; events of unknown types change nothing."""
        fold = getattr(self, f"_on_{type_}", None)
        if fold is not None:
            fold(data)

    def _on_study_created(self, data: dict[str, Any]) -> None:
        fields: dict[str, Any] = {**data["settings"], "classes": tuple(data["settings"]["classes"])}
        self.id = data["id"]
        self.settings = Settings(**fields)
        self.slides = list(data["slides"])
        self.search_slides = list(data["search_slides"])
        for slide, places in enumerate(data.get("reserved", [])):
            self.gone.update(references(slide, np.array(places, np.int64)).tolist())

    def _on_query(self, data: dict[str, Any]) -> None:
        slide = data["slide"]
        covered = references(slide, np.array(data["covered"], np.int64)).tolist()
        on_grid = references(slide, np.array(data["on_grid"], np.int64))
        given = references(slide, np.array(data["given"], np.int64)).tolist()
        self.gone.update(covered, on_grid.tolist())
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

    def _on_round_shown(self, data: dict[str, Any]) -> None:
        shown = {p["id"]: reference(p["slide"], p["place"]) for p in data["patches"]}
        self.round = Round(data["round_id"], data["session"], data["round"], shown)
        self.gone.update(shown.values())
        self.state = "labelling"

    def _on_exhausted(self, data: dict[str, Any]) -> None:
        self.round = None
        self.state = "exhausted"

    def _on_label(self, data: dict[str, Any]) -> None:
        current = self.round
        assert current is not None
        self.labels[current.shown[data["patch"]]] = Label(data["label"], "review", current.id)
        current.labels[data["patch"]] = data["label"]
        if current.remaining == 0:
            self.session.rounds_done = current.number
            self.state = "training"

    def _on_training_done(self, data: dict[str, Any]) -> None:
        self.n_trainings = data["model_round"]
        self._after_training()

    def _on_training_skipped(self, data: dict[str, Any]) -> None:
        self._after_training()

    def _after_training(self) -> None:
        is_over = self.session.rounds_done >= self.settings.rounds
        self.state = "session_over" if is_over else "training"

    # Questions -----------------------------------------------------------------------------

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

    def class_idx(self, name: str) -> int:
        """Return the index of a class."""
        return self.settings.classes.index(name)

    def trainable(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return references, ascending, and class indices of all labels that train."""
        refs = sorted(ref for ref, label in self.labels.items() if label.name not in NOT_CLASSES)
        idx = [self.class_idx(self.labels[ref].name) for ref in refs]
        return np.array(refs, np.int64), np.array(idx, np.int64)

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

    def has_trainable_answer(self) -> bool:
        """Say whether the round just labelled has a label that trains."""
        assert self.round is not None
        return any(name not in NOT_CLASSES for name in self.round.labels.values())

    def n_labels(self) -> dict[str, int]:
        """Return reviewed patches per class, and those answered unsure or exclude."""
        counts = Counter(label.name for label in self.labels.values() if label.source == "review")
        return {name: counts[name] for name in (*self.settings.classes, *NOT_CLASSES)}

    def n_query_labels(self) -> int:
        """Return how many patches got their label by a query."""
        return sum(label.source == "query" for label in self.labels.values())

    def labels_of(self, slide: int) -> dict[int, Label]:
        """Return the labels of one slide's patches, by place in its index order."""
        return {
            place_of(ref): label for ref, label in self.labels.items() if slide_of(ref) == slide
        }

    # Refusals ------------------------------------------------------------------------------

    def check_query(self, label: str) -> None:
        """Refuse a query of a class that cannot be queried for.

        Raises
        ------
        ClassRefusedError
            If it is no class of the study.
        QueryNotRelevantError
            In relevance mode, if it is not what is sought.
        """
        if label not in self.settings.classes:
            raise self._not_a_class(label)
        if self.settings.mode == "relevance" and label != self.settings.classes[0]:
            raise QueryNotRelevantError(
                f"In relevance mode a query shows what is sought, {self.settings.classes[0]!r}, "
                f"not {label!r}.",
                hint="Draw the rectangle on what you seek, or make a study in classes mode.",
            )

    def check_label(self, patch: str, label: str, round_id: str) -> None:
        """Refuse a label that does not belong to the open round.

        Raises
        ------
        StaleRoundError
            If `round_id` is not the open round.
        NotInRoundError
            If the round does not show the patch.
        ClassRefusedError
            If it is neither a class nor an answer.
        """
        if self.state != "labelling" or self.round is None or self.round.id != round_id:
            raise StaleRoundError(
                f"The round {round_id} is not open any more.", hint="Ask for the current round."
            )
        if patch not in self.round.shown:
            raise NotInRoundError(
                f"The open round does not show the patch {patch}.", hint="Ask for the round again."
            )
        if label not in (*self.settings.classes, *NOT_CLASSES):
            raise self._not_a_class(label)

    def _not_a_class(self, label: str) -> ClassRefusedError:
        names = ", ".join((*self.settings.classes, *NOT_CLASSES))
        return ClassRefusedError(
            f"{label!r} is no class of this study.", hint=f"Use one of: {names}."
        )
