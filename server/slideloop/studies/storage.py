"""The SQLite file of a workspace: its tables, how it is opened, what its complaints mean.

Owns the layout and every setting of a connection (architecture.md, SQLite as it must be used).
Knows nothing of chains and heads.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from slideloop.errors import BusyError, JournalError, OutputError, SlideloopError

FILE = "slideloop.db"
VERSION = 1
"""Of the tables: `PRAGMA user_version`."""

WAIT_S = 10.0
"""How long a writer waits for a writer in another process."""

_APPLICATION = 0x736C6C70
"""`PRAGMA application_id`: "sllp"."""

_TABLES = (
    """CREATE TABLE events (
        number INTEGER PRIMARY KEY,
        study TEXT NOT NULL,
        seq INTEGER NOT NULL,
        event_id TEXT,
        stored BLOB NOT NULL,
        hash TEXT NOT NULL,
        UNIQUE (study, seq),
        UNIQUE (study, event_id)
    )""",
    "CREATE UNIQUE INDEX studies ON events (study) WHERE seq = 1",
    # The next seq only: nothing is put over an event, nor behind a gap.
    """CREATE TRIGGER events_are_appended BEFORE INSERT ON events
        WHEN NEW.seq <> 1 + coalesce((SELECT max(seq) FROM events WHERE study = NEW.study), 0)
            OR EXISTS (SELECT 1 FROM events WHERE number = NEW.number)
            OR EXISTS (SELECT 1 FROM events WHERE study = NEW.study AND event_id = NEW.event_id)
        BEGIN SELECT RAISE(ABORT, 'events are only appended'); END""",
    """CREATE TRIGGER events_stay BEFORE UPDATE ON events
        BEGIN SELECT RAISE(ABORT, 'events are not changed'); END""",
    """CREATE TRIGGER events_are_kept BEFORE DELETE ON events
        BEGIN SELECT RAISE(ABORT, 'events are not removed'); END""",
    """CREATE TABLE answers (
        scope TEXT NOT NULL,
        event_id TEXT NOT NULL,
        body_sha256 TEXT,
        status INTEGER NOT NULL,
        answer TEXT,
        PRIMARY KEY (scope, event_id)
    ) WITHOUT ROWID""",
    """CREATE TRIGGER answers_are_kept BEFORE DELETE ON answers
        BEGIN SELECT RAISE(ABORT, 'answers are not removed'); END""",
    """CREATE TABLE documents (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        value TEXT NOT NULL,
        UNIQUE (kind, id)
    )""",
)


Mode = Literal["rwc", "rw", "ro", "ro&immutable=1"]


def prepare(path: Path, *, read_only: bool) -> Mode:
    """Make the database if need be, check that it can be used, and return how to open it.

    Parameters
    ----------
    path : Path
        Made, with its tables, unless `read_only`.
    read_only : bool
        For looking only; a folder that cannot be written will do.

    Raises
    ------
    sqlite3.Error
        If it cannot be made or opened, or is damaged.
    JournalError
        If it is of a newer version, or another program's.
    """
    mode: Mode = "rwc"
    if read_only:
        mode = _reading_mode(path)
    connection = connect(path, mode, can_change=not read_only)
    try:
        if not read_only:
            _make_tables(path, connection)
        _check(path, connection)
    finally:
        connection.close()
    return mode


def _reading_mode(path: Path) -> Mode:
    # Read and write where possible, since the last to leave then tidies the write-ahead log.
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return "rw"
    has_log = path.with_name(path.name + "-wal").exists()
    return "ro" if has_log else "ro&immutable=1"


def connect(path: Path, mode: Mode, *, can_change: bool) -> sqlite3.Connection:
    """Open a connection, to be used by one thread at a time.

    Parameters
    ----------
    path : Path
    mode : Mode
        From `prepare`.
    can_change : bool
        Whether statements that change anything are let through.

    Raises
    ------
    sqlite3.Error
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=WAIT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        # INSERT OR REPLACE goes past the triggers otherwise.
        connection.execute("PRAGMA recursive_triggers = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        if not can_change:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(path: Path, connection: sqlite3.Connection) -> None:
    """Make the tables of a new database, all or none."""
    if not _is_new(connection):
        _check(path, connection)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_new(connection):
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _is_new(connection: sqlite3.Connection) -> bool:
    n_tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    return not n_tables and _versions(connection) == (0, 0)


def _versions(connection: sqlite3.Connection) -> tuple[int, int]:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    return application, connection.execute("PRAGMA user_version").fetchone()[0]


def _check(path: Path, connection: sqlite3.Connection) -> None:
    application, version = _versions(connection)
    if application != _APPLICATION:
        raise JournalError(
            f"{path} is not a database of slideloop's.",
            hint="Move it away, or choose another folder with --workspace DIR.",
        )
    if version > VERSION:
        raise JournalError(
            f"{path} was written by a newer slideloop (its tables are version {version}, known "
            f"up to {VERSION}).",
            hint="Update slideloop, or choose another folder with --workspace DIR.",
        )


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """Copy a database as it is committed now, in one step, to one new file.

    Raises
    ------
    sqlite3.Error
    """
    target = sqlite3.connect(path, isolation_level=None)
    try:
        connection.backup(target)
        # Without a write-ahead log it can be opened where nothing can be written.
        target.execute("PRAGMA journal_mode = DELETE")
    finally:
        target.close()


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Turn complaints of SQLite into errors that say what to do."""
    try:
        yield
    except sqlite3.Error as err:
        raise _error(path, err) from err


def _error(path: Path, err: sqlite3.Error) -> SlideloopError:
    code = getattr(err, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return JournalError(
            f"The database {path} is damaged ({err}).",
            hint="Put back a copy that `slideloop study backup` made.",
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BusyError(
            f"Another process is writing to {path}.", hint="Try again when it is done."
        )
    if primary == sqlite3.SQLITE_FULL:
        return OutputError(
            f"There is no room left on the disk for {path}; nothing was changed.",
            hint="Make room, then do the same again.",
        )
    if primary in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_ERROR):
        return JournalError(
            f"The database {path} refuses ({err}).",
            hint="Check it with `slideloop study verify`; put back a backup if it does not hold.",
        )
    if primary is None:
        return BusyError(
            f"The studies in {path} were closed.", hint="Try again when the server runs again."
        )
    return OutputError(
        f"The database {path} cannot be read or written ({err}).",
        hint="Check the disk, the permissions of the folder, and that there is room.",
    )
