"""Which image of a project a mask is for.

Owns the order in which that is decided: what the user said, the file, its content, the image's
name. Never chooses between two.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from slideloop.errors import InvalidInputError
from slideloop.qupath.project_file import ProjectImage


@dataclass(frozen=True)
class Mask:
    """A mask that is to be imported.

    Attributes
    ----------
    label : str
        What it is called: its file's name, or its slide's.
    features : list of dict
        GeoJSON features, level-0 pixels.
    name : str
        Of the image that it is for, with or without the ending of the file.
    entry : str or None
        Id of the project's entry, where the mask says it.
    path : Path or None
        The slide that it was made of.
    fingerprint : str or None
        Of that slide, or the beginning of it.
    """

    label: str
    features: list[dict[str, Any]]
    name: str
    entry: str | None = None
    path: Path | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Match:
    """What was found for a mask.

    Attributes
    ----------
    mask : Mask
    image : ProjectImage or None
        None where none fits, or more than one.
    by : str
        What told it.
    candidates : tuple of ProjectImage
        Where there is more than one.
    """

    mask: Mask
    image: ProjectImage | None
    by: str
    candidates: tuple[ProjectImage, ...] = field(default=())


def match(
    masks: Sequence[Mask],
    images: Sequence[ProjectImage],
    decided: Mapping[str, str],
    fingerprint: Callable[[Path], str | None],
) -> list[Match]:
    """Find the image of each mask; an image for which two masks come gets neither.

    Parameters
    ----------
    masks : sequence of Mask
    images : sequence of ProjectImage
    decided : mapping of str to str
        Entry id or name of the image by a mask's label: what the user said.
    fingerprint : callable
        Of a slide's file; None where it cannot be read. Called only where nothing else told.

    Returns
    -------
    list of Match
        In the order of the masks.
    """
    found = [_find(mask, images, decided, fingerprint) for mask in masks]
    wanted = [each.image.id for each in found if each.image]
    return [
        Match(each.mask, None, "another mask is for that image too", (each.image,))
        if each.image and wanted.count(each.image.id) > 1
        else each
        for each in found
    ]


def read_decisions(file: Path) -> dict[str, str]:
    """Read which image a mask is for from a CSV file of two columns: mask, image.

    The image is its entry id or its name; a first line with `mask` in it is a heading.

    Raises
    ------
    InvalidInputError
        If the file is none, or names a mask twice.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if any(row)]
    except (OSError, ValueError, csv.Error) as err:
        raise InvalidInputError(
            f"{file} cannot be read: {getattr(err, 'strerror', None) or err}.",
            hint="Give a CSV file in UTF-8 with two columns: mask, image.",
        ) from err
    if rows and rows[0][0].lower() == "mask":
        rows = rows[1:]
    decided: dict[str, str] = {}
    for row in rows:
        if len(row) != 2 or not all(row) or row[0] in decided:
            raise InvalidInputError(
                f"{file} has a line that is not one mask and one image: {','.join(row)!r}.",
                hint="Each line is the name of a mask's file, a comma, and the image's name or id.",
            )
        decided[row[0]] = row[1]
    return decided


def _find(
    mask: Mask,
    images: Sequence[ProjectImage],
    decided: Mapping[str, str],
    fingerprint: Callable[[Path], str | None],
) -> Match:
    said = decided.get(mask.label)
    if said is not None:
        by_id = [image for image in images if image.id == said]
        return _one(mask, by_id or [image for image in images if image.name == said], "--match")
    rules: list[tuple[str, Callable[[ProjectImage], bool]]] = [
        ("entry id", lambda image: mask.entry is not None and image.id == mask.entry),
        ("file", lambda image: mask.path is not None and image.path == mask.path),
        ("content", lambda image: _is_content(mask, image, fingerprint)),
        ("name", lambda image: image.name == mask.name),
        ("name without ending", lambda image: _stem(image.name) == _stem(mask.name)),
    ]
    for by, fits in rules:
        found = [image for image in images if fits(image)]
        if found:
            return _one(mask, found, by)
    return Match(mask, None, "no image of the project fits")


def _is_content(mask: Mask, image: ProjectImage, fingerprint: Callable[[Path], str | None]) -> bool:
    if mask.fingerprint is None or image.path is None:
        return False
    found = fingerprint(image.path)
    return found is not None and found.startswith(mask.fingerprint)


def _one(mask: Mask, found: Sequence[ProjectImage], by: str) -> Match:
    if len(found) == 1:
        return Match(mask, found[0], by)
    if not found:
        return Match(mask, None, f"{by} names no image of the project")
    return Match(mask, None, f"{len(found)} images fit by {by}", tuple(found))


def _stem(name: str) -> str:
    return PurePath(name).stem
