"""Whether a slide can be used, and whether the server has the same one.

Owns the comparison of what our reader says with what the server lists. The file is opened as
anywhere for the first time, in a child process, which takes a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from slideloop.diagnosis.finding import Finding, size
from slideloop.diagnosis.server import printable
from slideloop.errors import GridError, SlideloopError, SlideNotFoundError

if TYPE_CHECKING:
    from slideloop.diagnosis.server import Server
    from slideloop.settings import Settings
    from slideloop.slides.reader import SlideInfo

SAME_MPP = 0.01
"""Share by which two statements of um/px may differ, as in the check at POST /slides."""

HASHED_BYTES = 10**9
"""Largest file whose content is compared, not its size and um/px alone: some 2 s."""


@dataclass(frozen=True)
class SlideDiagnosis:
    """What was found of a slide.

    Attributes
    ----------
    findings : list of Finding
    n_patches : int or None
        Cells of its grid; None if it has none.
    """

    findings: list[Finding]
    n_patches: int | None = None


def check_slide_file(path: Path, settings: Settings, server: Server) -> SlideDiagnosis:
    """Open a slide and compare it with the server's.

    Parameters
    ----------
    path : Path
        As this machine names it.
    settings : Settings
        How it would be cut.
    server : Server
        What was learnt of the server.
    """
    from slideloop.slides.grid import make_grid
    from slideloop.slides.opening import check_slide

    try:
        info = check_slide(path)
    except SlideNotFoundError as err:
        return SlideDiagnosis([_not_here(path, server, err)])
    except SlideloopError as err:
        return SlideDiagnosis([Finding("slide", "problem", err.message, err.hint)])
    mpp = info.mpp or settings.assume_mpp
    findings = [_compare(info, server), _check_mpp(info, settings)]
    try:
        grid = make_grid(
            info.width, info.height, mpp, settings.patch, settings.stride, settings.mpp
        )
    except SlideloopError as err:
        # A resolution that cannot be had is said of the um/px already.
        if isinstance(err, GridError) or mpp is not None:
            findings.insert(0, Finding("slide", "problem", err.message, err.hint))
        return SlideDiagnosis(findings)
    return SlideDiagnosis(findings, grid.n_cells)


def _not_here(path: Path, server: Server, err: SlideNotFoundError) -> Finding:
    """Say of a file that is not here whether a server elsewhere has one of its name."""
    same_name = [slide for slide in server.slides or [] if _name(slide.get("path")) == path.name]
    if same_name and not server.is_here:
        where = printable(same_name[0]["path"])
        found = f"There is no file {path} here; the server has one of this name at {where}."
        todo = f"Start the server with --map to translate {path.parent} to its own folder."
        return Finding("slide", "warning", found, todo)
    return Finding("slide", "problem", err.message, err.hint)


def _compare(info: SlideInfo, server: Server) -> Finding:
    """Compare a slide that opens with the one that the server lists."""
    what = f"{info.path.name}: {info.width} x {info.height} px, read with {info.reader}"
    notes = " ".join(info.notes)
    if server.slides is None:
        return Finding("slide", "ok", f"{what}; the server could not be asked. {notes}".strip())
    listed = _listed(info.path, server)
    if listed is None:
        todo = (
            "Open it from QuPath. If the server does not find it: it must lie below a "
            "--slides-root of the server, or be translated there with --map."
        )
        return Finding("slide", "ok", f"{what}; the server has not been given it yet.", todo)
    if listed.get("state") in {"missing", "failed"}:
        problem = listed.get("problem") or {}
        reason = problem.get("detail") or f"its state is {listed['state']}"
        todo = problem.get("hint") or "Open it again from QuPath, at the place where it lies now."
        found = f"{what}; the server cannot use it: {printable(reason)}"
        return Finding("slide", "problem", found, printable(todo))
    difference = _difference(info, listed)
    if difference is not None:
        todo = "Is it the same file? A slide must not be changed in place: give it another name."
        return Finding("slide", "problem", f"{what}; {difference}.", todo)
    patches = f"{listed.get('n_indexed', 0):,} of {listed.get('n_patches') or 0:,} patches indexed"
    how = "by content" if _is_hashed(info.path) else f"by size and um/px ({_bytes(info.path)})"
    found = f"{what}; the server has the same one, {how}, {patches}. {notes}".strip()
    return Finding("slide", "ok", found)


def _listed(path: Path, server: Server) -> dict[str, Any] | None:
    """Find a file among the server's slides: by its path, elsewhere also by its name."""
    resolved = str(path.resolve())
    slides = server.slides or []
    by_path = [slide for slide in slides if slide.get("path") == resolved]
    by_name = [slide for slide in slides if _name(slide.get("path")) == path.name]
    found = by_path or ([] if server.is_here else by_name)
    return found[-1] if found else None


def _name(path: object) -> str:
    """Return the last part of a path of a machine of either kind."""
    text = str(path or "")
    kind = PureWindowsPath if "\\" in text else PurePosixPath
    return kind(text).name


def _difference(info: SlideInfo, listed: dict[str, Any]) -> str | None:
    """Say how the server's slide differs from this one, or None."""
    theirs = listed.get("width"), listed.get("height")
    if theirs != (info.width, info.height):
        return f"the server's is {theirs[0]} x {theirs[1]} px"
    mpp = listed.get("mpp")
    if info.mpp and isinstance(mpp, (int, float)) and abs(mpp / info.mpp - 1) > SAME_MPP:
        return f"its pixels are {info.mpp:g} um wide, the server's {mpp:g} um"
    if _is_hashed(info.path):
        from slideloop.slides.fingerprint import fingerprint

        if fingerprint(info.path) != listed.get("fingerprint"):
            return "its content is not the server's"
    return None


def _is_hashed(path: Path) -> bool:
    return path.stat().st_size <= HASHED_BYTES and path.suffix.lower() != ".mrxs"


def _bytes(path: Path) -> str:
    return size(path.stat().st_size)


def _check_mpp(info: SlideInfo, settings: Settings) -> Finding:
    if info.mpp is not None:
        return Finding("mpp", "ok", f"{info.mpp:g} um/px, says the file.")
    if settings.assume_mpp is not None:
        found = f"The file does not say its um/px; {settings.assume_mpp:g} is assumed."
        return Finding("mpp", "ok", found)
    if settings.mpp is not None:
        found = f"Patches at {settings.mpp:g} um/px are wanted, but the file does not say its own."
        return Finding("mpp", "problem", found, "Give it with --assume-mpp.")
    found = "The file does not say its um/px: lengths and other slides cannot be compared with it."
    return Finding("mpp", "warning", found, "Give it with --assume-mpp.")
