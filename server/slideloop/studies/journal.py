"""The journal: every event of a study, one chained line each (interfaces.md, Journal).

Owns the form of a line, the hash chain and the reading and writing of whole journals as NDJSON.
Knows nothing of what events mean.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from slideloop.errors import JournalError

SCHEMA = 1
"""Number of the newest form of event data that this version writes and reads."""


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
        What happened, JSON-ready.
    stored : bytes
        The hashed bytes: UTF-8 of the line's object up to `prev`.
    hash : str
        SHA-256 of `stored`, lower-case hex.
    """

    seq: int
    time: str
    type: str
    data: dict[str, Any]
    stored: bytes
    hash: str

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

    def append(self, type_: str, data: dict[str, Any]) -> Event:
        """Add an event and return it, with its place in the chain.

        Parameters
        ----------
        type_ : str
        data : dict
            JSON-ready, without NaN.
        """
        previous = self.events[-1] if self.events else None
        row = {
            "seq": previous.seq + 1 if previous else 1,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "type": type_,
            "schema": SCHEMA,
            "data": data,
            "prev": previous.hash if previous else self.study,
        }
        text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        event = _event(row, text.encode())
        self.events.append(event)
        return event

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the export, each with its line break."""
        for event in self.events:
            yield event.line() + b"\n"


def new_id() -> str:
    """Return a new random id."""
    return str(uuid.uuid4())


def read_journal(path: Path) -> Journal:
    """Read an exported journal and check its chain.

    Parameters
    ----------
    path : Path
        NDJSON, as `simulate` writes it.

    Raises
    ------
    JournalError
        If it cannot be read, a line was changed, removed, added or moved, or a newer version
        wrote it.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as err:
        raise JournalError(
            f"The journal {path} cannot be read ({err.strerror}).",
            hint="Give the .ndjson file that simulate wrote beside the mask.",
        ) from err
    if not lines:
        raise JournalError(f"The journal {path} is empty.", hint="Take it from a backup.")
    events: list[Event] = []
    study = ""
    for number, line in enumerate(lines, 1):
        row, event = _parse(path, number, line)
        if number == 1:
            study = str(row["prev"])
        expected = events[-1].hash if events else study
        if row["prev"] != expected or event.seq != number:
            raise _broken(path, number, "does not follow the line before it")
        if row["schema"] > SCHEMA:
            raise JournalError(
                f"The journal {path} was written by a newer slideloop.", hint="Update slideloop."
            )
        events.append(event)
    first = events[0]
    if first.type != "study_created" or first.data.get("id") != study:
        raise _broken(path, 1, "does not create the study that the chain starts from")
    return Journal(study, events)


def _parse(path: Path, number: int, line: bytes) -> tuple[dict[str, Any], Event]:
    try:
        # Only what was hashed is read: JSON lets a name that is written again later win.
        stored = line[: line.rindex(b',"hash":"')] + b"}"
        row = json.loads(stored)
        event = _event(row, stored)
        types = {"data": dict, "prev": str, "schema": int}
        if not all(isinstance(row[name], type_) for name, type_ in types.items()):
            raise TypeError("a value of another type")
    except (ValueError, KeyError, TypeError) as err:
        raise _broken(path, number, "is not a line of a journal") from err
    if line != event.line():
        raise _broken(path, number, "was changed: its hash differs")
    return row, event


def _event(row: dict[str, Any], stored: bytes) -> Event:
    return Event(
        seq=int(row["seq"]),
        time=str(row["time"]),
        type=str(row["type"]),
        data=row["data"],
        stored=stored,
        hash=hashlib.sha256(stored).hexdigest(),
    )


def _broken(path: Path, number: int, what: str) -> JournalError:
    return JournalError(
        f"Line {number} of the journal {path} {what}.", hint="Take the journal from a backup."
    )
