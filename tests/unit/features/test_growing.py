"""A store as its readers see it while it grows: only whole batches, equal to the finished one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.synthetic_stores import begin_store, features_of, identity_of, rows_of, write_store

from slideloop.errors import StoreMismatchError
from slideloop.features.growing import GrowingStore
from slideloop.features.store import FeatureStore, StoreWriter, open_store

N, BATCH = 2500, 32
SHAPE = (8, 2, 2)
IDENTITY = identity_of("f" * 64)


@pytest.fixture(scope="module")
def full() -> NDArray[np.float16]:
    return features_of(np.arange(N) % 3, SHAPE)


def growing(root: Path, kind: str = "full") -> GrowingStore:
    return GrowingStore(
        root,
        IDENTITY,
        kind,
        name="made-up.tif",
        details={"path": "made-up.tif"},
        feature_shape=SHAPE,
        n_cells=2 * N,
    )


def begun(root: Path, kind: str = "full", **more: Any) -> StoreWriter:
    writer = begin_store(root, IDENTITY, SHAPE, kind)
    if more:
        writer.close()
        writer = StoreWriter.open(root, IDENTITY, kind, {**_plan(writer), **more})
    return writer


def _plan(writer: StoreWriter) -> dict[str, Any]:
    own = ("schema", "id", "kind", "identity")
    return {name: value for name, value in writer.manifest.items() if name not in own}


def feed(
    store: GrowingStore,
    writer: StoreWriter,
    full: NDArray[np.float16],
    n: int,
    look: Callable[[int], None] = lambda end: None,
) -> None:
    """Write batches up to n patches as indexing does, with a look behind each."""
    start = writer.batches[-1].n_kept if writer.batches else 0
    for first in range(start, n, BATCH):
        end = min(first + BATCH, N)
        rows = rows_of(full, first, first + BATCH)
        dropped = {"background": 0, "structureless": end // 2, "both": end}
        writer.append(rows, 2 * end, dropped)
        store.add(writer.batches[-1], rows["cells"], rows["pooled"])
        look(end)


def finish(store: GrowingStore, writer: StoreWriter) -> FeatureStore:
    last = writer.batches[-1]
    writer.manifest |= {"verdicts": last.dropped, "n_grid": last.n_visited}
    return store.finish(writer)


def assert_is_beginning_of(store: GrowingStore, finished: FeatureStore, n: int) -> None:
    assert len(store) == n
    assert np.array_equal(store.cells[:n], finished.cells[:n])
    assert np.array_equal(store.pooled[:n], finished.pooled[:n])
    assert store.checksum(n) == finished.checksum(n)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, full: NDArray[np.float16]) -> FeatureStore:
    return write_store(tmp_path_factory.mktemp("finished"), full, batch=BATCH)


def test_nothing_is_there_before_the_first_batch(tmp_path: Path) -> None:
    store = growing(tmp_path)
    assert (len(store), store.n_visited, store.is_complete) == (0, 0, False)
    assert (store.cells.shape, store.pooled.shape) == ((0, 2), (0, 8))
    assert store.features().shape == (0, *SHAPE)
    assert store.dropped == {"background": 0, "structureless": 0, "both": 0}
    assert len(store.checksum(0)) == 64


def test_each_batch_makes_it_a_longer_beginning_of_the_finished_store(
    tmp_path: Path, full: NDArray[np.float16], finished: FeatureStore
) -> None:
    store, writer = growing(tmp_path), begun(tmp_path)
    store.begin(writer)
    seen: list[int] = []

    def look(end: int) -> None:
        seen.append(end)
        assert not store.is_complete
        assert_is_beginning_of(store, finished, end)
        assert np.array_equal(store.features()[end - 3 : end], full[end - 3 : end])
        assert store.n_visited == 2 * end
        assert store.dropped == {"background": 0, "structureless": end // 2, "both": end}

    feed(store, writer, full, N, look)
    assert len(seen) == -(-N // BATCH)
    done = finish(store, writer)
    assert store.is_complete
    assert_is_beginning_of(store, finished, N)
    assert np.array_equal(store.features(), full)
    assert store.manifest == done.manifest
    assert all(store.checksum(end) == finished.checksum(end) for end in seen)


def test_what_readers_hold_stays_as_it_was(tmp_path: Path, full: NDArray[np.float16]) -> None:
    store, writer = growing(tmp_path), begun(tmp_path)
    store.begin(writer)
    feed(store, writer, full, 64)
    cells, pooled, rows = store.cells, store.pooled, store.features()
    copies = cells.copy(), pooled.copy()
    feed(store, writer, full, N)
    finish(store, writer)
    assert np.array_equal(cells, copies[0])
    assert np.array_equal(pooled, copies[1])
    assert np.array_equal(rows[10:20], full[10:20])


def test_there_is_no_checksum_within_a_batch(tmp_path: Path, full: NDArray[np.float16]) -> None:
    store, writer = growing(tmp_path), begun(tmp_path)
    store.begin(writer)
    feed(store, writer, full, 64)
    for n in (1, 31, 33, 96):
        with pytest.raises(StoreMismatchError, match=f"ends at {n} patches"):
            store.checksum(n)
    writer.close()


def test_full_rows_are_asked_for_as_of_an_array(tmp_path: Path, full: NDArray[np.float16]) -> None:
    store, writer = growing(tmp_path), begun(tmp_path)
    store.begin(writer)
    feed(store, writer, full, 96)
    rows: Any = store.features()
    assert (rows.shape, len(rows), rows.dtype) == ((96, *SHAPE), 96, np.float16)
    for key in (0, 95, -1, slice(0, 96), slice(32, 64), slice(90, 200), slice(50, 50), slice(None)):
        assert np.array_equal(rows[key], full[:96][key]), key
    for key in (96, -97):
        with pytest.raises(IndexError):
            rows[key]
    writer.close()


def test_a_pooled_store_refuses_full_rows(tmp_path: Path, full: NDArray[np.float16]) -> None:
    store, writer = growing(tmp_path, "pooled"), begun(tmp_path, "pooled")
    store.begin(writer)
    feed(store, writer, full, 64)
    with pytest.raises(StoreMismatchError, match="pooled only"):
        store.features()
    writer.close()


def test_readers_in_other_threads_see_whole_batches_only(
    tmp_path: Path, full: NDArray[np.float16], finished: FeatureStore
) -> None:
    store, writer = growing(tmp_path), begun(tmp_path)
    store.begin(writer)
    faults: list[str] = []
    lengths: set[int] = set()

    def read() -> None:
        is_complete = False
        while not is_complete:
            is_complete = store.is_complete
            n = len(store)
            lengths.add(n)
            if store.checksum(n) != finished.checksum(n):
                faults.append(f"checksum of {n}")
            if not np.array_equal(store.pooled[:n], finished.pooled[:n]):
                faults.append(f"pooled of {n}")
            if not np.array_equal(store.cells[:n], finished.cells[:n]):
                faults.append(f"cells of {n}")
            if n and not np.array_equal(store.features()[n - 1], full[n - 1]):
                faults.append(f"full of {n}")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        feed(store, writer, full, N)
    finally:
        finish(store, writer)
        for thread in threads:
            thread.join()
    assert faults == []
    assert N in lengths
    assert len(lengths) > 1


# After an interruption -----------------------------------------------------------------------


def interrupted(root: Path, full: NDArray[np.float16], n: int, kind: str = "full") -> Path:
    """Leave an unfinished store of n patches and return its folder."""
    store, writer = growing(root, kind), begun(root, kind)
    store.begin(writer)
    feed(store, writer, full, n)
    writer.close()
    return writer.folder


def test_what_was_recorded_is_there_before_the_index_goes_on(
    tmp_path: Path, full: NDArray[np.float16], finished: FeatureStore
) -> None:
    interrupted(tmp_path, full, 1024)
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    store = growing(tmp_path)
    assert_is_beginning_of(store, finished, 1024)
    assert np.array_equal(store.features()[1000:1024], full[1000:1024])
    assert (store.n_visited, store.is_complete) == (2048, False)
    after = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before  # looking changes nothing


def test_an_index_that_goes_on_adds_to_what_was_recorded(
    tmp_path: Path, full: NDArray[np.float16], finished: FeatureStore
) -> None:
    interrupted(tmp_path, full, 1024)
    store, writer = growing(tmp_path), begun(tmp_path)
    store.begin(writer)
    assert_is_beginning_of(store, finished, 1024)
    feed(store, writer, full, N, lambda end: assert_is_beginning_of(store, finished, end))
    finish(store, writer)
    assert_is_beginning_of(store, finished, N)


def test_rows_that_were_cut_off_come_again_and_the_store_never_shrinks(
    tmp_path: Path, full: NDArray[np.float16], finished: FeatureStore
) -> None:
    folder = interrupted(tmp_path, full, 1024)
    store = growing(tmp_path)
    rows = folder / "full.npy"
    rows.write_bytes(rows.read_bytes()[: -40 * 64])
    writer = begun(tmp_path)
    store.begin(writer)
    assert writer.batches[-1].n_kept == 960
    assert_is_beginning_of(store, finished, 1024)
    with pytest.raises(StoreMismatchError, match="not all there"):
        store.features()[1000]
    feed(store, writer, full, N)
    finish(store, writer)
    assert_is_beginning_of(store, finished, N)
    assert np.array_equal(store.features()[1000], full[1000])


@pytest.mark.parametrize("name", ["cells.npy", "pooled.npy"])
def test_rows_that_were_damaged_are_not_shown(
    tmp_path: Path, full: NDArray[np.float16], finished: FeatureStore, name: str
) -> None:
    folder = interrupted(tmp_path, full, 1024)
    data = bytearray((folder / name).read_bytes())
    data[128 + (len(data) - 128) * 500 // 1024] ^= 1  # in a row of the batch from 480 to 512
    (folder / name).write_bytes(bytes(data))
    assert_is_beginning_of(growing(tmp_path), finished, 480)


@pytest.mark.parametrize(
    "ruin",
    [
        lambda folder: (folder / "cells.npy").unlink(),
        lambda folder: (folder / "pooled.npy").write_bytes(b"no array"),
        lambda folder: (folder / "batches.txt").write_bytes(b"no lines\n"),
        lambda folder: (folder / "batches.txt").unlink(),
    ],
)
def test_a_ruined_beginning_counts_as_none(
    tmp_path: Path, full: NDArray[np.float16], ruin: Callable[[Path], None]
) -> None:
    ruin(interrupted(tmp_path, full, 96))
    assert len(growing(tmp_path)) == 0


def test_what_another_version_began_stays_readable_while_it_is_computed_anew(
    tmp_path: Path, full: NDArray[np.float16]
) -> None:
    interrupted(tmp_path, full, 1024)
    store = growing(tmp_path)
    held = store.pooled
    writer = begun(tmp_path, torch="another")
    assert writer.batches == []
    store.begin(writer)
    anew = (full * np.float16(1.5)).astype(np.float16)
    feed(store, writer, anew, 512)
    other = write_store(tmp_path / "other", anew, batch=BATCH)
    assert len(store) == 1024
    assert np.array_equal(store.pooled[:512], other.pooled[:512])
    assert store.checksum(512) == other.checksum(512)
    assert np.array_equal(store.pooled[512:], held[512:])
    assert not np.array_equal(store.pooled[:512], held[:512])
    feed(store, writer, anew, N)
    finish(store, writer)
    assert_is_beginning_of(store, other, N)


# A finished one ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "pooled"])
def test_a_finished_store_is_complete_at_once(
    tmp_path: Path, full: NDArray[np.float16], finished: FeatureStore, kind: str
) -> None:
    interrupted_store, writer = growing(tmp_path), begun(tmp_path)
    interrupted_store.begin(writer)
    feed(interrupted_store, writer, full, N)
    finish(interrupted_store, writer)
    store = growing(tmp_path, kind)
    assert (store.is_complete, store.kind, store.n_visited) == (True, "full", 2 * N)
    assert store.dropped["both"] == N
    assert_is_beginning_of(store, finished, N)


def test_a_full_store_is_made_beside_a_pooled_one_that_goes_on_serving(
    tmp_path: Path, full: NDArray[np.float16], finished: FeatureStore
) -> None:
    store, writer = growing(tmp_path, "pooled"), begun(tmp_path, "pooled")
    store.begin(writer)
    feed(store, writer, full, N)
    finish(store, writer)
    again = growing(tmp_path, "full")
    assert (again.is_complete, again.kind) == (True, "pooled")
    larger = begun(tmp_path, "full")
    again.begin(larger)
    feed(again, larger, full, 512)
    assert_is_beginning_of(again, finished, N)
    feed(again, larger, full, N)
    finish(again, larger)
    assert (again.is_complete, again.kind) == (True, "full")
    assert np.array_equal(again.features(), full)
    assert open_store(again.folder.with_name(f"{again.id}.pooled")).kind == "pooled"


def test_an_index_that_changes_from_pooled_to_full_keeps_its_beginning(
    tmp_path: Path, full: NDArray[np.float16], finished: FeatureStore
) -> None:
    interrupted(tmp_path, full, 256, "pooled")
    store, writer = growing(tmp_path, "pooled"), begun(tmp_path, "full")
    store.begin(writer)
    assert (len(store), store.kind) == (256, "full")
    feed(store, writer, full, N)
    finish(store, writer)
    assert_is_beginning_of(store, finished, N)
