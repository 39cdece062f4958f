"""What can be said of a project's images before anything is written."""

from __future__ import annotations

from typing import Any

from slideloop.qupath.backups import Change, changes, digest
from slideloop.qupath.importing import refusal
from slideloop.qupath.project_file import ProjectFile, ProjectImage


def check_images(project: ProjectFile) -> list[dict[str, Any]]:
    """Look at each image of a project; changes nothing and starts no QuPath.

    Parameters
    ----------
    project : ProjectFile

    Returns
    -------
    list of dict
        Per image `id, name, uri, width, height, n_objects` (None: not opened yet), `imported`
        (None, "as_imported" or "changed_since"); `code` and `problem` where no mask can go into it.
    """
    done = changes(project)
    return [_row(each, done) for each in project.images]


def _row(image: ProjectImage, done: list[Change]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": image.id,
        "name": image.name,
        "uri": image.uris[0] if len(image.uris) == 1 else list(image.uris),
        "width": image.width,
        "height": image.height,
        "n_objects": image.n_objects() if image.data.is_file() else None,
        "imported": None,
    }
    ours = [each for each in done if each.image == image.id]
    now = digest(image.data) if ours else None
    if any(each.is_import and each.after == now for each in ours):
        row["imported"] = "as_imported"
    elif ours and not any(now in (each.before, each.after) for each in ours):
        row["imported"] = "changed_since"
    problem = refusal(image)
    if problem is not None:
        row["code"], row["problem"] = problem
    return row
