"""Connections to the ledger's database: many that read, one that writes.

Owns who uses which: readers have connections of their own, so that they never wait for a
writer's disk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from slideloop.errors import JournalError, OutputError
from slideloop.studies import storage
from slideloop.studies.storage import Mode, translated

IDLE_READERS = 8
"""Connections for reading that are kept open."""


class Connections:
    """The open connections of one process, used from any thread.

    Parameters
    ----------
    path : Path
    read_only : bool

    Attributes
    ----------
    writer : Connection
        Of whoever holds the writing, one at a time.

    Raises
    ------
    OutputError
        If the database cannot be made, opened or read.
    JournalError
        If it is damaged, of a newer version, or another program's.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self.path = path
        self._read_only = read_only
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._is_closed = False
        with translated(path):
            mode = storage.prepare(path, read_only=read_only)
            self._reading_mode: Mode = "rw" if mode == "rwc" else mode
            self.writer = storage.connect(path, mode, can_change=not read_only)
        self._file = self._identity()

    def close(self) -> None:
        """Close all; a second time does nothing."""
        with self._lock:
            self._is_closed = True
            while self._idle:
                self._idle.pop().close()
            self.writer.close()

    @contextmanager
    def reader(self) -> Generator[sqlite3.Connection]:
        """Give a connection that sees what is committed."""
        connection = self._take()
        try:
            yield connection
        finally:
            with self._lock:
                if self._is_closed or len(self._idle) >= IDLE_READERS:
                    connection.close()
                else:
                    self._idle.append(connection)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._is_closed:
                raise sqlite3.ProgrammingError("the database was closed")
            if self._idle:
                return self._idle.pop()
        return storage.connect(self.path, self._reading_mode, can_change=False)

    def require_writable(self) -> None:
        """Refuse to write where it would be lost.

        Raises
        ------
        JournalError
            If the database was opened for reading.
        OutputError
            If another file lies there now, or none: SQLite would write on to the one that is gone.
        """
        if self._read_only:
            raise JournalError(f"{self.path} was opened for reading.", hint="Open it for writing.")
        if self._identity() != self._file:
            raise OutputError(
                f"The database {self.path} was moved, removed or replaced; nothing was changed.",
                hint="Put it back, then start the server again.",
            )

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
