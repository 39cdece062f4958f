"""A feature store as its readers see it while it is being indexed, and after.

Owns the rows that are there already, from the first batch to the finished store, as one object.
The files are the store's; knows nothing of pixels or labels.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from slideloop.errors import StoreMismatchError
from slideloop.features.store import (
    chain,
    chained,
    find_store,
    no_such_prefix,
    partial_folder,
    pooled_only,
    read_rows,
    recorded_batches,
    sha256_of,
    store_id,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slideloop.features.store import Batch, FeatureStore, StoreWriter

REASONS = ("background", "structureless", "both")
"""Why patches are dropped."""

_LEAST_ROWS = 1024


class GrowingStore:
    """Features of one slide, as far as they are indexed; readers may be other threads.

    It grows by whole batches, so that `checksum(len(store))` is always there, and never shrinks:
    rows that are computed anew, since another version began them, stay readable meanwhile.

    Parameters
    ----------
    root : Path
        Folder of all stores.
    identity : dict
        What the features are a pure function of.
    kind : {"full", "pooled"}
        What is being indexed; a finished store of either kind is used as it is.
    name : str
        Of the slide.
    details : dict
        What else is recorded with the features.
    feature_shape : tuple of int
        Channels, height, width.
    n_cells : int
        Grid patches of the slide.

    Attributes
    ----------
    id : str
    kind : {"full", "pooled"}
    is_complete : bool
        Whether all kept patches are in. Read it before `len`: a store that becomes complete in
        between has no fewer patches then.
    cells : ndarray of int32, shape (at least len, 2)
    pooled : ndarray of float16, shape (at least len, channels)
        Of the first `len(store)` patches, and of those that came since `len` was asked.
    n_visited : int
        Grid patches looked at.
    dropped : dict of str to int
        Patches of those by what speaks against them.
    manifest : dict
        `name`, `details`, `feature_shape`; all of the finished store's, once it is.

    Raises
    ------
    StoreDamagedError, StoreMismatchError
        If there is a finished store that cannot be used.
    """

    def __init__(
        self,
        root: Path,
        identity: dict[str, Any],
        kind: str,
        *,
        name: str,
        details: dict[str, Any],
        feature_shape: tuple[int, int, int],
        n_cells: int,
    ) -> None:
        self.id = store_id(identity)
        self.identity = identity
        self.kind = kind
        self.n_cells = n_cells
        self.feature_shape = feature_shape
        self.manifest: dict[str, Any] = {
            "name": name,
            "details": details,
            "feature_shape": list(feature_shape),
        }
        self.cells: NDArray[np.int32] = np.zeros((0, 2), np.int32)
        self.pooled: NDArray[np.float16] = np.zeros((0, feature_shape[0]), np.float16)
        self.n_visited = 0
        self.dropped: dict[str, int] = dict.fromkeys(REASONS, 0)
        self.is_complete = False
        self.folder = partial_folder(root, identity, kind)
        self._finished: FeatureStore | None = None
        self._n = 0
        self._n_on_disk = 0
        self._n_fed = 0
        self._batches: list[Batch] = []
        self._chain = chain([])
        self._buffers: tuple[NDArray[np.int32], NDArray[np.float16]] = (self.cells, self.pooled)
        self._files = threading.RLock()
        # Rather a finished pooled store than the beginning of a full one.
        finished = find_store(root, identity, "pooled")
        if finished is not None:
            self.complete(finished)
        else:
            self._take_recorded()

    def __len__(self) -> int:
        return self._n

    def checksum(self, n: int) -> str:
        """Return the checksum of the first `n` patches; `n` is 0 or the end of a batch.

        Raises
        ------
        StoreMismatchError
            If no batch that is there ends at `n`.
        """
        if self._finished is not None:
            return self._finished.checksum(n)
        try:
            return self._chain[n]
        except KeyError:
            raise no_such_prefix(self.folder.name, n) from None

    def features(self) -> NDArray[np.float16]:
        """Return full features, to be asked for single rows and `[start:end]`.

        While the store grows, each such access reads the file and leaves nothing open: the folder
        will be renamed.

        Raises
        ------
        StoreMismatchError
            In a pooled store.
        StoreDamagedError
            If the bytes of a finished store are not the ones that were written.
        """
        if self._finished is not None:
            return self._finished.features()
        if self.kind != "full":
            raise pooled_only(self.manifest["name"])
        return cast("NDArray[np.float16]", _FullRows(self))

    def full_rows(self, start: int, end: int) -> NDArray[np.float16]:
        """Read full features of patches from `start` to `end`, exclusive.

        Raises
        ------
        StoreMismatchError
            If they are not on the disk.
        """
        with self._files:
            if self._finished is not None:
                return self._finished.features()[start:end]
            rows = None
            if end <= self._n_on_disk:
                with suppress(OSError):
                    path = self.folder / "full.npy"
                    rows = read_rows(path, np.float16, self.feature_shape, start, end)
        if rows is None:
            raise StoreMismatchError(
                f"The full features of {self.manifest['name']} are not all there: they are "
                "computed anew, or their file was changed.",
                hint="Wait until the index is complete, and try again.",
            )
        return rows

    # The indexing side: one thread ---------------------------------------------------------

    def begin(self, writer: StoreWriter) -> None:
        """Take in what an index that goes on has recorded.

        Parameters
        ----------
        writer : StoreWriter
            Opened; what it holds was compared with its checksums.
        """
        if self.is_complete:
            return
        self.kind, self.folder = writer.manifest["kind"], writer.folder
        self._n_fed = self._n_on_disk = 0
        for batch in writer.batches:
            cells, pooled = self._read(self._n_on_disk, batch.n_kept)
            self.add(batch, cells, pooled)

    def add(self, batch: Batch, cells: NDArray[np.int32], pooled: NDArray[np.float16]) -> None:
        """Take in a batch that was recorded, in order."""
        if self.is_complete:  # a full store is made beside a pooled one
            return
        known = self._batches[self._n_fed : self._n_fed + 1]
        self._n_fed += 1
        self._n_on_disk = batch.n_kept
        if known == [batch]:
            return
        start, end = batch.n_kept - len(cells), batch.n_kept
        old_cells, old_pooled = self._buffers
        # Rows that somebody may be reading are never written over.
        n_rows = len(old_cells)
        if known or end > n_rows:
            n_rows = n_rows if end <= n_rows else max(end, 2 * n_rows, _LEAST_ROWS)
            self._buffers = (_enlarged(old_cells, n_rows), _enlarged(old_pooled, n_rows))
        self._buffers[0][start:end] = cells
        self._buffers[1][start:end] = pooled
        if known:
            self._batches[self._n_fed - 1] = batch
            self._chain = chain(self._batches)
        else:
            self._chain[end] = chained(self._chain[start], batch)
            self._batches.append(batch)
        n = max(self._n, end)
        self.cells, self.pooled = self._buffers[0][:n], self._buffers[1][:n]
        self.n_visited = max(self.n_visited, batch.n_visited)
        self.dropped = {**self.dropped, **self._batches[-1].dropped}
        self._n = n

    def finish(self, writer: StoreWriter) -> FeatureStore:
        """Complete the store on the disk, and go on with it."""
        with self._files:
            store = writer.finish()
            self.complete(store)
        return store

    def complete(self, store: FeatureStore) -> None:
        """Go on with the finished store."""
        self._finished = store
        self.kind = store.kind
        self.manifest = store.manifest
        self.cells, self.pooled = store.cells, store.pooled
        self.n_visited = self.n_cells
        self.dropped = {**self.dropped, **store.manifest["verdicts"]}
        self._n = len(store)
        self.is_complete = True
        self._buffers = (self.cells, self.pooled)
        self._batches = []

    def _take_recorded(self) -> None:
        """Take in what an interrupted index left, as far as its cells and pooled rows hold."""
        for batch in recorded_batches(self.folder):
            try:
                cells, pooled = self._read(self._n, batch.n_kept)
            except (OSError, StoreMismatchError):
                return
            if sha256_of(cells, pooled) != batch.rows:
                return
            self.add(batch, cells, pooled)

    def _read(self, start: int, end: int) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
        cells = read_rows(self.folder / "cells.npy", np.int32, (2,), start, end)
        tail = self.feature_shape[:1]
        pooled = read_rows(self.folder / "pooled.npy", np.float16, tail, start, end)
        if cells is None or pooled is None:
            raise StoreMismatchError(
                f"The unfinished features of {self.manifest['name']} were changed meanwhile.",
                hint="Index the slide again.",
            )
        return cells, pooled


class _FullRows:
    """Full features of a store that grows, read row by row; stands for an array."""

    dtype = np.dtype(np.float16)

    def __init__(self, store: GrowingStore) -> None:
        self._store = store

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self._store), *self._store.feature_shape

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, key: int | slice) -> NDArray[np.float16]:
        if isinstance(key, slice):
            start, end, step = key.indices(len(self))
            return self._store.full_rows(start, max(start, end))[::step]
        row = key + len(self) if key < 0 else key
        if not 0 <= row < len(self):
            raise IndexError(f"row {key} of {len(self)}")
        return self._store.full_rows(row, row + 1)[0]


def _enlarged(array: NDArray[Any], n_rows: int) -> NDArray[Any]:
    larger = np.zeros((n_rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger
