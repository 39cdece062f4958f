"""A store goes on where it stopped, and notices every byte that is not its own."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.synthetic_stores import begin_store, features_of, identity_of, rows_of, write_store

from slideloop.errors import StoreDamagedError, StoreMismatchError
from slideloop.features.store import (
    FeatureStore,
    StoreWriter,
    canonical,
    find_store,
    open_store,
    store_id,
)

SHAPE = (8, 2, 2)
FULL = features_of(np.arange(40) % 2, SHAPE)
IDENTITY = identity_of("f" * 64)
FILES = ("cells.npy", "pooled.npy", "full.npy", "manifest.json")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """Forty patches in batches of 16."""
    return write_store(tmp_path, FULL, batch=16)


def read_all(folder: Path) -> None:
    """Use everything that a store holds."""
    store = open_store(folder)
    if store.kind == "full":
        store.features()


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# What is stored ------------------------------------------------------------------------------


def test_a_store_gives_back_what_was_written(store: FeatureStore) -> None:
    assert len(store) == 40
    assert np.array_equal(store.features(), FULL)
    assert np.array_equal(store.pooled, FULL.astype(np.float32).mean((2, 3)).astype(np.float16))
    assert store.cells.tolist() == [[i, 0] for i in range(40)]
    assert store.identity == IDENTITY


def test_a_finished_store_holds_its_arrays_and_manifest_alone(
    store: FeatureStore, tmp_path: Path
) -> None:
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(FILES)
    assert [path.name for path in tmp_path.iterdir()] == [f"{store_id(IDENTITY)}.full"]


def test_features_are_mapped_and_not_read(store: FeatureStore) -> None:
    assert isinstance(store.full, np.memmap)
    assert isinstance(store.pooled, np.memmap)


def test_a_store_cannot_be_written_to(store: FeatureStore) -> None:
    with pytest.raises(ValueError, match="read-only"):
        store.pooled[0] = 0


def test_a_pooled_store_has_no_full_features(tmp_path: Path) -> None:
    pooled = write_store(tmp_path, FULL, kind="pooled")
    assert pooled.full is None
    assert not (pooled.folder / "full.npy").exists()
    with pytest.raises(StoreMismatchError, match="pooled only") as caught:
        pooled.features()
    assert "--store full" in caught.value.hint


def test_a_store_is_found_by_its_identity(store: FeatureStore, tmp_path: Path) -> None:
    found = find_store(tmp_path, IDENTITY, "full")
    assert found is not None and found.id == store.id
    assert find_store(tmp_path, identity_of("e" * 64), "full") is None


def test_a_full_store_serves_where_a_pooled_one_is_enough(
    store: FeatureStore, tmp_path: Path
) -> None:
    found = find_store(tmp_path, IDENTITY, "pooled")
    assert found is not None and found.kind == "full"


def test_a_pooled_store_does_not_serve_where_a_full_one_is_wanted(tmp_path: Path) -> None:
    write_store(tmp_path, FULL, kind="pooled")
    assert find_store(tmp_path, IDENTITY, "full") is None
    assert find_store(tmp_path, IDENTITY, "pooled") is not None


def test_the_id_does_not_depend_on_the_order_of_names() -> None:
    assert store_id({"a": 1, "b": {"c": 2, "d": 3}}) == store_id({"b": {"d": 3, "c": 2}, "a": 1})
    assert store_id({"a": 1}) != store_id({"a": 2})


# Prefixes ------------------------------------------------------------------------------------


def test_the_checksum_of_a_prefix_depends_on_that_prefix_alone(
    store: FeatureStore, tmp_path: Path
) -> None:
    shorter = write_store(tmp_path / "short", FULL[:32], batch=16)
    assert shorter.checksum(16) == store.checksum(16)
    assert shorter.checksum(32) == store.checksum(32)
    changed = FULL.copy()
    changed[33, 0, 0, 0] += 1
    other = write_store(tmp_path / "other", changed, batch=16)
    assert other.checksum(32) == store.checksum(32)
    assert other.checksum(40) != store.checksum(40)


def test_prefixes_of_different_length_have_different_checksums(store: FeatureStore) -> None:
    assert len({store.checksum(n) for n in (0, 16, 32, 40)}) == 4


def test_a_prefix_that_ends_within_a_batch_has_no_checksum(store: FeatureStore) -> None:
    with pytest.raises(StoreMismatchError, match="no batch that ends at 17 patches"):
        store.checksum(17)


# Damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 1.0])
def test_a_flipped_bit_is_found(store: FeatureStore, name: str, where: float) -> None:
    path = store.folder / name
    data = bytearray(path.read_bytes())
    data[int(where * (len(data) - 1))] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreDamagedError, match=r"is damaged") as caught:
        read_all(store.folder)
    assert str(store.folder) in caught.value.message
    assert "index the slide again" in caught.value.hint


@pytest.mark.parametrize("name", ["cells.npy", "pooled.npy", "full.npy"])
@pytest.mark.parametrize("flip", [1, 2, 8, 0x80])
def test_no_bit_of_a_header_can_flip_unnoticed(store: FeatureStore, name: str, flip: int) -> None:
    path = store.folder / name
    data = path.read_bytes()
    before = open_store(store.folder)
    expected = (before.cells.tobytes(), before.pooled.tobytes(), before.features().tobytes())
    used = len(data[:128].rstrip()) + 3
    for position in range(used):
        changed = bytearray(data)
        changed[position] ^= flip
        path.write_bytes(changed)
        try:
            after = open_store(store.folder)
            found = (after.cells, after.pooled, after.features())
        except StoreDamagedError:
            continue
        # Harmless, such as a quote of another kind: then all is as it was.
        assert tuple(array.tobytes() for array in found) == expected, position
        assert [array.dtype.str for array in found] == ["<i4", "<f2", "<f2"], position


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_found(store: FeatureStore, name: str, share: float) -> None:
    path = store.folder / name
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(StoreDamagedError):
        read_all(store.folder)


@pytest.mark.parametrize("name", FILES)
def test_a_deleted_file_is_found_and_named(store: FeatureStore, name: str) -> None:
    (store.folder / name).unlink()
    with pytest.raises(StoreDamagedError, match=name.replace(".", r"\.")):
        read_all(store.folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_replaced_by_a_folder_is_found(store: FeatureStore, name: str) -> None:
    (store.folder / name).unlink()
    (store.folder / name).mkdir()
    with pytest.raises(StoreDamagedError):
        read_all(store.folder)


def edited(manifest: dict[str, Any], **changes: Any) -> bytes:
    """A manifest that somebody edited, its checksum made to fit."""
    body = {**{key: manifest[key] for key in manifest if key != "checksum"}, **changes}
    return canonical({**body, "checksum": hashlib.sha256(canonical(body)).hexdigest()})


def test_an_edited_manifest_is_found(store: FeatureStore) -> None:
    path = store.folder / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"resnet18"', b'"resnet34"'))
    with pytest.raises(StoreDamagedError, match=r"manifest\.json.*checksum differs"):
        open_store(store.folder)


@pytest.mark.parametrize(
    "text", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b'{"checksum": NaN, "a": NaN}', b'"text"']
)
def test_a_manifest_that_is_none_is_found(store: FeatureStore, text: bytes) -> None:
    (store.folder / "manifest.json").write_bytes(text)
    with pytest.raises(StoreDamagedError, match=r"manifest\.json"):
        open_store(store.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"batches": []},
        {"batches": [{"n_kept": 40}]},
        {"feature_shape": [8, 2]},
        {"feature_shape": [4, 2, 2]},
    ],
)
def test_a_manifest_that_does_not_fit_its_arrays_is_found(
    store: FeatureStore, changes: dict[str, Any]
) -> None:
    path = store.folder / "manifest.json"
    path.write_bytes(edited(json.loads(path.read_bytes()), **changes))
    with pytest.raises(StoreDamagedError):
        read_all(store.folder)


def test_a_store_of_a_newer_version_is_refused_but_not_called_damaged(store: FeatureStore) -> None:
    path = store.folder / "manifest.json"
    path.write_bytes(edited(json.loads(path.read_bytes()), schema=2))
    with pytest.raises(StoreMismatchError, match="newer slideloop"):
        open_store(store.folder)


def test_a_store_under_another_ones_name_is_refused(store: FeatureStore, tmp_path: Path) -> None:
    other = identity_of("e" * 64)
    shutil.move(store.folder, tmp_path / f"{store_id(other)}.full")
    with pytest.raises(StoreMismatchError, match="something else than its name says"):
        find_store(tmp_path, other, "full")


def test_a_pooled_store_under_the_name_of_a_full_one_is_refused(tmp_path: Path) -> None:
    pooled = write_store(tmp_path, FULL, kind="pooled")
    pooled.folder.rename(tmp_path / f"{pooled.id}.full")
    with pytest.raises(StoreMismatchError):
        find_store(tmp_path, IDENTITY, "full")


def test_arrays_of_another_store_are_found(store: FeatureStore, tmp_path: Path) -> None:
    changed = write_store(tmp_path / "other", FULL + np.float16(1), batch=16)
    shutil.copy(changed.folder / "full.npy", store.folder / "full.npy")
    reopened = open_store(store.folder)
    with pytest.raises(StoreDamagedError, match=r"full\.npy.*patches from 0 on differ"):
        reopened.features()


# Interruption --------------------------------------------------------------------------------


def begin(root: Path, **more: Any) -> StoreWriter:
    return begin_store(root, IDENTITY, SHAPE, **more)


def append(writer: StoreWriter, start: int, end: int) -> None:
    writer.append(rows_of(FULL, start, end), end, {"background": 0})


def interrupted(root: Path, *, is_killed: bool = False) -> Path:
    """Two batches of 16 and no end, as an error leaves them or as a kill does."""
    writer = begin(root)
    append(writer, 0, 16)
    append(writer, 16, 32)
    if is_killed:
        shutil.copytree(writer.folder, root / "killed")
    writer.close()
    if is_killed:
        shutil.rmtree(writer.folder)
        (root / "killed").rename(writer.folder)
    return writer.folder


def n_intact_in(root: Path, **more: Any) -> int:
    writer = begin(root, **more)
    writer.close()
    return writer.batches[-1].n_kept if writer.batches else 0


def finished(root: Path) -> dict[str, bytes]:
    """Go on as far as needed, and return the bytes of the store."""
    writer = begin(root)
    start = writer.batches[-1].n_kept if writer.batches else 0
    for first in range(start, 40, 16):
        append(writer, first, min(first + 16, 40))
    return bytes_of(writer.finish().folder)


@pytest.mark.parametrize("is_killed", [True, False])
def test_an_interrupted_store_goes_on_to_the_same_bytes(
    store: FeatureStore, tmp_path: Path, is_killed: bool
) -> None:
    interrupted(tmp_path / "new", is_killed=is_killed)
    assert n_intact_in(tmp_path / "new") == 32
    assert finished(tmp_path / "new") == bytes_of(store.folder)


def cut(path: Path, n: int) -> None:
    path.write_bytes(path.read_bytes()[:-n])


def overwrite_tail(path: Path, n: int) -> None:
    path.write_bytes(path.read_bytes()[:-n] + bytes(n))


def add(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def miscount(path: Path) -> None:
    """Change the first line's number of patches looked at; the line stays whole."""
    path.write_bytes(re.sub(rb'"n_visited":', b'"n_visited":9', path.read_bytes(), count=1))


