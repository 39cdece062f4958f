"""Who else may be at work on a project: QuPath has no lock, and the last writer wins.

Owns our lock, and the signs by which an open QuPath can be told.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from filelock import FileLock, Timeout

from slideloop.errors import ProjectError, ProjectOpenError
from slideloop.files import unwritable
from slideloop.qupath.backups import FOLDER, changes, digest
from slideloop.qupath.installation import QuPath, version_number
from slideloop.qupath.project_file import ProjectFile

RECENT_S = 300.0
"""A project saved within so many seconds may still be open."""

HEARTBEAT = ".slideloop-open-"
"""Begins the name of the file that a QuPath with our scripts keeps beside its open project."""

_STALE_S = 120.0
"""It is written every half minute; an older one is that of a QuPath that was killed."""

_LOCK = "lock"


@contextmanager
def hold_project(project: ProjectFile) -> Iterator[None]:
    """Keep other imports of ours out of a project.

    Raises
    ------
    ProjectOpenError
        If there is one under way.
    OutputError
        If the project's folder cannot be written.
    """
    folder = project.folder / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        lock = FileLock(folder / _LOCK)
        lock.acquire(timeout=0)
    except Timeout as err:
        raise ProjectOpenError(
            f"Another import into {project.folder} is under way.", hint="Try again when it is done."
        ) from err
    except OSError as err:
        raise unwritable(folder, err) from err
    try:
        yield
    finally:
        lock.release()


def require_unopened(project: ProjectFile) -> None:
    """Refuse a project that a QuPath with our scripts says it has open.

    Raises
    ------
    ProjectOpenError
    """
    opened = opened_by(project)
    if opened is not None:
        raise ProjectOpenError(
            f"The project is open in QuPath ({opened}), which would overwrite what is imported.",
            hint="Close it there. If that QuPath has crashed, try again in two minutes.",
        )


def opened_by(project: ProjectFile) -> str | None:
    """Return who has a project open, in words, as far as that can be told; None for nobody."""
    for said in _beats(project):
        named = [str(said[key]) for key in ("user", "host") if said.get(key)]
        return " on ".join(named) or "somebody"
    return None


def unsaved_in(project: ProjectFile) -> set[str]:
    """Return the entry ids of images that were changed in an open QuPath and not saved."""
    found: set[str] = set()
    for said in _beats(project):
        ids = said.get("unsaved")
        if isinstance(ids, list):
            found |= set(map(str, cast(list[Any], ids)))
    return found


def _beats(project: ProjectFile) -> Iterator[dict[str, Any]]:
    """Yield what each QuPath says that has the project open; nothing of one that is not clear."""
    for file in sorted(project.folder.glob(f"{HEARTBEAT}*.json")):
        try:
            if time.time() - file.stat().st_mtime > _STALE_S:
                continue
            said: Any = json.loads(file.read_bytes())
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            said = None
        yield cast(dict[str, Any], said) if isinstance(said, dict) else {}


def require_closed(project: ProjectFile) -> None:
    """Refuse a project that was saved just now, by others than us.

    Raises
    ------
    ProjectOpenError
    """
    ours = {(each.image, each.after) for each in changes(project)}
    saved = [(project.file.stat().st_mtime, None)]
    saved += [
        (image.data.stat().st_mtime, image) for image in project.images if image.data.exists()
    ]
    for at, image in sorted(saved, key=lambda each: -each[0]):
        ago_s = time.time() - at
        if ago_s >= RECENT_S:
            return
        if image is None or (image.id, digest(image.data)) not in ours:
            what = "The project" if image is None else f"The image {image.name}"
            raise ProjectOpenError(
                f"{what} was saved {max(0, ago_s) / 60:.0f} minutes ago, so QuPath may still have "
                "it open, and would overwrite what is imported.",
                hint="Close the project in QuPath, then import with --force.",
            )


def require_older(project: ProjectFile, qupath: QuPath) -> None:
    """Refuse a project that a newer QuPath wrote: an older one may not understand all of it.

    Raises
    ------
    ProjectError
    """
    written = version_number(project.version)
    if written and qupath.number and written[:2] > qupath.number[:2]:
        raise ProjectError(
            f"The project was saved by QuPath {project.version}, and the one here is "
            f"{qupath.version}.",
            hint="Install a QuPath that is as new, or let PAQUO_QUPATH_DIR name one.",
        )
