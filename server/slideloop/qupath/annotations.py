"""What others have drawn in a project's images, as files; the project is only read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slideloop.qupath.child import require_qupath, run_tasks
from slideloop.qupath.guard import require_older
from slideloop.qupath.project_file import ProjectFile, ProjectImage
from slideloop.qupath.writing import obstacle

Row = dict[str, Any]


def write_annotations(
    project: ProjectFile, images: Sequence[ProjectImage], folder: Path
) -> list[Row]:
    """Write the annotations of images that have a class and an area, but for masks of ours.

    Parameters
    ----------
    project : ProjectFile
    images : sequence of ProjectImage
        Those that were never opened in QuPath have none.
    folder : Path
        Gets a GeoJSON file per image, named by its entry id, level-0 pixels as QuPath shows it.

    Returns
    -------
    list of dict
        Per image `entry, image` and `file`, None where there are no such annotations; `code` and
        `problem` where its file or its data cannot be read.

    Raises
    ------
    QuPathError
        If there is no QuPath, or it cannot be used.
    ProjectError
        If a newer QuPath wrote the project.
    """
    qupath = require_qupath()
    require_older(project, qupath)
    rows = {each.id: Row(entry=each.id, image=each.name, file=None) for each in images}
    tasks: list[Row] = []
    for image in images:
        problem = obstacle(image)
        if problem is not None:
            rows[image.id]["code"], rows[image.id]["problem"] = problem
        elif image.data.is_file():
            out = str(folder / f"{image.id}.geojson")
            tasks.append({"entry": image.id, "action": "annotations", "out": out})

    def heard(answer: Row) -> None:
        row, n = rows[answer.pop("entry")], answer.pop("n_annotations", 0)
        row |= {**answer, "file": folder / f"{row['entry']}.geojson" if n else None}

    job = {"project": str(project.file), "mode": "r", "classes": [], "tasks": tasks}
    run_tasks(qupath, job, heard)
    return list(rows.values())
