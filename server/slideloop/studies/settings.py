"""What a study was created with, every field checked.

Owns the settings and what is refused as one. No I/O, no models.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any

from slideloop.errors import ClassRefusedError, InvalidInputError
from slideloop.learning.sampling import DEFAULT_STRATEGY, find_strategy

UNSURE = "unsure"
EXCLUDE = "exclude"
MOST_CLASSES = 50
NOT_CLASSES = (UNSURE, EXCLUDE)
"""Answers that never train; they count as reviewed."""


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

    def with_changes(self, changes: Mapping[str, Any]) -> Settings:
        """Return these settings with some fields changed, checked anew.

        Parameters
        ----------
        changes : mapping
            Fields of this class; `add_classes`, a list of names, adds classes behind the others.

        Raises
        ------
        ClassRefusedError, InvalidInputError
            As `checked`.
        """
        fields: dict[str, Any] = {
            item.name: getattr(self, item.name) for item in dataclass_fields(self)
        }
        known = {name: value for name, value in changes.items() if name in fields}
        classes = (*self.classes, *changes.get("add_classes", ()))
        return Settings.checked(**{**fields, **known, "classes": classes})

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready mapping."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def checked(cls, **fields: Any) -> Settings:
        """Make settings, with every field checked.

        Raises
        ------
        ClassRefusedError
            If the classes are fewer than two or more than 50, empty, double, or answers.
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
        f"a study has at most {MOST_CLASSES}": len(classes) > MOST_CLASSES,
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
