"""The ledger: journals of all studies of a workspace, safe once a call has returned.

Owns transactions, the heads behind them, the answers to requests and the small documents beside
the chains. Knows nothing of what events mean.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slideloop.errors import JournalError, OutputError, SlideloopError
from slideloop.files import unwritable, whole_file
from slideloop.studies import heads, storage
from slideloop.studies.chains import has_event, has_head, newest_head, read_events
from slideloop.studies.connections import Connections
from slideloop.studies.drives import require_local_drive
from slideloop.studies.heads import Head, HeadFile
from slideloop.studies.holding import hold_workspace, is_held_here
from slideloop.studies.journal import Event
from slideloop.studies.storage import translated
from slideloop.studies.stored_journal import StoredJournal, import_journal
from slideloop.studies.transactions import Transaction, to_text
from slideloop.studies.verify import Verdict, verify

__all__ = [
    "Answered",
    "Ledger",
    "StoredJournal",
    "Transaction",
    "Verdict",
    "hold_workspace",
    "import_journal",
    "open_ledger",
    "require_local_drive",
    "verify",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answered:
    """What is known of a request that was answered before.

    Attributes
    ----------
    body_sha256 : str or None
    status : int
        0 where the answer is not known.
    answer : dict or None
        None: the event id is known from the chain only, as after an import.
    """

    body_sha256: str | None
    status: int
    answer: dict[str, Any] | None


class Ledger:
    """The database of a workspace; made by `open_ledger`, used from any thread."""

    def __init__(self, workspace: Path, *, read_only: bool) -> None:
        self.workspace = workspace
        self.path = workspace / storage.FILE
        self._connections = Connections(self.path, read_only=read_only)
        self._writing = threading.RLock()
        self._transaction: Transaction | None = None
        self._thread: int | None = None

    def close(self) -> None:
        """Close the database, behind a transaction that is open; a second time does nothing."""
        with self._writing:
            self._connections.close()

    # Reading -------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        """Give a connection that sees what is committed, and this thread's open transaction."""
        with translated(self.path):
            if self._thread == threading.get_ident():
                yield self._connections.writer
                return
            with self._connections.reader() as connection:
                yield connection

    def study_ids(self) -> list[str]:
        """Return the ids of all studies, in the order of their creation."""
        query = "SELECT study FROM events WHERE seq = 1 ORDER BY number"
        with self._reading() as connection:
            return [study for (study,) in connection.execute(query).fetchall()]

    def events(self, study: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """Return a study's events behind a seq; none where there is no such study.

        Parameters
        ----------
        study : str
        after : int
            Seq, exclusive.
        limit : int, optional
            How many at most.

        Raises
        ------
        BrokenChainError
            If what is stored does not fit its hashes.
        JournalError
            If a newer version wrote it.
        """
        with self._reading() as connection:
            return read_events(connection, study, after, limit)

    def head(self, study: str) -> Head | None:
        """Return seq and hash of a study's newest event, or None where there is no such study."""
        with self._reading() as connection:
            return newest_head(connection, study)

    def head_file(self, study: str) -> HeadFile:
        """Return the heads of a study that are kept outside the database."""
        return HeadFile(self.workspace / heads.FOLDER / f"{study}.txt")

    def answered(self, scope: str, event_id: str) -> Answered | None:
        """Return what a request got before, or None if its event id is new.

        Parameters
        ----------
        scope : str
            Id of the study, or "studies" for requests that make one.
        event_id : str
        """
        query = "SELECT body_sha256, status, answer FROM answers WHERE scope = ? AND event_id = ?"
        with self._reading() as connection:
            row = connection.execute(query, (scope, event_id)).fetchone()
            if row is None:
                is_known = has_event(connection, scope, event_id)
                return Answered(None, 0, None) if is_known else None
        return Answered(row[0], row[1], None if row[2] is None else json.loads(row[2]))

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        """Return a document, or None where there is none."""
        query = "SELECT value FROM documents WHERE kind = ? AND id = ?"
        with self._reading() as connection:
            row = connection.execute(query, (kind, id)).fetchone()
        return None if row is None else json.loads(row[0])

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return all documents of a kind by id, in the order in which they were first put."""
        query = "SELECT id, value FROM documents WHERE kind = ? ORDER BY number"
        with self._reading() as connection:
            rows = connection.execute(query, (kind,)).fetchall()
        return {id_: json.loads(value) for id_, value in rows}

    def backup(self, path: Path) -> None:
        """Copy the database as it is now to one file, also while another process writes.

        Parameters
        ----------
        path : Path
            Replaced when the copy is complete.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        if path.resolve().parent == self.path.resolve().parent and path.name.startswith(
            storage.FILE
        ):
            raise OutputError(
                f"{path} is where the database itself lies.", hint="Give another file."
            )
        with whole_file(path) as unfinished, translated(path):
            unfinished.unlink(missing_ok=True)
            with self._connections.reader() as connection:
                storage.copy(connection, unfinished)
            heads.sync_file(unfinished)

    # Changing ------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        """Commit all that the block changes, or nothing if it raises.

        A transaction within one of the same thread is part of it. When the outer one's block is
        left, the changes are on the disk.

        Yields
        ------
        Transaction

        Raises
        ------
        OutputError
            If there is no room, or the folder cannot be written; nothing was changed.
        BusyError
            If another process keeps writing.
        """
        with self._writing:
            if self._transaction is None:
                with translated(self.path), self._outermost() as transaction:
                    yield transaction
                return
            try:
                yield self._transaction
            except BaseException:
                self._transaction.is_doomed = True
                raise

    @contextmanager
    def _outermost(self) -> Generator[Transaction]:
        connection = self._connections.writer
        self._connections.require_writable()
        connection.execute("BEGIN IMMEDIATE")
        transaction = Transaction(connection, self.head_file)
        self._transaction, self._thread = transaction, threading.get_ident()
        try:
            yield transaction
            if transaction.is_doomed:
                raise JournalError(
                    "A part of the change failed, so none of it was kept.", hint="Do it again."
                )
            connection.execute("COMMIT")
        finally:
            self._transaction = self._thread = None
            # SQLite may have ended it itself, or not, where COMMIT failed.
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        self._note(transaction.heads)

    def _note(self, newest: dict[str, Head]) -> None:
        """Note heads outside the database; what was committed is so, whether that works or not."""
        for study, head in newest.items():
            try:
                self.head_file(study).append(head)
            except OSError as err:
                _log.error("The head of study %s was not noted (%s).", study, err.strerror)

    def revise(self, scope: str, event_id: str, answer: dict[str, Any]) -> None:
        """Replace the answer that is kept to a request."""
        query = "UPDATE answers SET answer = ? WHERE scope = ? AND event_id = ?"
        with self.transaction():
            self._connections.writer.execute(query, (to_text(answer), scope, event_id))

    def put(self, kind: str, id: str, value: dict[str, Any]) -> None:
        """Keep a document, in place of an older one.

        Parameters
        ----------
        kind, id : str
        value : dict
            JSON-ready, without NaN.
        """
        query = (
            "INSERT INTO documents (kind, id, value) VALUES (?, ?, ?) "
            "ON CONFLICT (kind, id) DO UPDATE SET value = excluded.value"
        )
        with self.transaction():
            self._connections.writer.execute(query, (kind, id, to_text(value)))

    def shorten_heads(self) -> None:
        """Make long head files short; only for the holder of the workspace."""
        for study in self.study_ids():
            file = self.head_file(study)
            try:
                file.shorten(lambda head, study=study: self._has_head(study, head))
            except (OSError, SlideloopError) as err:
                _log.warning("The head file of study %s stays long (%s).", study, err)

    def _has_head(self, study: str, head: Head) -> bool:
        with self._reading() as connection:
            return has_head(connection, study, head)


def open_ledger(workspace: Path, *, read_only: bool = False) -> Ledger:
    """Open the database of a workspace.

    Parameters
    ----------
    workspace : Path
        Made, with its database, unless `read_only`.
    read_only : bool
        For looking only; also while another process writes.

    Raises
    ------
    OutputError
        If it cannot be made, opened or read.
    JournalError
        If the database is damaged, of a newer version, or another program's.
    """
    if not read_only:
        try:
            (workspace / heads.FOLDER).mkdir(parents=True, exist_ok=True)
            heads.sync_folder(workspace)
        except OSError as err:
            raise unwritable(workspace, err) from err
    ledger = Ledger(workspace, read_only=read_only)
    if not read_only and is_held_here(workspace):
        ledger.shorten_heads()
    return ledger
