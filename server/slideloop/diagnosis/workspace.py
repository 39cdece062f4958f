"""Whether the workspace can be used: on a local drive, writable, of this version, with room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from slideloop.diagnosis.encoders import FACTS
from slideloop.diagnosis.finding import Finding, size
from slideloop.errors import SlideloopError

if TYPE_CHECKING:
    from slideloop.settings import Settings

TYPICAL_PATCHES = 12_500
"""Patches of a slide that is not known yet: 25 x 16 mm at 0.5 um/px, half of it tissue."""

_FULL_DISK = 100 * 10**6
"""Bytes that journal, masks and unfinished files want in any case."""


def check_workspace(workspace: Path) -> Finding:
    """Look at a workspace without making it or writing into it.

    Parameters
    ----------
    workspace : Path
        It need not exist: then the folder in which it would be made is looked at.
    """
    from slideloop.studies.ledger import require_local_drive

    choose = "Choose another one with --workspace DIR."
    there = _existing(workspace)
    if not there.is_dir():
        found = f"{there} is not a folder, so the workspace {workspace} cannot be."
        return Finding("workspace", "problem", found, choose)
    try:
        require_local_drive(there)
    except SlideloopError as err:
        return Finding("workspace", "problem", err.message, err.hint or choose)
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding("workspace", "problem", f"{there} may not be written.", choose)
    if there != workspace:
        return Finding("workspace", "ok", f"{workspace}, on a local drive; made when needed.")
    return _check_database(workspace, choose)


def _check_database(workspace: Path, choose: str) -> Finding:
    from slideloop.studies.ledger import open_ledger

    if not (workspace / "slideloop.db").exists():
        return Finding("workspace", "ok", f"{workspace}, on a local drive; no studies yet.")
    try:
        ledger = open_ledger(workspace, read_only=True)
        try:
            n_studies = len(ledger.study_ids())
        finally:
            ledger.close()
    except SlideloopError as err:
        return Finding("workspace", "problem", err.message, err.hint or choose)
    studies = "1 study" if n_studies == 1 else f"{n_studies:,} studies"
    return Finding("workspace", "ok", f"{workspace}, on a local drive; {studies}.")


def check_disk(workspace: Path, settings: Settings, n_patches: int | None) -> Finding:
    """Compare the free space with what the features of a slide need.

    Parameters
    ----------
    workspace : Path
    settings : Settings
        Encoder and store decide how much a patch needs.
    n_patches : int or None
        Cells of the slide's grid, the most that may be kept; None: a slide of usual size.
    """
    folder = _existing(workspace)
    try:
        free = shutil.disk_usage(folder).free
    except OSError as err:
        return Finding("disk", "warning", f"The free space is not known ({err.strerror}).")
    facts = FACTS.get(settings.encoder, FACTS["resnet18"])
    need = (n_patches or TYPICAL_PATCHES) * facts.patch_bytes(settings.store)
    what = f"this slide of {n_patches:,} patches" if n_patches else "a slide of usual size"
    about = "up to " if n_patches else "about "
    found = f"{size(free)} are free at {folder}; {what} needs {about}{size(need)}."
    smaller = "" if settings.store == "pooled" else ", or use --store pooled (50 times smaller)"
    todo = f"Make room, choose another drive with --workspace DIR{smaller}."
    if free < _FULL_DISK:
        return Finding("disk", "problem", found, todo)
    return Finding("disk", "warning", found, todo) if free < need else Finding("disk", "ok", found)


def _existing(path: Path) -> Path:
    """Return the path itself or the nearest folder above it that is there; else its drive."""
    above = (path, *path.absolute().parents)
    return next((folder for folder in above if os.path.lexists(folder)), Path(path.anchor))
