"""One holder at a time: the lock that keeps a second server out of a workspace.

Owns `server.lock`; the system lets go of it when the process ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from slideloop.errors import WorkspaceBusyError, WorkspaceError
from slideloop.files import unwritable

FILE = "server.lock"

_held: set[Path] = set()


@contextmanager
def hold_workspace(workspace: Path) -> Generator[None]:
    """Hold a workspace alone while the block runs.

    Parameters
    ----------
    workspace : Path
        Made if it does not exist.

    Raises
    ------
    WorkspaceBusyError
        If another process, or another part of this one, holds it.
    WorkspaceError
        If the drive has no locks.
    OutputError
        If the lock cannot be written.
    """
    path = workspace / FILE
    # The block may be left in another thread than it was entered in.
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise WorkspaceBusyError(
            f"The workspace {workspace} is in use by another slideloop.",
            hint="Stop the other server, or choose another folder with --workspace DIR.",
        ) from None
    except OSError as err:
        raise unwritable(path, err) from err
    except NotImplementedError as err:
        raise WorkspaceError(
            f"The drive of the workspace {workspace} has no file locks.",
            hint="Choose a folder on a drive of this computer with --workspace DIR.",
        ) from err
    held = workspace.resolve()
    _held.add(held)
    try:
        yield
    finally:
        _held.discard(held)
        lock.release()


def is_held_here(workspace: Path) -> bool:
    """Say whether this process holds a workspace."""
    return workspace.resolve() in _held
