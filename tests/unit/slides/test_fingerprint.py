"""A slide is known by its content, wherever it lies."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from slideloop.errors import SlideNotFoundError, UnreadableSlideError
from slideloop.slides.fingerprint import FingerprintCache, fingerprint


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    path = tmp_path / "slide.svs"
    path.write_bytes(bytes(range(256)) * 2000)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> FingerprintCache:
    return FingerprintCache(tmp_path / "cache" / "fingerprints.json", settle_s=0)


def change_in_the_middle(path: Path) -> None:
    """Flip one bit and put the modification time back."""
    before = path.stat()
    with path.open("r+b") as stream:
        stream.seek(before.st_size // 2)
        byte = stream.read(1)[0]
        stream.seek(before.st_size // 2)
        stream.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def make_mrxs(folder: Path, name: str = "scan") -> Path:
    (folder / name / "deep").mkdir(parents=True)
    (folder / name / "Data0001.dat").write_bytes(b"one")
    (folder / name / "deep" / "Index.dat").write_bytes(b"two")
    path = folder / f"{name}.mrxs"
    path.write_bytes(b"overview")
    return path


def test_it_is_the_sha_256_of_the_content(slide):
    assert fingerprint(slide) == hashlib.sha256(slide.read_bytes()).hexdigest()


def test_a_moved_file_keeps_its_fingerprint(slide, tmp_path, cache):
    before = fingerprint(slide, cache)
    (tmp_path / "elsewhere").mkdir()
    moved = slide.rename(tmp_path / "elsewhere" / "other name.tif")
    assert fingerprint(moved, cache) == before


def test_a_change_in_the_middle_with_the_time_put_back_is_seen(slide):
    before = fingerprint(slide)
    change_in_the_middle(slide)
    assert fingerprint(slide) != before


@pytest.mark.skipif(sys.platform == "win32", reason="no change time on Windows")
def test_the_cache_sees_a_change_with_the_time_put_back(slide, cache):
    before = fingerprint(slide, cache)
    assert fingerprint(slide, cache) == before
    change_in_the_middle(slide)
    assert fingerprint(slide, cache) != before


def test_a_known_file_is_not_read_again(slide, cache, tmp_path):
    before = fingerprint(slide, cache)
    stored = tmp_path / "cache" / "fingerprints.json"
    # Another value put in its place comes back: so it came from the cache.
    stored.write_text(stored.read_text().replace(before, "f" * 64))
    assert fingerprint(slide, cache) == "f" * 64


def test_the_cache_is_shared_by_a_link_to_the_file(slide, cache, tmp_path):
    link = tmp_path / "link.svs"
    link.symlink_to(slide)
    assert fingerprint(link, cache) == fingerprint(slide, cache)
    stored = json.loads((tmp_path / "cache" / "fingerprints.json").read_text())
    assert list(stored["entries"]) == [str(slide.resolve())]


def test_a_file_that_just_changed_is_not_kept(slide, tmp_path):
    os.utime(slide)
    fingerprint(slide, FingerprintCache(tmp_path / "cache.json", settle_s=3600))
    assert not (tmp_path / "cache.json").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b'{"version": 1}',
        b'{"version": 1, "entries": []}',
        b'{"version": 99, "entries": {}}',
        b"[" * 100_000,
    ],
    ids=lambda content: repr(content[:30]),
)
def test_a_damaged_cache_counts_as_empty(slide, cache, tmp_path, content):
    (tmp_path / "cache").mkdir()
    stored = tmp_path / "cache" / "fingerprints.json"
    stored.write_bytes(content)
    assert fingerprint(slide, cache) == hashlib.sha256(slide.read_bytes()).hexdigest()
    assert len(json.loads(stored.read_text())["entries"]) == 1


@pytest.mark.parametrize("entry", ['"text"', "[]", '{"stamp": 5}', '{"sha256": 7}'])
def test_a_damaged_entry_is_replaced(slide, cache, tmp_path, entry):
    (tmp_path / "cache").mkdir()
    stored = tmp_path / "cache" / "fingerprints.json"
    name = json.dumps(str(slide.resolve()))
    stored.write_text(f'{{"version": 1, "entries": {{{name}: {entry}}}}}')
    assert fingerprint(slide, cache) == hashlib.sha256(slide.read_bytes()).hexdigest()


def test_the_cache_leaves_no_temporary_file(slide, cache, tmp_path):
    fingerprint(slide, cache)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["fingerprints.json"]


def test_a_cache_that_cannot_be_written_is_only_a_warning(slide, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    cache = FingerprintCache(tmp_path / "file" / "cache.json", settle_s=0)
    assert fingerprint(slide, cache) == hashlib.sha256(slide.read_bytes()).hexdigest()
    assert "cannot be written" in caplog.text


def test_a_moved_mrxs_keeps_its_fingerprint(tmp_path):
    (tmp_path / "a").mkdir()
    before = fingerprint(make_mrxs(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "scan").rename(tmp_path / "b" / "renamed")
    (tmp_path / "b" / "scan.mrxs").rename(tmp_path / "b" / "renamed.mrxs")
    assert fingerprint(tmp_path / "b" / "renamed.mrxs") == before


def test_a_change_in_the_folder_of_an_mrxs_is_seen(tmp_path, cache):
    path = make_mrxs(tmp_path)
    seen = {fingerprint(path, cache)}
    change_in_the_middle(tmp_path / "scan" / "deep" / "Index.dat")
    seen.add(fingerprint(path, cache))
    (tmp_path / "scan" / "Data0001.dat").rename(tmp_path / "scan" / "Data0002.dat")
    seen.add(fingerprint(path, cache))
    (tmp_path / "scan" / "Data0002.dat").unlink()
    seen.add(fingerprint(path, cache))
    assert len(seen) == 4


def test_files_beside_another_slide_do_not_count(slide):
    before = fingerprint(slide)
    (slide.parent / "slide").mkdir()
    (slide.parent / "slide" / "notes.txt").write_text("x")
    assert fingerprint(slide) == before


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SlideNotFoundError, match=r"missing\.svs"):
        fingerprint(tmp_path / "missing.svs")


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="needs a user who may be refused"
)
def test_a_file_that_may_not_be_read_is_named(slide):
    slide.chmod(0)
    with pytest.raises(UnreadableSlideError, match="may not be read"):
        fingerprint(slide)
