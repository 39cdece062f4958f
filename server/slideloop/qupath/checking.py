"""What can be said of a project's images before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from slideloop.errors import SlideloopError
from slideloop.qupath.backups import Change, changes, digest
from slideloop.qupath.child import run_tasks
from slideloop.qupath.guard import unsaved_in
from slideloop.qupath.importing import refusal
from slideloop.qupath.installation import QuPath
from slideloop.qupath.pixels import compare, places
from slideloop.qupath.project_file import BACKUP, ProjectFile, ProjectImage
from slideloop.slides.reader import open_slide

Row = dict[str, Any]


def check_images(
    project: ProjectFile, qupath: QuPath | None, told: Callable[[Row], None]
) -> list[Row]:
    """Look at each image of a project; changes nothing.

    Parameters
    ----------
    project : ProjectFile
    qupath : QuPath or None
        Reads what the data files hold and how the image is shown; None: neither is looked at.
    told : callable
        Gets each row as soon as all is known of it.

    Returns
    -------
    list of dict
        Per image `id, name, uri, width, height`; `path`, and whether it `is_moved` from where the
        project says; `is_readable` here; `has_data` and `has_backup` (QuPath was cut off);
        `is_unsaved`: changed in a QuPath that has it open; `n_objects` (None: not opened yet);
        `imported` (None, "as_imported", "changed_since", "overwritten"). With a QuPath also
        `pixels` ("same", "not_compared"), `n_temporary` patches of a review that were left, and
        `masks`: per study `n_as_made` and `n_edited` objects. `code` and `problem` where no mask
        can go into it.

    Raises
    ------
    QuPathError
        If that QuPath cannot be used; no row was told then.
    """
    done = changes(project)
    unsaved = unsaved_in(project)
    rows = {image.id: _row(image, done, unsaved) for image in project.images}
    images = {image.id: image for image in project.images if "problem" not in rows[image.id]}

    def heard(answer: Row) -> None:
        id_ = answer.pop("entry")
        rows[id_] |= _looked(images[id_], answer, rows[id_]["imported"])
        told(rows[id_])

    if qupath is not None and images:
        tasks = [
            {"entry": id_, "action": "look", "places": places(image)}
            for id_, image in images.items()
        ]
        job = {"project": str(project.file), "mode": "r", "classes": [], "tasks": tasks}
        run_tasks(qupath, job, heard)
    for id_, row in rows.items():
        if qupath is None or id_ not in images:
            told(row)
    return list(rows.values())


def _row(image: ProjectImage, done: Sequence[Change], unsaved: set[str]) -> Row:
    row: Row = {
        "id": image.id,
        "name": image.name,
        "uri": image.uris[0] if len(image.uris) == 1 else list(image.uris),
        "path": None if image.path is None else str(image.path),
        "is_moved": image.is_moved,
        "is_readable": False,
        "width": image.width,
        "height": image.height,
        "has_data": image.data.is_file(),
        "has_backup": (image.folder / BACKUP).exists(),
        "is_unsaved": image.id in unsaved,
        "n_objects": image.n_objects() if image.data.is_file() else None,
    }
    row["imported"] = _imported(image, [each for each in done if each.image == image.id])
    problem = refusal(image)
    if problem is not None:
        row["code"], row["problem"] = problem
        return row
    return row | _read_here(image)


def _imported(image: ProjectImage, done: Sequence[Change]) -> str | None:
    """Say what became of a mask, as far as the file alone tells; `done` the newest first."""
    kinds = [each.kind for each in done if each.kind != "clean"]
    if kinds[:1] != ["import"]:
        return None
    return "as_imported" if digest(image.data) == done[0].after else "changed_since"


def _read_here(image: ProjectImage) -> Row:
    """Say whether the file can be read here, and has the size that the project noted."""
    if image.path is None:
        return {}
    try:
        with open_slide(image.path) as reader:
            here = reader.info.width, reader.info.height
    except SlideloopError as err:
        return {"reading": str(err)}
    if None in (image.width, image.height) or here == (image.width, image.height):
        return {"is_readable": True}
    return {
        "is_readable": True,
        "code": "slide_size_differs",
        "problem": f"The project says {image.width} x {image.height} px, the file has "
        f"{here[0]} x {here[1]}: it is another file or series, or was changed.",
    }


def _looked(image: ProjectImage, answer: Row, imported: str | None) -> Row:
    """Return what an answer of QuPath says of an image."""
    if "problem" in answer:
        return answer
    shown = answer.pop("shown", None)
    if imported == "changed_since" and not answer["masks"]:
        answer["imported"] = "overwritten"
    try:
        return answer | {"pixels": "not_compared" if shown is None else compare(image, shown)}
    except SlideloopError as err:
        return answer | {"code": err.code, "problem": str(err)}
