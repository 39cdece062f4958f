"""Taking back: which events no longer count.

Owns what an undo takes with it. An undo is an event that names the events undone; nothing is ever
removed from the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from slideloop.errors import NothingToUndoError

if TYPE_CHECKING:
    from slideloop.studies.journal import Event

ACTIONS = ("label", "region", "query")
"""What `last` takes back."""

_FOLLOW = ("round_shown", "training_started", "training_done", "prediction")

Scope = Literal["last", "round"]


def effective(events: Iterable[Event]) -> list[Event]:
    """Return the events that count: without undos and without what they took back."""
    every = list(events)
    undone = undone_seqs(every)
    return [event for event in every if event.type != "undo" and event.seq not in undone]


def undone_seqs(events: Iterable[Event]) -> set[int]:
    """Return the seqs of all events that were taken back."""
    return {seq for event in events if event.type == "undo" for seq in event.data["undone"]}


def taken_back(events: Sequence[Event], scope: Scope) -> list[int]:
    """Return the seqs that an undo takes back now, ascending.

    What the server did after an action (patches shown, trainings, predictions) goes with it and
    is done again where it is still wanted; what else the expert did after it stays.

    Parameters
    ----------
    events : sequence of Event
        The whole journal.
    scope : {"last", "round"}
        `last`: the latest label, region or query. `round`: the labels of the newest round that
        has any, with the queries after it.

    Raises
    ------
    NothingToUndoError
        If there is no such thing.
    """
    count = effective(events)
    if scope == "last":
        actions = [event.seq for event in count if event.type in ACTIONS]
        first = actions[-1:]
        with_it: tuple[str, ...] = ()
    else:
        first = _labels_of_newest_round(count)
        with_it = ("query", "label")
    if not first:
        raise NothingToUndoError(
            "There is nothing left to take back.", hint="Draw a query, or label a patch, first."
        )
    later = [e for e in count if e.seq > first[0] and _goes_along(e.type, e.data, with_it)]
    return sorted({*first, *(event.seq for event in later)})


def _goes_along(type_: str, data: dict[str, Any], with_it: tuple[str, ...]) -> bool:
    # That somebody asked for a slide's prediction is a wish, not a consequence.
    return type_ in with_it or (type_ in _FOLLOW and "asked" not in data)


def _labels_of_newest_round(count: Sequence[Event]) -> list[int]:
    shown = [event.data["round_id"] for event in count if event.type == "round_shown"]
    for round_id in reversed(shown):
        labels = [e.seq for e in count if e.type == "label" and e.data["round_id"] == round_id]
        if labels:
            return labels
    return []
