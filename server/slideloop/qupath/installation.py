"""Where QuPath is installed, and which version.

Owns the usual places and the installers' layouts; reads names of files only and starts nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "PAQUO_QUPATH_DIR"
"""Names the folder of QuPath; paquo reads it too."""

OLDEST = (0, 5)
"""Oldest version whose scripting has all that slideloop's scripts call."""

USUAL_PLACES = (
    "/opt",
    "/usr/local",
    "/Applications",
    "~/Applications",
    "C:/Program Files",
    "~/AppData/Local",
    "~",
)
"""Folders that installers and users put QuPath into, on Linux, macOS and Windows."""

# Beside a folder's own layout, that of an archive unpacked into a folder of its name.
_JAR_FOLDERS = ("lib/app", "app", "Contents/app", "QuPath/lib/app")
_JAR = re.compile(r"qupath-(?:app|core|gui-fx)-(\d+\.\d+\.\d+(?:-[\w.]+)?)\.jar", re.IGNORECASE)
_IN_NAME = re.compile(r"\d+\.\d+\.\d+(?:-(?:rc|SNAPSHOT)\w*)?")


@dataclass(frozen=True)
class QuPath:
    """An installed QuPath.

    Attributes
    ----------
    folder : Path
        What `PAQUO_QUPATH_DIR` would name.
    version : str or None
        Such as "0.5.1"; None if neither its files nor its folder say.
    """

    folder: Path
    version: str | None

    @property
    def number(self) -> tuple[int, ...]:
        """Major, minor and patch, for comparing; empty if the version is not known."""
        return version_number(self.version)


def version_number(version: str | None) -> tuple[int, ...]:
    """Return the numbers of a version such as "0.6.0-rc3", for comparing; empty for None."""
    numbers = (version or "").split("-")[0].split(".")
    return tuple(int(part) for part in numbers if part.isdigit())


def find_qupath(
    environment: Mapping[str, str] = os.environ, places: Iterable[str | Path] = USUAL_PLACES
) -> QuPath | None:
    """Find QuPath: the one that `PAQUO_QUPATH_DIR` names, else the newest in the usual places.

    Parameters
    ----------
    environment : mapping of str to str
    places : iterable of str or Path
        Folders in which one is looked for, `~` being the user's.

    Returns
    -------
    QuPath or None
        None if there is none; where the variable names something else, no other one is taken.
    """
    named = environment.get(VARIABLE)
    if named:
        return look_into(Path(named).expanduser())
    found = [qupath for place in places for qupath in _inside(Path(place).expanduser())]
    return max(found, key=lambda qupath: qupath.number, default=None)


def look_into(folder: Path) -> QuPath | None:
    """Tell whether a folder is an installed QuPath, by the jars in it.

    Parameters
    ----------
    folder : Path
        Of the installer's layout: `lib/app` on Linux, `app` on Windows, `Contents/app` on macOS.
    """
    for inner in _JAR_FOLDERS:
        versions = [match[1] for name in _names(folder / inner) if (match := _JAR.fullmatch(name))]
        if versions:
            return QuPath(folder / "QuPath" if inner.startswith("QuPath/") else folder, versions[0])
        if any(name.lower().startswith("qupath") for name in _names(folder / inner)):
            in_name = _IN_NAME.search(folder.name)
            return QuPath(folder, in_name[0] if in_name else None)
    return None


def _inside(place: Path) -> list[QuPath]:
    folders = (place / name for name in _names(place) if name.lower().startswith("qupath"))
    return [qupath for folder in folders if (qupath := look_into(folder))]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