TAILS: dict[str, tuple[Callable[[Path], None], int]] = {
    "rows cut": (lambda folder: cut(folder / "full.npy", 5), 16),
    "rows zeroed": (lambda folder: overwrite_tail(folder / "pooled.npy", 64), 16),
    "cells zeroed": (lambda folder: overwrite_tail(folder / "cells.npy", 8), 16),
    "line cut": (lambda folder: cut(folder / "batches.txt", 9), 16),
    "line zeroed": (lambda folder: overwrite_tail(folder / "batches.txt", 99), 16),
    "count changed": (lambda folder: miscount(folder / "batches.txt"), 0),
    "line of other text": (lambda folder: add(folder / "batches.txt", b"null\n"), 32),
    "rows without their line": (lambda folder: add(folder / "full.npy", bytes(999)), 32),
    "all rows gone": (lambda folder: cut(folder / "cells.npy", 128 + 32 * 8), 0),
    "file gone": (lambda folder: (folder / "pooled.npy").unlink(), 0),
    "lines gone": (lambda folder: (folder / "batches.txt").unlink(), 0),
    "plan gone": (lambda folder: (folder / "plan.json").unlink(), 0),
    "plan cut": (lambda folder: cut(folder / "plan.json", 9), 0),
}


@pytest.mark.parametrize(("damage", "n_intact"), TAILS.values(), ids=TAILS.keys())
def test_a_damaged_tail_is_dropped_and_the_same_bytes_come_out(
    store: FeatureStore, tmp_path: Path, damage: Callable[[Path], None], n_intact: int
) -> None:
    damage(interrupted(tmp_path / "new"))
    assert n_intact_in(tmp_path / "new") == n_intact
    assert finished(tmp_path / "new") == bytes_of(store.folder)


def test_a_store_begun_under_another_plan_is_begun_anew(tmp_path: Path) -> None:
    interrupted(tmp_path)
    assert n_intact_in(tmp_path, name="renamed.tif") == 0


def test_nothing_has_its_final_name_before_the_end(tmp_path: Path) -> None:
    folder = interrupted(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert find_store(tmp_path, IDENTITY, "full") is None
