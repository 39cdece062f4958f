"""Tile folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from slideloop.errors import TruthError
from slideloop.evaluation.tiles import read_tile_folder


def test_tiles_are_listed_by_class_and_name_with_suffixes_in_any_case(tmp_path: Path):
    for name in ("TUM/b.TIF", "TUM/a.png", "ADI/c.Jpg", "ADI/notes.txt", "ADI/.hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / ".cache").mkdir()
    folder = read_tile_folder(tmp_path)
    assert folder.classes == ("ADI", "TUM")
    assert [(name, path.name) for name, path in folder.files] == [
        ("ADI", "c.Jpg"),
        ("TUM", "a.png"),
        ("TUM", "b.TIF"),
    ]


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(TruthError, match="no folder"):
        read_tile_folder(tmp_path / "none")


def test_a_folder_without_classes_is_named(tmp_path: Path):
    (tmp_path / "a.png").touch()
    with pytest.raises(TruthError, match="no class folders"):
        read_tile_folder(tmp_path)


def test_a_class_without_tiles_is_named(tmp_path: Path):
    (tmp_path / "TUM").mkdir()
    with pytest.raises(TruthError, match="TUM"):
        read_tile_folder(tmp_path)


def test_the_crc_tiles_are_all_found(shared_data: Path):
    folder = read_tile_folder(shared_data / "tiles" / "crc")
    assert len(folder.classes) == 9
    assert len(folder.files) == 41
