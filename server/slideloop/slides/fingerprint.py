"""Which slide a file is, by its content.

Owns the fingerprint and its cache. A move of the file keeps the fingerprint, any change in place
alters it. Knows nothing of what the bytes mean, except that an MRXS is a file and a folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from slideloop.errors import SlideChangedError, UnreadableSlideError
from slideloop.slides.reader import require_regular_file

_log = logging.getLogger(__name__)

_CACHE_VERSION = 1

Stamp = list[list[str | int]]
"""What the file system says of each file: name, size, mtime_ns, ctime_ns, inode."""


def fingerprint(path: str | os.PathLike[str], cache: FingerprintCache | None = None) -> str:
    """Hash the whole content of a slide.

    Parameters
    ----------
    path : str or PathLike
        A regular file; with an `.mrxs`, the files of the folder of the same name count too.
    cache : FingerprintCache or None
        Where earlier results are kept; None reads the file in any case.

    Returns
    -------
    str
        SHA-256 in lower-case hexadecimal, of a plain file the same as `sha256sum` gives. Costs
        a read of the whole file, some 2 s per GB, unless the cache knows it.

    Raises
    ------
    SlideNotFoundError
        If there is no regular file at `path`.
    UnreadableSlideError
        If it cannot be read to its end.
    SlideChangedError
        If it changes while it is read.
    """
    slide_path = require_regular_file(path).resolve()
    try:
        files = _files(slide_path)
        stamp = _stamp(slide_path, files)
        known = cache.get(slide_path, stamp) if cache else None
        if known is not None:
            return known
        digest = _digest(slide_path, files)
        after = _stamp(slide_path, _files(slide_path))
    except OSError as err:
        raise UnreadableSlideError(
            f"{slide_path.name!r} cannot be read to its end: {err.strerror or err}.",
            hint="Check the disk, or copy the file again from where it came.",
        ) from err
    if after != stamp:
        raise SlideChangedError(
            f"{slide_path.name!r} changed while it was read.",
            hint="Wait until it is copied completely, then try again.",
        )
    if cache:
        cache.put(slide_path, stamp, digest)
    return digest


def _files(path: Path) -> list[Path]:
    """List the file itself, and for an MRXS those of its folder by name."""
    folder = path.with_suffix("")
    if path.suffix.lower() != ".mrxs" or not folder.is_dir():
        return [path]
    inside = (entry for entry in folder.rglob("*") if entry.is_file())
    return [path, *sorted(inside, key=lambda entry: entry.relative_to(folder).as_posix())]


def _stamp(path: Path, files: list[Path]) -> Stamp:
    stamp: Stamp = []
    for file in files:
        stat = file.stat()
        name = "" if file == path else file.relative_to(path.with_suffix("")).as_posix()
        stamp.append([name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    return stamp


def _digest(path: Path, files: list[Path]) -> str:
    if len(files) == 1:
        return _sha256(path)
    # Each file enters by name and hash, so that no two folders give the same stream. The MRXS
    # itself has no name here, since its name and the folder's change together in a move.
    whole = hashlib.sha256(f"mrxs {_sha256(path)}\n".encode())
    for file in files[1:]:
        name = file.relative_to(path.with_suffix("")).as_posix()
        whole.update(f"{_sha256(file)} {json.dumps(name)}\n".encode())
    return whole.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class FingerprintCache:
    """Fingerprints of files that the file system says have not changed, in a JSON file.

    The key is the resolved path with size, mtime, ctime and inode: restoring the mtime after a
    change does not hide it, since nobody can set the ctime. A damaged cache counts as empty; one
    that cannot be written is a warning in the log. Safe from several threads; of two processes
    that write at once the later wins, which only costs a second hashing.

    Parameters
    ----------
    file : str or PathLike
        The JSON file; made when the first fingerprint is kept.
    settle_s : float
        A file changed less than this many seconds ago is not kept: file systems count time in
        steps, so a second change within one step would go unseen.
    """

    def __init__(self, file: str | os.PathLike[str], settle_s: float = 2.0) -> None:
        self._file = Path(file)
        self._settle_s = settle_s
        self._lock = threading.Lock()

    def get(self, path: Path, stamp: Stamp) -> str | None:
        """Give the fingerprint kept for a file in this state.

        Parameters
        ----------
        path : Path
            Resolved path.
        stamp : list
            Its present state, as `put` was given it.

        Returns
        -------
        str or None
            None if the file is unknown or not in this state.
        """
        with self._lock:
            entry = self._load().get(str(path))
        if isinstance(entry, dict) and entry.get("stamp") == stamp:
            digest = entry.get("sha256")
            return digest if isinstance(digest, str) else None
        return None

    def put(self, path: Path, stamp: Stamp, digest: str) -> None:
        """Keep a fingerprint.

        Parameters
        ----------
        path : Path
            Resolved path.
        stamp : list
            State of the file before it was read.
        digest : str
            Its fingerprint.
        """
        newest_ns = max(max(int(entry[2]), int(entry[3])) for entry in stamp)
        if time.time_ns() - newest_ns < self._settle_s * 1e9:
            return
        with self._lock:
            entries = self._load()
            entries[str(path)] = {"stamp": stamp, "sha256": digest}
            try:
                self._save(entries)
            except OSError as err:
                _log.warning("The fingerprint cache %s cannot be written: %s", self._file, err)

    def _load(self) -> dict[str, Any]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(content, dict) or content.get("version") != _CACHE_VERSION:
            return {}
        entries = content.get("entries")
        return entries if isinstance(entries, dict) else {}

    def _save(self, entries: dict[str, Any]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"version": _CACHE_VERSION, "entries": entries}, indent=1)
        handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=self._file.name + ".")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).replace(self._file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
