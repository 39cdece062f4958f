"""The scripts for QuPath in a folder of the user's, that is the same for every QuPath and release.

Owns what is written there and taken away: what somebody has edited is kept beside it as `.bak`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from platformdirs import user_data_path

from slideloop import __version__
from slideloop.errors import InvalidInputError
from slideloop.files import unwritable, whole_file

START = "startup.groovy"
"""What QuPath runs when it starts."""

_RECORD = "installed.json"
_NOTED = Path("lib") / "slideloop" / "installed.txt"
"""Tells the scripts which release they are of."""

_SERVER = Path("lib") / "slideloop" / "server.txt"
"""Tells the scripts how to start a server here: a word of the command per line."""

_KEPT = ".bak"
_ENDINGS = (".groovy", ".css")


@dataclass(frozen=True)
class Outcome:
    """What became of a folder.

    Attributes
    ----------
    folder : Path
    before : str or None
        Release that was there.
    n_files : int
        Written, or removed.
    kept : list of Path
        Copies of what somebody had edited.
    """

    folder: Path
    before: str | None
    n_files: int
    kept: list[Path] = field(default_factory=list[Path])


def default_folder() -> Path:
    """Return where the scripts go unless told otherwise, on this system."""
    return user_data_path("slideloop", appauthor=False) / "qupath"


def source_folder() -> Path:
    """Return the scripts of this release: in the wheel, or in the checkout."""
    here = Path(__file__).parent
    packed = here / "scripts"
    return packed if packed.is_dir() else here.parents[2] / "qupath_scripts"


def install(folder: Path) -> Outcome:
    """Write the scripts of this release, over those of another.

    Parameters
    ----------
    folder : Path
        Made if it is not there. Other files in it are left alone.

    Raises
    ------
    InvalidInputError
        If it is the folder that the scripts are taken from.
    OutputError
        If it cannot be written.
    """
    source = source_folder()
    if folder.exists() and folder.resolve() == source.resolve():
        raise InvalidInputError(
            f"{folder} is where the scripts are taken from.", hint="Choose another folder."
        )
    record = _recorded(folder)
    names = [path.relative_to(source) for path in sorted(source.rglob("*"))]
    wanted = {name: (source / name).read_bytes() for name in names if name.suffix in _ENDINGS}
    wanted[_NOTED] = f"{__version__}\n".encode()
    wanted[_SERVER] = "\n".join([sys.executable, "-m", "slideloop.cli.main", "serve", ""]).encode()
    try:
        # An edited file that the new release lacks is kept too.
        kept = list(_keep_edited(folder, record["files"], wanted))
        for name in map(Path, record["files"]):
            if name not in wanted:
                (folder / name).unlink(missing_ok=True)
        for name, content in wanted.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with whole_file(folder / name) as path:
                path.write_bytes(content)
        files = {name.as_posix(): _digest(content) for name, content in wanted.items()}
        with whole_file(folder / _RECORD) as path:
            text = json.dumps({"version": __version__, "files": files}, indent=1)
            path.write_text(text, "utf-8")
    except OSError as err:
        raise unwritable(folder, err) from err
    return Outcome(folder, record["version"], len(wanted), kept)


def uninstall(folder: Path) -> Outcome:
    """Remove what was installed; what somebody edited stays as `.bak`, and the folder with it.

    Raises
    ------
    InvalidInputError
        If nothing was installed there.
    OutputError
        If it cannot be removed.
    """
    record = _recorded(folder)
    if not record["files"]:
        raise InvalidInputError(
            f"No scripts of slideloop were installed in {folder}.",
            hint="Give the folder with --scripts-dir.",
        )
    try:
        kept = list(_keep_edited(folder, record["files"], {}))
        for name in record["files"]:
            (folder / name).unlink(missing_ok=True)
        (folder / _RECORD).unlink(missing_ok=True)
        parents = {parent for name in record["files"] for parent in (folder / name).parents}
        for parent in sorted(parents, key=lambda each: -len(each.parts)):
            if parent == folder or folder in parent.parents:
                with suppress(OSError):
                    parent.rmdir()
    except OSError as err:
        raise unwritable(folder, err) from err
    return Outcome(folder, record["version"], len(record["files"]), kept)


def left_in_qupath(home: Path) -> list[Path]:
    """Return what the scripts made in QuPath's user folder of each version, and is only theirs.

    Parameters
    ----------
    home : Path
        The user's. Labels that wait for a server are not among it.
    """
    ours = home.glob("QuPath/v*/slideloop")
    names = ("classes", "server.log", "server.log.before")
    return sorted(folder / name for folder in ours for name in names if (folder / name).exists())


def _keep_edited(
    folder: Path, recorded: dict[str, str], wanted: dict[Path, bytes]
) -> Iterator[Path]:
    """Rename files that are neither as they were installed nor as they shall be."""
    for name in {*map(Path, recorded), *wanted}:
        file = folder / name
        if not file.is_file():
            continue
        content = file.read_bytes()
        if _digest(content) != recorded.get(name.as_posix()) and content != wanted.get(name):
            kept = next(each for each in _numbered(file) if not each.exists())
            file.rename(kept)
            yield kept


def _numbered(file: Path) -> Iterator[Path]:
    yield file.with_name(file.name + _KEPT)
    for number in range(2, 10_000):
        yield file.with_name(f"{file.name}.{number}{_KEPT}")


def _recorded(folder: Path) -> dict[str, Any]:
    """Return what was installed: `version`, and `files` with their digests; none of what is not."""
    try:
        found: Any = json.loads((folder / _RECORD).read_bytes())
        files = {
            str(name): str(digest)
            for name, digest in cast(dict[str, Any], found["files"]).items()
            if not Path(name).is_absolute() and ".." not in Path(name).parts
        }
        return {"version": str(found["version"]), "files": files}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {"version": None, "files": {}}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
