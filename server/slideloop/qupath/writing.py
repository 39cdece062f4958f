"""Writing into a QuPath project by paquo: on a copy, read back, then file by file.

The work is done on a copy of the images' data within the project's folder. An image's own file is
replaced, by one rename, only when QuPath has read back from the copy what was meant: a crash at any
moment leaves the old file or the new one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slideloop.errors import OutputError, ProjectOpenError, SlideloopError
from slideloop.qupath import child
from slideloop.qupath.backups import Backup, digest, prune
from slideloop.qupath.guard import hold_project, require_closed, require_older, require_unopened
from slideloop.qupath.pixels import compare
from slideloop.qupath.project_file import (
    BACKUP,
    CLASSES,
    DATA,
    SUMMARY,
    ProjectFile,
    ProjectImage,
    copy_project,
)

_SPARE_BYTES = 64 * 2**20
_WORK = "work-"

Row = dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """What is to be done to one image.

    Attributes
    ----------
    image : ProjectImage
    row : dict
        What is known of it; what became of it is put in, with `problem` where nothing was done.
    task : dict
        As `paquo_child` takes it.
    features : list of dict
        GeoJSON features that the task is about.
    """

    image: ProjectImage
    row: Row
    task: dict[str, Any]
    features: list[dict[str, Any]]

    def settle(self, answer: dict[str, Any], told: Callable[[Row], None]) -> None:
        """Put in what became of it, and tell it."""
        self.row.update(answer)
        told(self.row)


def obstacle(image: ProjectImage) -> tuple[str, str] | None:
    """Return why paquo cannot write an image, as code and sentence; None if it can."""
    if image.path is None:
        return "image_remote", "The image is not one file on a disk, which is what paquo can save."
    if not image.path.is_file():
        return "image_missing", (
            f"The image's file is not at {image.path}. Open the project in QuPath, which asks "
            "where it is now, and save it."
        )
    if image.is_cut_off() or (image.folder / BACKUP).exists():
        return "data_unreadable", (
            "The image's data file is not whole: QuPath was cut off when it last saved it. Open "
            "the image in QuPath, look whether all objects are there, and save it."
        )
    return None


def write(
    project: ProjectFile,
    kind: str,
    pieces: Sequence[Piece],
    classes: list[dict[str, Any]],
    *,
    force: bool,
    n_kept: int,
    told: Callable[[Row], None],
    folder: Path | None = None,
) -> Path:
    """Write into images of a closed project.

    Parameters
    ----------
    project : ProjectFile
    kind : {"import", "clean"}
        What the folder with the copies is called.
    pieces : sequence of Piece
        Of different images.
    classes : list of dict
        `names` and `color` of classes that the project's list shall have.
    force : bool
        Whether a project that was saved just now may be written.
    n_kept : int
        Folders of copies that are kept.
    told : callable
        Gets each row as soon as its outcome is known.
    folder : Path, optional
        What an earlier part of the same import returned: its copies are there too.

    Returns
    -------
    Path
        Folder with copies of what was replaced, and `report.json`.

    Raises
    ------
    QuPathError
        If there is no QuPath, or it cannot be used.
    ProjectOpenError
        If somebody may have the project open.
    ProjectError
        If a newer QuPath wrote it.
    OutputError
        If its folder cannot be written, or has no room.
    """
    qupath = child.require_qupath()
    require_older(project, qupath)
    with hold_project(project):
        require_unopened(project)
        if not force:
            require_closed(project)
        _require_room(project, [piece.image for piece in pieces])
        backup = Backup(project, kind, folder)
        work = _fresh_work(backup)
        try:
            _Work(project, work, backup, told).do(qupath, pieces, classes)
        except BaseException:
            backup.drop_if_empty()
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        backup.report({"qupath": qupath.version}, [piece.row for piece in pieces])
        prune(project, n_kept)
    return backup.folder


class _Work:
    """The copy of a project, and the way from it to the original."""

    def __init__(
        self, project: ProjectFile, folder: Path, backup: Backup, told: Callable[[Row], None]
    ) -> None:
        self._project, self._folder, self._backup, self._told = project, folder, backup, told
        self._before = digest(project.file)
        copy_project(project, folder / project.file.name)
        if (project.folder / CLASSES).is_file():
            (folder / CLASSES).parent.mkdir()
            shutil.copy2(project.folder / CLASSES, folder / CLASSES)

    def do(
        self, qupath: child.QuPath, pieces: Sequence[Piece], classes: list[dict[str, Any]]
    ) -> None:
        by_entry = {piece.image.id: piece for piece in pieces}
        copied = {id_: self._copy(piece.image) for id_, piece in by_entry.items()}
        tasks = [self._task(piece) for piece in pieces]

        def heard(answer: dict[str, Any]) -> None:
            piece = by_entry[answer.pop("entry")]
            if answer.pop("is_changed", False):
                answer |= self._accept(piece.image, answer, copied[piece.image.id])
            piece.settle(answer, self._told)

        file = self._folder / self._project.file.name
        job = {"project": str(file), "mode": "r+", "classes": classes, "tasks": tasks}
        child.run_tasks(qupath, job, heard)

    def _copy(self, image: ProjectImage) -> str | None:
        """Copy an image's folder, and return the digest of its data file."""
        target = self._folder / "data" / image.id
        if image.folder.is_dir():
            shutil.copytree(image.folder, target)
        else:
            target.mkdir(parents=True)
        # What QuPath does not write again is not published again.
        (target / SUMMARY).unlink(missing_ok=True)
        return digest(target / DATA)

    def _task(self, piece: Piece) -> dict[str, Any]:
        file = self._folder / f"{piece.image.id}.geojson"
        collection = {"type": "FeatureCollection", "features": piece.features}
        file.write_text(json.dumps(collection, allow_nan=False), "utf-8")
        return {**piece.task, "entry": piece.image.id, "features": str(file)}

    def _accept(
        self, image: ProjectImage, answer: dict[str, Any], before: str | None
    ) -> dict[str, Any]:
        """Put the copy's data file in the image's place; return why not, if that is so."""
        shown = answer.pop("shown", None)
        try:
            agreed = {} if shown is None else {"pixels": compare(image, shown)}
            self._publish(image, before)
        except SlideloopError as err:
            return {"code": err.code, "problem": str(err)}
        except OSError as err:
            return {"code": OutputError.code, "problem": f"It cannot be written: {err.strerror}."}
        return agreed

    def _publish(self, image: ProjectImage, before: str | None) -> None:
        if (digest(self._project.file), digest(image.data)) != (self._before, before):
            raise ProjectOpenError(
                "Somebody saved the project meanwhile, so the image is as they saved it.",
                hint="Close it in QuPath and try again.",
            )
        if (self._folder / CLASSES).is_file():
            self._backup.publish_classes(self._folder / CLASSES)
        self._backup.publish(image, before, self._folder / "data" / image.id)


def _fresh_work(backup: Backup) -> Path:
    """Return an empty folder on the project's disk; what a killed import left of its own goes."""
    for old in backup.folder.parent.glob(f"{_WORK}*"):
        shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_WORK, dir=backup.folder.parent))


def room_bytes(images: Sequence[ProjectImage]) -> int:
    """Return what the copies need beside the project while images are written, in bytes."""
    return _SPARE_BYTES + sum(3 * each.data.stat().st_size for each in images if each.data.exists())


def _require_room(project: ProjectFile, images: Sequence[ProjectImage]) -> None:
    need, free = room_bytes(images), shutil.disk_usage(project.folder).free
    if free < need:
        raise OutputError(
            f"It needs {need / 1e6:,.0f} MB for copies beside the project, and its disk has "
            f"{free / 1e6:,.0f} MB left.",
            hint="Make room, or take fewer images at a time.",
        )
