"""Masks into a QuPath project: what is refused, what is asked of paquo, what is kept of before.

The objects are put in on a copy of the images' data within the project's folder. An image's own
file is replaced, by one rename, only when QuPath has read back from the copy what was meant: a
crash at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely

from slideloop.errors import OutputError, ProjectError, ProjectOpenError, SlideloopError
from slideloop.masks.colours import colour_of, name_parts
from slideloop.masks.geojson import marker
from slideloop.qupath import child
from slideloop.qupath.backups import Backup, digest, prune
from slideloop.qupath.guard import hold_project, require_closed, require_older
from slideloop.qupath.matching import Match
from slideloop.qupath.project_file import BACKUP, CLASSES, DATA, SUMMARY, ProjectFile, ProjectImage

MOST_WITH_UNDO = 10_000
"""Objects in an image above which QuPath's undo ends."""

_SPARE_BYTES = 64 * 2**20
_WORK = "work-"

Row = dict[str, Any]


@dataclass(frozen=True)
class ImportOptions:
    """How masks are imported.

    Attributes
    ----------
    kind : {"detections", "annotations", "tiles"}
        Of the objects; annotations are locked.
    replace : bool
        Whether objects of an earlier import may be removed.
    discard_edits : bool
        Whether those that were edited since go too.
    force : bool
        Whether a project that was saved just now may be written.
    n_kept : int
        Imports and restores of which copies are kept.
    """

    kind: Literal["detections", "annotations", "tiles"] = "detections"
    replace: bool = False
    discard_edits: bool = False
    force: bool = False
    n_kept: int = 10


def look(match: Match, study: str, kind: str) -> Row:
    """Return the row of a mask before it is imported, with `problem` where it cannot be.

    Parameters
    ----------
    match : Match
    study : str
        Whose mask it is.
    kind : str
    """
    row: Row = {"mask": match.mask.label, "by": match.by, "study": study, "kind": kind}
    row["n_objects"] = len(match.mask.features)
    image = match.image
    if image is None:
        found = [{"id": each.id, "name": each.name} for each in match.candidates]
        return {**row, "code": "no_image", "problem": match.by, "candidates": found}
    row |= {"entry": image.id, "image": image.name}
    problem = refusal(image, match.mask.features)
    if problem is not None:
        return {**row, "code": problem[0], "problem": problem[1]}
    n_after = (image.n_objects() or 0) + len(match.mask.features)
    return row | {"ends_undo": n_after > MOST_WITH_UNDO}


