"""The journal: every event of a study, one chained line each (interfaces.md, Journal).

Owns the form of a line, the hash chain and the reading and writing of whole journals as NDJSON.
Knows nothing of what events mean, and nothing of the database that keeps them.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from slideloop.errors import InvalidInputError, JournalError

SCHEMA = 2
"""Number of the newest form of event data that this version writes and reads."""

Upcast = Callable[[str, dict[str, Any]], dict[str, Any]]


def _with_train_cells(type_: str, data: dict[str, Any]) -> dict[str, Any]:
    """Say of older regions that none of the patches that had no place yet trains."""
    return {**data, "train_cells": []} if type_ == "region" else data


_UPCASTS: dict[int, Upcast] = {1: _with_train_cells}
"""By schema number: from (type, data) of that form to the data of the next one."""


class BrokenChainError(JournalError):
    """A chain that does not hold: an event was changed, removed, moved, replaced or cut off."""


@dataclass(frozen=True)
class Event:
    """One line of a journal.

    Attributes
    ----------
    seq : int
        From 1 on, without gaps.
    time : str
        ISO 8601, UTC.
    type : str
        Such as query, round_shown, label.
    data : dict
        What happened, JSON-ready, in the newest form.
    prev : str
        Hash of the event before; the first one's is the study id.
    stored : bytes
        The hashed bytes: UTF-8 of the line's object up to `prev`.
    hash : str
        SHA-256 of `stored`, lower-case hex.
    """

    seq: int
    time: str
    type: str
    data: dict[str, Any]
    prev: str
    stored: bytes
    hash: str

    @property
    def receipt(self) -> dict[str, Any]:
        """Seq and hash: what `study verify --expect` checks a chain against."""
        return {"seq": self.seq, "hash": self.hash}

    def line(self) -> bytes:
        """Return the line as it is exported, with its hash and without a line break."""
        return self.stored[:-1] + f',"hash":"{self.hash}"}}'.encode()


class Journal:
    """Events of one study in memory, appended to and never altered.

    Parameters
    ----------
    study : str
        Id of the study, the `prev` of the first event.
    events : iterable of Event
        What happened before.
    """

    def __init__(self, study: str, events: Iterable[Event] = ()) -> None:
        self.study = study
        self.events = list(events)

    def append(self, type_: str, data: dict[str, Any], event_id: str | None = None) -> Event:
        """Add an event and return it, with its place in the chain.

        Parameters
        ----------
        type_ : str
        data : dict
            JSON-ready, without NaN.
        event_id : str, optional
            The client's id of the request; not looked at here.
        """
        newest = self.events[-1] if self.events else None
        head = (newest.seq, newest.hash) if newest else None
        event = chained_event(self.study, head, type_, data)
        self.events.append(event)
        return event

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the export, each with its line break."""
        for event in self.events:
            yield event.line() + b"\n"


def new_id() -> str:
    """Return a new random id."""
    return str(uuid.uuid4())


def chained_event(
    study: str, head: tuple[int, str] | None, type_: str, data: dict[str, Any]
) -> Event:
    """Build the event that follows the newest one of a chain; it is not kept anywhere yet.

    Parameters
    ----------
    study : str
    head : tuple of int and str, or None
        Seq and hash of the newest event; None: this is the first one.
    type_ : str
    data : dict
        JSON-ready.

    Raises
    ------
    ValueError
        If the data hold NaN, infinity or what is no JSON.
    InvalidInputError
        If a text in them is no Unicode (half of a surrogate pair).
    """
    seq, prev = (head[0] + 1, head[1]) if head else (1, study)
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    row = {"seq": seq, "time": time, "type": type_, "schema": SCHEMA, "data": data, "prev": prev}
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        stored = text.encode()
    except UnicodeEncodeError as err:
        raise InvalidInputError(
            "A text holds half of a surrogate pair, which is no character.",
            hint="Send the text in UTF-8.",
        ) from err
    return Event(seq, time, type_, data, prev, stored, hashlib.sha256(stored).hexdigest())


