"""Heads of studies outside the database, since a chain cannot see its own tail cut off.

Owns the files `heads/STUDY.txt`: lines `SEQ HASH`, appended and fsynced after each commit. A line
that is not whole is of a write that was cut off, and is ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from slideloop.files import whole_file

FOLDER = "heads"
LONG_BYTES = 16 * 1024
"""A longer file is made short when its workspace is opened."""

Head = tuple[int, str]

_LINE = re.compile(rb"(\d{1,18}) ([0-9a-f]{64})\n")


class HeadFile:
    """The heads of one study.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Head]:
        """Return all heads noted, in their order; none where there is no file.

        Raises
        ------
        OSError
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        lines = (_LINE.fullmatch(line) for line in content.splitlines(keepends=True))
        return [(int(line[1]), line[2].decode()) for line in lines if line]

    def prepare(self) -> None:
        """Make the file, and end a line that was cut off.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        is_new = not self.path.exists()
        with self.path.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read(1) != b"\n":
                    file.write(b"\n")
        if is_new:
            sync_folder(self.path.parent)

    def append(self, head: Head) -> None:
        """Note a head, on the disk when this returns.

        Raises
        ------
        OSError
        """
        with self.path.open("ab") as file:
            file.write(_line(head))
            file.flush()
            os.fsync(file.fileno())

    def shorten(self, is_in_chain: Callable[[Head], bool]) -> None:
        """Drop lines that the newest one stands for; only for the holder of the workspace.

        Lines that are not in the chain stay: they are what tells that it was cut or replaced.

        Raises
        ------
        OutputError
        """
        if not self.path.exists() or self.path.stat().st_size <= LONG_BYTES:
            return
        heads = self.read()
        if not heads:
            return
        newest = max(heads)
        kept = [h for h in dict.fromkeys(heads) if h == newest or not is_in_chain(h)]
        with whole_file(self.path) as unfinished, unfinished.open("wb") as file:
            file.writelines(map(_line, kept))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path.parent)


def _line(head: Head) -> bytes:
    return f"{head[0]} {head[1]}\n".encode()


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
