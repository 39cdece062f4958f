"""Chains as rows of the database: what is asked of the table of events.

Owns the reading of rows back into events, with the check that they are what was hashed.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from typing import Any

from slideloop.studies.heads import Head
from slideloop.studies.journal import BrokenChainError, Event, first_break, stored_event

_MOST = 2**62


def newest_head(connection: sqlite3.Connection, study: str) -> Head | None:
    """Return seq and hash of a study's newest event, or None where there is no such study."""
    query = "SELECT seq, hash FROM events WHERE study = ? ORDER BY seq DESC LIMIT 1"
    row = connection.execute(query, (study,)).fetchone()
    return None if row is None else (row[0], row[1])


def has_event(connection: sqlite3.Connection, study: str, event_id: str) -> bool:
    """Say whether a study has an event of a client's id."""
    query = "SELECT 1 FROM events WHERE study = ? AND event_id = ?"
    return connection.execute(query, (study, event_id)).fetchone() is not None


def has_head(connection: sqlite3.Connection, study: str, head: Head) -> bool:
    """Say whether a study has an event of that seq and hash."""
    query = "SELECT 1 FROM events WHERE study = ? AND seq = ? AND hash = ?"
    return connection.execute(query, (study, *head)).fetchone() is not None


def read_events(
    connection: sqlite3.Connection, study: str, after: int, limit: int | None
) -> list[Event]:
    """Return a study's events behind a seq, checked against their hashes and links.

    Raises
    ------
    BrokenChainError
        If what is stored does not fit them.
    JournalError
        If a newer version wrote it.
    """
    query = (
        "SELECT seq, event_id, stored, hash FROM events WHERE study = ? AND seq > ? "
        "ORDER BY seq LIMIT ?"
    )
    # One more before, to check the first one's link.
    first = min(max(after - 1, 0), _MOST)
    n = -1 if limit is None else min(limit + 1, _MOST)
    rows = connection.execute(query, (study, first, n)).fetchall()
    events = [_event(study, row) for row in rows]
    before = events.pop(0) if first and events and events[0].seq == after else None
    broken = first_break(study, events, before)
    if broken:
        position, what = broken
        raise broken_chain(study, events[position].seq, what)
    return [event for event in events if event.seq > after][:limit]


def _event(study: str, row: Sequence[Any]) -> Event:
    seq, event_id, stored, hash_ = row
    try:
        event = stored_event(bytes(stored))
    except (ValueError, TypeError) as err:
        raise broken_chain(study, seq, "is not an event") from err
    if event.hash != hash_ or event.seq != seq:
        raise broken_chain(study, seq, "was changed: its hash differs")
    if event_id is not None and event.data.get("event_id") not in (None, event_id):
        raise broken_chain(study, seq, "was changed: its event id differs")
    return event


def broken_chain(study: str, seq: int, what: str) -> BrokenChainError:
    """Return the error that says which event of a study breaks its chain."""
    return BrokenChainError(
        f"Event {seq} of the study {study} {what}.",
        hint="Put back a copy that `slideloop study backup` made.",
    )


def is_study_id(text: str) -> bool:
    """Say whether a text is a UUID as slideloop writes it, hence a harmless file name."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
