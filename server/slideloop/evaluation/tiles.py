"""Tile folders, `CLASS/file`: the layout of the CRC data sets.

Owns the listing only; the images are opened by whoever embeds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slideloop.errors import TruthError

TILE_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg"})


@dataclass(frozen=True)
class TileFolder:
    """The tiles of a folder and their classes.

    Parameters
    ----------
    classes : tuple of str
        Names of the sub-folders, sorted.
    files : tuple of (str, Path)
        Class and file of every tile, sorted by class, then by file name.
    """

    classes: tuple[str, ...]
    files: tuple[tuple[str, Path], ...]


def read_tile_folder(folder: Path) -> TileFolder:
    """List the tiles of a folder with one sub-folder per class.

    Parameters
    ----------
    folder : Path
        Holds `CLASS/file` with files in TIFF, PNG or JPEG, their suffix in any case. Hidden files
        and folders, and files of other kinds, are passed over.

    Returns
    -------
    TileFolder
        In an order that does not depend on the file system.

    Raises
    ------
    TruthError
        If there is no such folder, it has no class folders, or one of them has no tiles.
    """
    hint = "Give a folder that holds one sub-folder per class, with the tiles in it."
    if not folder.is_dir():
        raise TruthError(f"There is no folder {folder}.", hint=hint)
    try:
        class_folders = sorted(
            item for item in folder.iterdir() if item.is_dir() and not item.name.startswith(".")
        )
        files = [(item.name, tile) for item in class_folders for tile in _tiles(item)]
    except OSError as err:
        raise TruthError(f"{folder} cannot be read: {err.strerror or err}.", hint=hint) from err
    if not class_folders:
        raise TruthError(f"{folder} has no class folders.", hint=hint)
    with_tiles = {name for name, _ in files}
    for item in class_folders:
        if item.name not in with_tiles:
            raise TruthError(
                f"The class folder {item} has no tiles.",
                hint="Put TIFF, PNG or JPEG files in it, or remove it.",
            )
    return TileFolder(tuple(item.name for item in class_folders), tuple(files))


def _tiles(folder: Path) -> list[Path]:
    return sorted(
        item
        for item in folder.iterdir()
        if item.suffix.lower() in TILE_SUFFIXES and item.is_file() and not item.name.startswith(".")
    )
