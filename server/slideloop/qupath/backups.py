"""Copies of what an import replaces, and their way back.

Owns the folder `slideloop/` within a project: one dated folder per import, with the data file of
each image as it was and what it became. A project's own file is never written, so never restored.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from slideloop.errors import ProjectError
from slideloop.files import unwritable, whole_file
from slideloop.qupath.project_file import CLASSES, DATA, SUMMARY, ProjectFile, ProjectImage

FOLDER = "slideloop"
_NOTES = "import.json"
_REPORT = "report.json"


@dataclass(frozen=True)
class Change:
    """What an import did to one image.

    Attributes
    ----------
    folder : Path
        Of the import or restore.
    kind : str
        "import", "clean" or "restore".
    image : str
        Entry id.
    before, after : str or None
        SHA-256 of the data file; None where there was none.
    """

    folder: Path
    kind: str
    image: str
    before: str | None
    after: str | None


class Backup:
    """The copies that one import makes.

    Parameters
    ----------
    project : ProjectFile
    kind : {"import", "clean", "restore"}
    folder : Path, optional
        Of an earlier part of the same import, to go on with; None: a new one.

    Raises
    ------
    OutputError
        If the project's folder cannot be written.
    """

    def __init__(self, project: ProjectFile, kind: str, folder: Path | None = None) -> None:
        self._project = project
        self._changes: dict[str, dict[str, str | None]] = {}
        self._rows: list[dict[str, Any]] = []
        if folder is not None:
            self.folder = folder
            if (folder / _NOTES).is_file():
                self._changes = json.loads((folder / _NOTES).read_bytes())["changes"]
            self._rows = json.loads((folder / _REPORT).read_bytes())["rows"]
            return
        stamp = datetime.now().astimezone().strftime("%Y-%m-%d-%H%M%S")
        base = project.folder / FOLDER
        self.folder = next(
            each for each in _numbered(base / f"{stamp}-{kind}") if not each.exists()
        )
        try:
            self.folder.mkdir(parents=True)
        except OSError as err:
            raise unwritable(self.folder, err) from err

    def publish(self, image: ProjectImage, before: str | None, new: Path | None) -> None:
        """Put a new data file in the place of an image's, after the old one was copied.

        Parameters
        ----------
        image : ProjectImage
        before : str or None
            Digest of the data file that is there; None where there is none.
        new : Path or None
            Folder with the new data file and summary, on the same file system; they are moved.
            None: the image shall have no data file.
        """
        kept = self.folder / "data" / image.id
        kept.mkdir(parents=True)
        image.folder.mkdir(parents=True, exist_ok=True)
        for name in (DATA, SUMMARY):
            if (image.folder / name).is_file():
                _copy(image.folder / name, kept / name)
        after = None if new is None else digest(new / DATA)
        self._changes[image.id] = {"before": before, "after": after}
        # Noted before it is done: what is noted and not done is told apart by the digests.
        self._note()
        for name in (DATA, SUMMARY):
            if new is None:
                (image.folder / name).unlink(missing_ok=True)
            elif (new / name).is_file():
                _flush(new / name)
                (new / name).replace(image.folder / name)
        _flush(image.folder)

    def publish_classes(self, new: Path) -> None:
        """Put a new class list in the place of the project's, after the old one was copied."""
        old = self._project.folder / CLASSES
        if old.is_file():
            if old.read_bytes() == new.read_bytes():
                return
            _copy(old, self.folder / CLASSES)
        old.parent.mkdir(exist_ok=True)
        with whole_file(old) as path:
            path.write_bytes(new.read_bytes())

    def report(self, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        """Write down what became of each image, behind those of the earlier parts."""
        self._rows += rows
        text = json.dumps({**about, "rows": self._rows}, indent=1)
        (self.folder / _REPORT).write_text(text, "utf-8")

    def drop_if_empty(self) -> None:
        """Remove the folder where nothing was copied into it."""
        with suppress(OSError):
            self.folder.rmdir()

    def _note(self) -> None:
        """Write down what was changed."""
        with whole_file(self.folder / _NOTES) as path:
            path.write_text(json.dumps({"changes": self._changes}, indent=1), "utf-8")


def changes(project: ProjectFile) -> list[Change]:
    """Return what imports and restores did, the newest first."""
    found: list[Change] = []
    for notes in sorted((project.folder / FOLDER).glob(f"*/{_NOTES}"), reverse=True):
        kind = notes.parent.name.rstrip("-0123456789").rpartition("-")[2]
        try:
            noted: dict[str, Any] = json.loads(notes.read_bytes())["changes"]
            found += [
                Change(notes.parent, kind, image, each["before"], each["after"])
                for image, each in noted.items()
            ]
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return found


def restore(image: ProjectImage, done: Sequence[Change], backup: Backup) -> None:
    """Put back what the newest import replaced; what is there now is copied first.

    Parameters
    ----------
    image : ProjectImage
    done : sequence of Change
        What imports did to the project, the newest first.
    backup : Backup
        Gets the copy.

    Raises
    ------
    ProjectError
        If there is no import to take back, or the image was saved since.
    """
    latest = _latest(image, done, backup.folder.parent)
    kept = latest.folder / "data" / image.id
    if latest.before is None:
        backup.publish(image, latest.after, None)
        return
    new = backup.folder / "new"
    new.mkdir()
    for name in (DATA, SUMMARY):
        if (kept / name).is_file():
            shutil.copy2(kept / name, new / name)
    backup.publish(image, latest.after, new)
    shutil.rmtree(new)


def _latest(image: ProjectImage, done: Sequence[Change], folder: Path) -> Change:
    """Return the import that an image is still as it left it."""
    imports = [each for each in done if each.kind != "restore" and each.image == image.id]
    now = digest(image.data)
    for each in imports:
        if each.after == now:
            return each
    if not imports:
        raise ProjectError(
            f"No import of slideloop changed the image {image.name}.",
            hint=f"Imports leave copies in {folder}.",
        )
    if any(each.before == now for each in imports):
        raise ProjectError(
            f"The image {image.name} is as it was before the import.", hint="Nothing is to be done."
        )
    raise ProjectError(
        f"The image {image.name} was saved since the import, so what was done since would be lost.",
        hint=f"What imports replaced is kept in {folder}.",
    )


def prune(project: ProjectFile, n_kept: int) -> None:
    """Remove all copies but those of the newest imports and restores."""
    folders = sorted(each for each in (project.folder / FOLDER).iterdir() if each.is_dir())
    for folder in folders[: max(0, len(folders) - n_kept)]:
        shutil.rmtree(folder)


def digest(file: Path) -> str | None:
    """Return the SHA-256 of a file, or None where there is none."""
    try:
        with file.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _copy(source: Path, target: Path) -> None:
    """Copy a file with its times, and wait until it is on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    _flush(target)


def _numbered(folder: Path) -> Iterator[Path]:
    yield folder
    for number in range(2, 10_000):
        yield folder.with_name(f"{folder.name}-{number}")


def _flush(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
