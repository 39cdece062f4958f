"""Folders that the user allowed once, one after the other, and that are remembered.

Owns `WORKSPACE/folders.json`. There only where a server listens on its own machine and was given no
folders: then whoever asks is the user who started it, as far as anybody can tell.
"""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slideloop.files import whole_file

if TYPE_CHECKING:
    from slideloop.api.paths import Roots

FILE = "folders.json"


class AllowedFolders:
    """What was allowed, in the roots of a server and on the disk.

    Parameters
    ----------
    roots : Roots
        Get the remembered folders at once, those that are gone left out.
    workspace : Path
    """

    def __init__(self, roots: Roots, workspace: Path) -> None:
        self._roots, self._file = roots, workspace / FILE
        self._lock = threading.Lock()
        for folder in self._read():
            if Path(folder).is_dir():
                roots.allow(Path(folder))

    def add(self, text: str) -> Path:
        """Allow a folder, and remember it.

        Parameters
        ----------
        text : str
            As a client names it: a whole path or a file URI.

        Returns
        -------
        Path
            As this machine names it.

        Raises
        ------
        SlideNotFoundError
            If there is no such folder.
        OutputError
            If it cannot be remembered; then it is not allowed.
        """
        folder = self._roots.find_folder(text)
        with self._lock:
            known = self._read()
            if str(folder) not in known:
                with whole_file(self._file) as path:
                    path.write_text(json.dumps([*known, str(folder)], indent=1), "utf-8")
            self._roots.allow(folder)
        return folder

    def _read(self) -> list[str]:
        found: Any = None
        with suppress(OSError, ValueError):
            found = json.loads(self._file.read_bytes())
        return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
