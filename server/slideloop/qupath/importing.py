"""Masks into a QuPath project: what is refused, and what is asked for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from slideloop.errors import ProjectError
from slideloop.masks.colours import colour_of, name_parts
from slideloop.masks.geojson import ObjectKind, class_of, marker
from slideloop.qupath.matching import Match
from slideloop.qupath.pixels import places
from slideloop.qupath.project_file import ProjectFile, ProjectImage
from slideloop.qupath.writing import Piece, Row, obstacle, write

MOST_WITH_UNDO = 10_000
"""Objects in an image above which QuPath's undo ends."""


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
    folder : Path or None
        Copies of an earlier part of the same import; None: this is the first.
    """

    kind: ObjectKind = "detections"
    replace: bool = False
    discard_edits: bool = False
    force: bool = False
    n_kept: int = 10
    folder: Path | None = None


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
    rows: list[Row] | None = None,
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
    rows : list of dict, optional
        What `look` said of each mask, where it was asked before.

    Returns
    -------
    tuple of (list of dict, Path or None)
        A row per mask, with `problem` where it was not imported; and the folder with the copies
        and `report.json`, None where nothing was tried.

    Raises
    ------
    QuPathError, ProjectOpenError, ProjectError, OutputError
        As `write`.
    """
    if rows is None:
        rows = [look(each, study, options.kind) for each in matches]
    pieces: list[Piece] = []
    names: set[str] = set()
    for row, match in zip(rows, matches, strict=True):
        if "problem" in row or match.image is None:
            told(row)
            continue
        features = match.mask.features
        names |= {name for feature in features if (name := class_of(feature))}
        task = {
            "action": "import",
            "n": len(features),
            "study": study,
            "marker": marker(study),
            "kind": options.kind,
            "replace": options.replace,
            "discard_edits": options.discard_edits,
            "places": places(match.image),
        }
        pieces.append(Piece(match.image, row, task, features))
    if not pieces:
        return rows, None
    classes = [{"names": name_parts(name), "color": colour_of(name)} for name in sorted(names)]
    folder = write(
        project, "import", pieces, classes,
        force=options.force, n_kept=options.n_kept, folder=options.folder, told=told,
    )  # fmt: skip
    return rows, folder


def refusal(image: ProjectImage, features: Sequence[dict[str, Any]] = ()) -> tuple[str, str] | None:
    """Return why a mask cannot go into an image, as code and sentence; None if it can."""
    if image.wrappers:
        return "server_type_unsupported", (
            f"The project shows the image altered ({', '.join(image.wrappers)}), so a mask of the "
            "file would lie wrong. Add the file again without rotation, flip or crop."
        )
    return obstacle(image) or (_outside(image, features) if features else None)


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