def import_masks(
    project: ProjectFile,
    matches: Sequence[Match],
    study: str,
    options: ImportOptions,
    told: Callable[[Row], None],
) -> tuple[list[Row], Path | None]:
    """Import masks into the images that they are for.

    Parameters
    ----------
    project : ProjectFile
    matches : sequence of Match
    study : str
        Id of the study that made them.
    options : ImportOptions
    told : callable
        Gets each row as soon as its outcome is known.

    Returns
    -------
    tuple of (list of dict, Path or None)
        A row per mask, with `problem` where it was not imported; and the folder with the copies
        and `report.json`, None where nothing was tried.

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
    rows = [look(each, study, options.kind) for each in matches]
    for row in rows:
        if "problem" in row:
            told(row)
    todo = [(row, each) for row, each in zip(rows, matches, strict=True) if "problem" not in row]
    if not todo:
        return rows, None
    qupath = child.require_qupath()
    require_older(project, qupath)
    with hold_project(project):
        if not options.force:
            require_closed(project)
        _require_room(project, [each.image for _, each in todo if each.image])
        backup = Backup(project, "import")
        work = _fresh_work(backup)
        try:
            _work(project, work, backup, todo, study, options, told)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        report = {"study": study, "qupath": qupath.version, "rows": rows}
        backup.note(**report)
        (backup.folder / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
        prune(project, options.n_kept)
    return rows, backup.folder


def _work(
    project: ProjectFile,
    work: Path,
    backup: Backup,
    todo: Sequence[tuple[Row, Match]],
    study: str,
    options: ImportOptions,
    told: Callable[[Row], None],
) -> None:
    by_entry = {match.image.id: (row, match.image) for row, match in todo if match.image}
    copied = {id_: _copy(image, work) for id_, (_, image) in by_entry.items()}
    shutil.copy2(project.file, work / project.file.name)
    if (project.folder / CLASSES).is_file():
        (work / CLASSES).parent.mkdir()
        shutil.copy2(project.folder / CLASSES, work / CLASSES)
    before = digest(project.file)

    def heard(answer: dict[str, Any]) -> None:
        if "entry" not in answer:
            return
        row, image = by_entry[answer["entry"]]
        if "problem" not in answer:
            try:
                _publish(project, image, work, backup, (before, copied[image.id]))
            except SlideloopError as err:
                answer = {"code": err.code, "problem": str(err)}
            except OSError as err:
                answer = {"code": "output", "problem": f"It cannot be written: {err.strerror}."}
        row.update(answer)
        told(row)

    qupath = child.require_qupath()
    job = _job(project, work, todo, study, options)
    while job["tasks"]:
        why = child.run_child(qupath, job, heard)
        rest = [task for task in job["tasks"] if not _is_settled(by_entry[task["entry"]][0])]
        if rest:
            # The one that it stopped at; the others behind it get their turn.
            row, _ = by_entry[rest[0]["entry"]]
            row.update(code="failed", problem=why or "QuPath said nothing about it.")
            told(row)
        job["tasks"] = rest[1:]


def _is_settled(row: Row) -> bool:
    return "n_added" in row or "problem" in row


def _publish(
    project: ProjectFile,
    image: ProjectImage,
    work: Path,
    backup: Backup,
    before: tuple[str | None, str | None],
) -> None:
    """Put the work's data file in the image's place, unless somebody else saved meanwhile."""
    if (digest(project.file), digest(image.data)) != before:
        raise ProjectOpenError(
            "Somebody saved the project meanwhile, so the image is left as they saved it.",
            hint="Close it in QuPath and import again.",
        )
    if (work / CLASSES).is_file():
        backup.publish_classes(work / CLASSES)
    backup.publish(image, work / "data" / image.id)


def _job(
    project: ProjectFile,
    work: Path,
    todo: Sequence[tuple[Row, Match]],
    study: str,
    options: ImportOptions,
) -> dict[str, Any]:
    tasks: list[dict[str, Any]] = []
    names: set[str] = set()
    for number, (_, match) in enumerate(todo):
        assert match.image is not None
        file = work / f"mask-{number}.geojson"
        collection = {"type": "FeatureCollection", "features": match.mask.features}
        file.write_text(json.dumps(collection, allow_nan=False), "utf-8")
        names |= {class_of(feature) for feature in match.mask.features}
        tasks.append(
            {
                "entry": match.image.id,
                "features": str(file),
                "n": len(match.mask.features),
                "study": study,
                "marker": marker(study),
                "kind": options.kind,
                "replace": options.replace,
                "discard_edits": options.discard_edits,
            }
        )
    classes = [{"names": name_parts(name), "color": colour_of(name)} for name in sorted(names)]
    return {
        "project": str(work / project.file.name),
        "is_writing": True,
        "classes": classes,
        "tasks": tasks,
    }


def class_of(feature: dict[str, Any]) -> str:
    """Return the class of a feature, as QuPath shows it."""
    classification = feature["properties"]["classification"]
    return classification.get("name") or ": ".join(classification["names"])


def refusal(image: ProjectImage, features: Sequence[dict[str, Any]] = ()) -> tuple[str, str] | None:
    """Return why a mask cannot go into an image, as code and sentence; None if it can."""
    if image.wrappers:
        return "server_type_unsupported", (
            f"The project shows the image altered ({', '.join(image.wrappers)}), so a mask of the "
            "file would lie wrong. Add the file again without rotation, flip or crop."
        )
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
    return _outside(image, features) if features else None


def _outside(image: ProjectImage, features: Sequence[dict[str, Any]]) -> tuple[str, str] | None:
    if image.width is None or image.height is None:
        return None
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    x0, y0, x1, y1 = (float(v) for v in shapely.total_bounds(np.array(shapes, object)))
    if x0 >= 0 and y0 >= 0 and x1 <= image.width and y1 <= image.height:
        return None
    return "outside_slide", (
        f"The mask reaches from ({x0:.0f}, {y0:.0f}) to ({x1:.0f}, {y1:.0f}), and the image has "
        f"{image.width} x {image.height} px: it is of another slide."
    )


def _copy(image: ProjectImage, work: Path) -> str | None:
    """Copy an image's folder, and return the digest of its data file."""
    target = work / "data" / image.id
    if image.folder.is_dir():
        shutil.copytree(image.folder, target)
    else:
        target.mkdir(parents=True)
    # What QuPath shall not write again is not there to be published again.
    (target / SUMMARY).unlink(missing_ok=True)
    return digest(target / DATA)


def _fresh_work(backup: Backup) -> Path:
    """Return an empty folder on the project's disk; what a killed import left of its own goes."""
    for old in backup.folder.parent.glob(f"{_WORK}*"):
        shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=_WORK, dir=backup.folder.parent))


def _require_room(project: ProjectFile, images: Sequence[ProjectImage]) -> None:
    need = sum(3 * each.data.stat().st_size for each in images if each.data.exists())
    free = shutil.disk_usage(project.folder).free
    if free < need + _SPARE_BYTES:
        raise OutputError(
            f"The import needs {(need + _SPARE_BYTES) / 1e6:,.0f} MB for copies beside the "
            f"project, and its disk has {free / 1e6:,.0f} MB left.",
            hint="Make room, or import fewer images at a time.",
        )


def image_named(project: ProjectFile, name: str) -> ProjectImage:
    """Return an image by its entry id or its name.

    Raises
    ------
    ProjectError
        If there is none, or more than one.
    """
    found = [each for each in project.images if each.id == name] or [
        each for each in project.images if each.name == name
    ]
    if len(found) != 1:
        ids = ", ".join(each.id for each in found)
        raise ProjectError(
            f"The project has {len(found) or 'no'} images called {name}.",
            hint=f"Give the id of one of them: {ids}." if found else "See `project check`.",
        )
    return found[0]
