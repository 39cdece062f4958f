"""Files that are there whole or not at all.

Owns the way of writing aside and renaming; every other module may import it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slideloop.errors import OutputError

UNFINISHED = ".part"
"""Suffix of a file that is being written."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file so that it appears only when complete.

    Parameters
    ----------
    path : Path
        The file; an older one of that name stays until the new one is complete.

    Yields
    ------
    Path
        Where to write: a file beside it, which is renamed at the end and removed on any failure.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as err:
        raise unwritable(path, err) from err
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def unwritable(path: Path, err: OSError) -> OutputError:
    """Return the error that says a file or folder cannot be written, and why."""
    return OutputError(
        f"{path} cannot be written: {err.strerror or err}.",
        hint="Choose a folder that exists, can be written, and has room.",
    )
