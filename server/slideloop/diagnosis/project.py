"""Whether a QuPath project and QuPath itself are there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from slideloop.diagnosis.finding import Finding, size
from slideloop.qupath.installation import OLDEST, VARIABLE, find_qupath

_MOST_BYTES = 256 * 10**6


def check_qupath() -> Finding:
    """Say whether QuPath was found, and whether its version will do."""
    named = os.environ.get(VARIABLE)
    qupath = find_qupath()
    if qupath is None and named:
        found = f"{VARIABLE} names {named}, where there is no QuPath."
        todo = "Let it name the folder into which QuPath was installed, or unset it."
        return Finding("qupath", "problem", found, todo)
    if qupath is None:
        todo = (
            f"Install it from qupath.github.io; if it lies elsewhere, set {VARIABLE} to its "
            "folder. Only the import into closed projects needs it on this machine."
        )
        return Finding("qupath", "warning", "QuPath was not found in the usual places.", todo)
    found = f"QuPath {qupath.version or 'of unknown version'} in {qupath.folder}."
    if qupath.version and qupath.number < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return Finding("qupath", "problem", found, f"Install QuPath {oldest} or a newer one.")
    return Finding("qupath", "ok", found)


def check_project(path: Path) -> Finding:
    """Say whether a project can be read; neither its images nor its data are opened.

    Parameters
    ----------
    path : Path
        The .qpproj file, or the folder with `project.qpproj` in it.
    """
    file = path / "project.qpproj" if path.is_dir() else path
    todo = "Give the .qpproj file of a QuPath project, or its folder."
    if not file.is_file():
        return Finding("project", "problem", f"There is no project {file}.", todo)
    if file.suffix.lower() != ".qpproj":
        return Finding("project", "problem", f"{file} is not a .qpproj file.", todo)
    problem, content = _read(file)
    if problem is not None:
        return problem
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        return Finding("project", "problem", f"{file} lists no images.", todo)
    version = content.get("version")
    by = f"by QuPath {version}" if isinstance(version, str) else "by a QuPath of unknown version"
    return Finding("project", "ok", f"{file}: {len(images):,} images, written {by}.")


def _read(file: Path) -> tuple[Finding | None, Any]:
    """Read a project's JSON, or say why it cannot be."""
    try:
        n_bytes = file.stat().st_size
        if n_bytes > _MOST_BYTES:
            found = f"{file} is too large for a project ({size(n_bytes)})."
            return Finding("project", "problem", found, "Is it another file?"), None
        return None, json.loads(file.read_bytes())
    except OSError as err:
        found = f"{file} cannot be read ({err.strerror})."
        return Finding("project", "problem", found, "Ask for permission to read it."), None
    except (ValueError, RecursionError):
        backup = "QuPath keeps the state before the last save beside it, as .qpproj.backup."
        return Finding("project", "problem", f"{file} is damaged: it is not JSON.", backup), None
