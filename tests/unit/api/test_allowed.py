"""Folders that are allowed while a server runs, and remembered."""

from __future__ import annotations

import json
from pathlib import Path, PureWindowsPath

import pytest

from slideloop.api.allowed import FILE, AllowedFolders
from slideloop.api.paths import Roots
from slideloop.errors import OutputError, SlideNotFoundError


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """What the server reads from the start."""
    folder = tmp_path / "start"
    folder.mkdir()
    return folder


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    file = tmp_path / "Größe #1 100%" / "a b.svs"
    file.parent.mkdir()
    file.write_bytes(b"")
    return file


@pytest.mark.parametrize("as_uri", [False, True])
def test_a_folder_is_read_once_it_was_allowed(
    tmp_path: Path, start: Path, slide: Path, as_uri: bool
) -> None:
    roots = Roots([start])
    allowed = AllowedFolders(roots, tmp_path)
    with pytest.raises(SlideNotFoundError):
        roots.find(str(slide))
    assert allowed.add(slide.parent.as_uri() if as_uri else str(slide.parent)) == slide.parent
    assert roots.find(slide.as_uri()) == slide


def test_it_is_remembered_and_twice_is_once(tmp_path: Path, start: Path, slide: Path) -> None:
    allowed = AllowedFolders(Roots([start]), tmp_path)
    for _ in range(2):
        allowed.add(str(slide.parent))
    assert json.loads((tmp_path / FILE).read_bytes()) == [str(slide.parent)]
    later = Roots([start])
    AllowedFolders(later, tmp_path)
    assert later.find(str(slide)) == slide
    assert later.folders == [start, slide.parent]


def test_a_folder_that_is_gone_does_not_keep_the_server_from_starting(
    tmp_path: Path, start: Path, slide: Path
) -> None:
    AllowedFolders(Roots([start]), tmp_path).add(str(slide.parent))
    slide.unlink()
    slide.parent.rmdir()
    later = Roots([start])
    AllowedFolders(later, tmp_path)
    assert later.folders == [start]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[1, null]", b"\xff"])
def test_a_damaged_record_is_none(tmp_path: Path, start: Path, slide: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    AllowedFolders(Roots([start]), tmp_path).add(str(slide.parent))
    assert json.loads((tmp_path / FILE).read_bytes()) == [str(slide.parent)]


@pytest.mark.parametrize("text", ["start", "", "/nowhere/at/all", "file:///x%00", "C:\\slides"])
def test_what_is_no_folder_here_is_not_found(tmp_path: Path, start: Path, text: str) -> None:
    with pytest.raises(SlideNotFoundError):
        AllowedFolders(Roots([start]), tmp_path).add(text)
    assert not (tmp_path / FILE).exists()


def test_a_file_is_no_folder(tmp_path: Path, start: Path, slide: Path) -> None:
    with pytest.raises(SlideNotFoundError):
        AllowedFolders(Roots([start]), tmp_path).add(str(slide))


def test_what_cannot_be_remembered_is_not_allowed(tmp_path: Path, start: Path, slide: Path) -> None:
    roots = Roots([start])
    allowed = AllowedFolders(roots, tmp_path / "no such folder")
    with pytest.raises(OutputError):
        allowed.add(str(slide.parent))
    assert roots.folders == [start]


def test_a_share_that_was_allowed_is_translated_under_windows() -> None:
    share = PureWindowsPath(r"\\pathology\slides")
    roots = Roots([PureWindowsPath(r"C:\start")], flavour=PureWindowsPath)
    with pytest.raises(SlideNotFoundError):
        roots.translated(r"\\pathology\slides\2026\a.svs")
    roots.allow(share)  # type: ignore[arg-type]
    for text in (r"\\PATHOLOGY\Slides\2026\a.svs", "file://pathology/slides/2026/a.svs"):
        assert roots.translated(text) == share / "2026" / "a.svs"
