"""Left-over patches of reviews, out of a project's images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from slideloop.qupath.project_file import ProjectFile
from slideloop.qupath.writing import Piece, Row, obstacle, write

_N_KEPT = 10


def clean_images(
    project: ProjectFile, force: bool, told: Callable[[Row], None]
) -> tuple[list[Row], Path | None]:
    """Remove the temporary annotations that were saved with a project's images.

    Parameters
    ----------
    project : ProjectFile
    force : bool
        Whether a project that was saved just now may be written.
    told : callable
        Gets each row as soon as its outcome is known.

    Returns
    -------
    tuple of (list of dict, Path or None)
        A row per image with a data file, with `n_removed` or `problem`; and the folder with copies,
        None where no image has data.

    Raises
    ------
    QuPathError, ProjectOpenError, ProjectError, OutputError
        As `write`.
    """
    rows: list[Row] = []
    pieces: list[Piece] = []
    for image in project.images:
        if not image.data.is_file():
            continue
        row: Row = {"entry": image.id, "image": image.name}
        rows.append(row)
        problem = obstacle(image)
        if problem is not None:
            row["code"], row["problem"] = problem
            told(row)
            continue
        pieces.append(Piece(image, row, {"action": "clean"}, []))
    if not pieces:
        return rows, None
    return rows, write(project, "clean", pieces, [], force=force, n_kept=_N_KEPT, told=told)