def stored_event(stored: bytes) -> Event:
    """Read an event from its hashed bytes; older forms of data come in the newest one.

    Parameters
    ----------
    stored : bytes

    Raises
    ------
    ValueError
        If that is no event.
    JournalError
        If a newer version wrote it.
    """
    try:
        row: Any = json.loads(stored)
    except RecursionError as err:
        raise ValueError("nested too deeply") from err
    if not isinstance(row, dict):
        raise ValueError("not an object")
    row = cast("dict[str, Any]", row)
    types = {"seq": int, "time": str, "type": str, "schema": int, "data": dict, "prev": str}
    if any(type(row.get(name)) is not type_ for name, type_ in types.items()):
        raise ValueError("a value is missing or of another type")
    data, schema = row["data"], row["schema"]
    if schema > SCHEMA:
        raise JournalError(
            f"Event {row['seq']} was written by a newer slideloop (schema {schema}, known up to "
            f"{SCHEMA}).",
            hint="Update slideloop.",
        )
    for older in range(schema, SCHEMA):
        data = _UPCASTS[older](row["type"], data)
    return Event(
        seq=row["seq"],
        time=row["time"],
        type=row["type"],
        data=data,
        prev=row["prev"],
        stored=stored,
        hash=hashlib.sha256(stored).hexdigest(),
    )


def first_break(
    study: str, events: Sequence[Event], before: Event | None = None
) -> tuple[int, str] | None:
    """Find where a chain does not hold.

    Parameters
    ----------
    study : str
        What the chain starts from.
    events : sequence of Event
        All of it, or what follows `before`.
    before : Event, optional

    Returns
    -------
    tuple of int and str, or None
        Position in `events` and what is wrong there; None: the chain holds.
    """
    for position, event in enumerate(events):
        seq, prev = (before.seq + 1, before.hash) if before else (1, study)
        if (event.seq, event.prev) != (seq, prev):
            return position, "does not follow the one before it"
        if seq == 1 and (event.type != "study_created" or event.data.get("id") != study):
            return position, "does not create the study that the chain starts from"
        before = event
    return None


def read_journal(path: Path) -> Journal:
    """Read an exported journal and check its chain.

    Parameters
    ----------
    path : Path
        NDJSON, as `simulate` and `study export` write it.

    Raises
    ------
    BrokenChainError
        If a line was changed, removed, added or moved.
    JournalError
        If it cannot be read, or a newer version wrote it.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as err:
        raise JournalError(
            f"The journal {path} cannot be read ({err.strerror}).",
            hint="Give a .ndjson file that `study export` or `simulate` wrote.",
        ) from err
    if not lines:
        raise JournalError(f"The journal {path} is empty.", hint="Take it from a backup.")
    events = [_read_line(path, number, line) for number, line in enumerate(lines, 1)]
    study = events[0].prev
    broken = first_break(study, events)
    if broken:
        raise _broken(path, broken[0] + 1, broken[1])
    return Journal(study, events)


def _read_line(path: Path, number: int, line: bytes) -> Event:
    try:
        # Only what was hashed is read: JSON lets a name that is written again later win.
        event = stored_event(line[: line.rindex(b',"hash":"')] + b"}")
    except ValueError as err:
        what = "is not a line of a journal"
        if number == 1:
            raise JournalError(
                f"Line 1 of {path} {what}.",
                hint="Give a .ndjson file that `study export` or `simulate` wrote.",
            ) from err
        raise _broken(path, number, what) from err
    except JournalError as err:
        raise JournalError(f"The journal {path}: {err.message}", hint=err.hint) from err
    if line != event.line():
        raise _broken(path, number, "was changed: its hash differs")
    return event


def _broken(path: Path, number: int, what: str) -> BrokenChainError:
    return BrokenChainError(
        f"Line {number} of the journal {path} {what}.", hint="Take the journal from a backup."
    )
