"""A study's journal that lives in the ledger, and the taking in of journals from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from slideloop.errors import JournalError
from slideloop.studies.chains import broken_chain
from slideloop.studies.journal import Event, Journal, first_break

if TYPE_CHECKING:
    from slideloop.studies.ledger import Ledger

CREATION = "studies"
"""Scope of the event ids of requests that make a study."""


class StoredJournal(Journal):
    """A journal whose events are in a ledger before they are in memory.

    Parameters
    ----------
    ledger : Ledger
    study : str
    events : iterable of Event
        What the ledger has.
    """

    def __init__(self, ledger: Ledger, study: str, events: Iterable[Event] = ()) -> None:
        super().__init__(study, events)
        self._ledger = ledger

    @classmethod
    def open(cls, ledger: Ledger, study: str) -> StoredJournal:
        """Read a study's journal; empty where there is no such study yet.

        Raises
        ------
        JournalError
            If it does not hold, or a newer version wrote it.
        """
        return cls(ledger, study, ledger.events(study))

    def reload(self) -> None:
        """Read the events again, as after a transaction that was rolled back."""
        self.events = self._ledger.events(self.study)

    def append(self, type_: str, data: dict[str, Any], event_id: str | None = None) -> Event:
        """Append an event in a transaction of its own, or in the one open in this thread.

        If that one is rolled back later, the event here must be taken back too (`reload`).

        Raises
        ------
        EventIdReusedError
            If the study has an event of that id.
        JournalError
            If the ledger has events that this journal does not, or the other way round.
        OutputError, BusyError
            If it cannot be written; nothing was changed.
        """
        newest = self.events[-1] if self.events else None
        with self._ledger.transaction() as transaction:
            if self._ledger.head(self.study) != ((newest.seq, newest.hash) if newest else None):
                raise JournalError(
                    f"The study {self.study} was changed elsewhere since it was read.",
                    hint="Start the server again.",
                )
            event = transaction.append(self.study, type_, data, event_id)
        self.events.append(event)
        return event


def import_journal(ledger: Ledger, journal: Journal) -> None:
    """Take a whole journal into a ledger, byte for byte, as a new study.

    The event ids in its data are known from then on; what they were answered is not.

    Raises
    ------
    JournalError
        If the study is there already, or its id is none of slideloop's.
    BrokenChainError
        If the journal's chain does not hold.
    """
    study, events = journal.study, journal.events
    broken = first_break(study, events)
    if broken or not events:
        position, what = broken or (0, "is missing")
        raise broken_chain(study, position + 1, what)
    with ledger.transaction() as transaction:
        if ledger.head(study) is not None:
            raise JournalError(
                f"The workspace has the study {study} already.",
                hint="Import it into another workspace with --workspace DIR.",
            )
        known: set[str] = set()
        for event in events:
            named = event.data.get("event_id")
            # Labels that came in one request have one id; the first event stands for them all.
            event_id = named if isinstance(named, str) and named not in known else None
            transaction.insert(study, event, event_id)
            if event_id is not None:
                known.add(event_id)
        created = events[0].data.get("event_id")
        if isinstance(created, str) and ledger.answered(CREATION, created) is None:
            transaction.remember(CREATION, created, None, 0, None)
