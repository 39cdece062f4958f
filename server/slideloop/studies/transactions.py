"""What can be changed in the ledger, together or not at all.

Owns the appending of events and the keeping of answers; beginning and committing is the ledger's.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from slideloop.errors import EventIdReusedError, JournalError
from slideloop.files import unwritable
from slideloop.studies.chains import has_event, is_study_id, newest_head
from slideloop.studies.heads import Head, HeadFile
from slideloop.studies.journal import Event, chained_event, first_break


class Transaction:
    """Changes that are committed together; made by `Ledger.transaction` only.

    Attributes
    ----------
    heads : dict
        Newest (seq, hash) of each study appended to.
    is_doomed : bool
        Whether a part of it failed.
    """

    def __init__(
        self, connection: sqlite3.Connection, head_file: Callable[[str], HeadFile]
    ) -> None:
        self._connection, self._head_file = connection, head_file
        self.heads: dict[str, Head] = {}
        self.is_doomed = False

    def append(
        self, study: str, type_: str, data: dict[str, Any], event_id: str | None = None
    ) -> Event:
        """Append an event to a study's chain.

        Parameters
        ----------
        study : str
        type_ : str
        data : dict
            JSON-ready, without NaN.
        event_id : str, optional
            The client's id of the request; known for ever.

        Raises
        ------
        EventIdReusedError
            If the study has an event of that id.
        JournalError
            If the first event does not create the study.
        OutputError
            If the study's head file cannot be written.
        """
        event = chained_event(study, newest_head(self._connection, study), type_, data)
        self.insert(study, event, event_id)
        return event

    def insert(self, study: str, event: Event, event_id: str | None = None) -> None:
        """Append an event that was chained already, with its own bytes; as `append` otherwise."""
        if event.seq == 1 and (not is_study_id(study) or first_break(study, [event])):
            raise JournalError(
                "The first event of a study must create it, under a UUID.",
                hint="Import a journal that slideloop wrote.",
            )
        if event_id is not None and has_event(self._connection, study, event_id):
            raise _reused(event_id)
        if study not in self.heads:
            head_file = self._head_file(study)
            try:
                head_file.prepare()
            except OSError as err:
                raise unwritable(head_file.path, err) from err
        self._connection.execute(
            "INSERT INTO events (study, seq, event_id, stored, hash) VALUES (?, ?, ?, ?, ?)",
            (study, event.seq, event_id, event.stored, event.hash),
        )
        self.heads[study] = event.seq, event.hash

    def remember(
        self,
        scope: str,
        event_id: str,
        body_sha256: str | None,
        status: int,
        answer: dict[str, Any] | None,
    ) -> None:
        """Keep the answer to a request, to be given again.

        Parameters
        ----------
        scope : str
            Id of the study, or "studies" for requests that make one.
        event_id : str
        body_sha256 : str or None
            Of the request; None: not known any more.
        status : int
        answer : dict or None
            JSON-ready, without NaN; None: not known any more.

        Raises
        ------
        EventIdReusedError
            If one is kept already under that id.
        """
        text = None if answer is None else to_text(answer)
        cursor = self._connection.execute(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (scope, event_id, body_sha256, status, text),
        )
        if not cursor.rowcount:
            raise _reused(event_id)


def to_text(value: dict[str, Any]) -> str:
    """Return a document as it is kept; paths that are no Unicode survive."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _reused(event_id: str) -> EventIdReusedError:
    return EventIdReusedError(
        f"The event id {event_id} was used for another request.",
        hint="Give every new request a new UUID, and only the same one again the same.",
    )
