"""The feature store: one folder per slide with float16 arrays, a manifest and checksums.

Owns the layout on disk, atomic completion, resumption and the detection of damage. Knows nothing
of slides or networks: what made the features is an opaque `identity`.

A finished store is `<id>.<kind>/` with `cells.npy`, `pooled.npy`, for kind "full" also `full.npy`,
and `manifest.json`; it is written as `<id>.<kind>.partial/` and renamed. Rows are in index order
(algorithm.md 1.5) and are recorded in batches, each with its SHA-256: the checksum of a prefix
is the chain of these.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from slideloop.errors import StoreDamagedError, StoreMismatchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SCHEMA = 1
REINDEX = "Delete the folder and index the slide again."


def canonical(value: Any) -> bytes:
    """Return JSON bytes that are equal for equal values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()


def store_id(identity: dict[str, Any]) -> str:
    """Return the id of a slide's features: 32 hex digits of what they are a pure function of."""
    return hashlib.sha256(canonical(identity)).hexdigest()[:32]


@dataclass(frozen=True)
class Batch:
    """One recorded batch of rows.

    Attributes
    ----------
    n_kept, n_visited : int
        Patches in the store, and grid patches looked at, after this batch.
    dropped : dict
        Patches so far that are background alone, structureless alone, both.
    rows, full_rows : str
        SHA-256 of the batch's cells and pooled rows, and of its full rows ("" in a pooled store).
    """

    n_kept: int
    n_visited: int
    dropped: dict[str, int]
    rows: str
    full_rows: str


class FeatureStore:
    """A finished store, read-only and memory-mapped.

    Attributes
    ----------
    id : str
    kind : {"full", "pooled"}
    identity : dict
        What the features are a pure function of.
    manifest : dict
        All of `manifest.json`.
    cells : ndarray of int32, shape (n, 2)
        Column and row of each patch, in index order.
    pooled : memmap of float16, shape (n, channels)
    full : memmap of float16, shape (n, channels, height, width), or None in a pooled store
    is_complete : bool
        True: what grows while it is indexed is a `slideloop.features.growing.GrowingStore`.
    """

    is_complete = True

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.id: str = manifest["id"]
        self.kind: str = manifest["kind"]
        self.identity: dict[str, Any] = manifest["identity"]
        self.batches = [Batch(**batch) for batch in manifest["batches"]]
        n = self.batches[-1].n_kept if self.batches else 0
        channels, height, width = manifest["feature_shape"]
        self.cells: NDArray[np.int32] = np.array(_load(folder / "cells.npy", np.int32, (n, 2)))
        self.pooled: NDArray[np.float16] = _load(folder / "pooled.npy", np.float16, (n, channels))
        self.full: NDArray[np.float16] | None = None
        if self.kind == "full":
            self.full = _load(folder / "full.npy", np.float16, (n, channels, height, width))
        self._chain = chain(self.batches)
        self._full_is_checked = False

    def __len__(self) -> int:
        return len(self.cells)

    def checksum(self, n: int) -> str:
        """Return the checksum of the first `n` patches; `n` is 0 or the end of a batch."""
        try:
            return self._chain[n]
        except KeyError:
            raise no_such_prefix(self.folder.name, n) from None

    def features(self) -> NDArray[np.float16]:
        """Return `full`, its checksums compared once.

        Raises
        ------
        StoreMismatchError
            In a pooled store.
        StoreDamagedError
            If the bytes are not the ones that were written.
        """
        if self.full is None:
            raise pooled_only(self.manifest["name"])
        if not self._full_is_checked:
            start = 0
            for batch in self.batches:
                if sha256_of(self.full[start : batch.n_kept]) != batch.full_rows:
                    raise _damaged(self.folder / "full.npy", f"patches from {start} on differ")
                start = batch.n_kept
            self._full_is_checked = True
        return self.full


def open_store(folder: Path) -> FeatureStore:
    """Open a finished store and compare all but its full features with their checksums.

    Raises
    ------
    StoreDamagedError
        If a file is missing, cut off or changed; the message names it.
    StoreMismatchError
        If it was written by a newer version.
    """
    manifest = _read_manifest(folder)
    try:
        store = FeatureStore(folder, manifest)
    except (ValueError, KeyError, TypeError) as err:
        raise _damaged(folder / "manifest.json", f"it lacks what it should hold ({err})") from err
    start = 0
    for batch in store.batches:
        end = batch.n_kept
        if sha256_of(store.cells[start:end], store.pooled[start:end]) != batch.rows:
            raise _damaged(folder, f"patches from {start} on differ from their checksum")
        start = end
    return store


def find_store(root: Path, identity: dict[str, Any], kind: str) -> FeatureStore | None:
    """Open the finished store for `identity`, or return None; a full one serves for "pooled" too.

    Raises
    ------
    StoreDamagedError
        If it is there, but damaged.
    StoreMismatchError
        If the folder holds features of something else than its name says.
    """
    for each in ("full", "pooled") if kind == "pooled" else ("full",):
        folder = root / f"{store_id(identity)}.{each}"
        if folder.is_dir():
            store = open_store(folder)
            if canonical(store.identity) != canonical(identity) or store.kind != each:
                raise StoreMismatchError(
                    f"The store {folder} was made for something else than its name says.",
                    hint=REINDEX,
                )
            return store
    return None


@dataclass
class StoreWriter:
    """A store being written, in its folder aside.

    Attributes
    ----------
    folder : Path
        `<id>.<kind>.partial`.
    manifest : dict
        Everything but the batches; compared on resumption.
    batches : list of Batch
        What is recorded already.
    """

    folder: Path
    manifest: dict[str, Any]
    batches: list[Batch] = field(default_factory=list)
    _files: dict[str, _RowFile] = field(default_factory=dict)

    @staticmethod
    def begun(root: Path, identity: dict[str, Any], kind: str) -> dict[str, Any] | None:
        """Return the plan of an interrupted store, or None where there is none to go on with."""
        try:
            plan = json.loads((partial_folder(root, identity, kind) / "plan.json").read_bytes())
        except (OSError, ValueError):
            return None
        return plan if isinstance(plan, dict) and {"n_threads", "details"} <= plan.keys() else None

    @classmethod
    def open(
        cls, root: Path, identity: dict[str, Any], kind: str, more: dict[str, Any]
    ) -> StoreWriter:
        """Start a store, or go on with an interrupted one as far as its bytes are intact.

        Parameters
        ----------
        root : Path
            Folder of all stores.
        identity : dict
            What the features are a pure function of.
        kind : {"full", "pooled"}
        more : dict
            `name`, `feature_shape` (channels, height, width), and all that must not change
            between runs (numeric type, threads, library version): where it did, the
            interrupted store is begun anew.
        """
        folder = partial_folder(root, identity, kind)
        manifest = {"schema": SCHEMA, "id": store_id(identity), "kind": kind, "identity": identity}
        writer = cls(folder, {**manifest, **more})
        plan = folder / "plan.json"
        if folder.exists() and not _same_plan(plan, writer.manifest):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        plan.write_bytes(canonical(writer.manifest))
        writer._open_files()
        return writer

    def _open_files(self) -> None:
        channels, height, width = self.manifest["feature_shape"]
        tails: dict[str, tuple[type, tuple[int, ...]]] = {
            "cells": (np.int32, (2,)),
            "pooled": (np.float16, (channels,)),
        }
        if self.manifest["kind"] == "full":
            tails["full"] = (np.float16, (channels, height, width))
        self._files = {
            name: _RowFile(self.folder / f"{name}.npy", np.dtype(dtype), tail)
            for name, (dtype, tail) in tails.items()
        }
        start = 0
        for batch in recorded_batches(self.folder):
            read = {name: file.rows(start, batch.n_kept) for name, file in self._files.items()}
            rows = {name: part for name, part in read.items() if part is not None}
            if len(rows) < len(read) or _hashes(rows) != (batch.rows, batch.full_rows):
                break
            self.batches.append(batch)
            start = batch.n_kept
        for file in self._files.values():
            file.truncate(start)
        lines = b"".join(map(_line, self.batches))
        _write_aside(self.folder / "batches.txt", lines)

    def append(
        self,
        rows: dict[str, NDArray[Any]],
        n_visited: int,
        dropped: dict[str, int],
    ) -> None:
        """Write one batch; it is recorded only after all of its rows are in their files.

        Parameters
        ----------
        rows : dict of str to ndarray
            `cells` int32 (n, 2), `pooled` float16 (n, channels), `full` float16
            (n, channels, height, width); the last is left out of a pooled store.
        n_visited : int
            Grid patches looked at so far.
        dropped : dict of str to int
            Counts so far by reason.
        """
        for name, file in self._files.items():
            file.append(rows[name])
        n = len(rows["cells"]) + (self.batches[-1].n_kept if self.batches else 0)
        batch = Batch(n, n_visited, dict(dropped), *_hashes({k: rows[k] for k in self._files}))
        with (self.folder / "batches.txt").open("ab") as file:
            file.write(_line(batch))
        self.batches.append(batch)

    def finish(self) -> FeatureStore:
        """Complete the store and rename it to its final name."""
        for file in self._files.values():
            file.close()
        manifest = {**self.manifest, "batches": [batch.__dict__ for batch in self.batches]}
        manifest["checksum"] = hashlib.sha256(canonical(manifest)).hexdigest()
        _write_aside(self.folder / "manifest.json", canonical(manifest))
        (self.folder / "plan.json").unlink()
        (self.folder / "batches.txt").unlink()
        final = self.folder.with_suffix("")
        if final.exists():
            shutil.rmtree(final)
        self.folder.rename(final)
        return open_store(final)

    def close(self) -> None:
        """Close the files; what is recorded stays for the next run."""
        with ExitStack() as stack:  # of which one may fail, on a full disk
            for file in self._files.values():
                stack.callback(file.close)

    def discard(self) -> None:
        """Delete the folder: there is nothing to go on with."""
        self.close()
        shutil.rmtree(self.folder)


def partial_folder(root: Path, identity: dict[str, Any], kind: str) -> Path:
    """Return where the store of an identity is written until it is complete."""
    return root / f"{store_id(identity)}.{kind}.partial"


class _RowFile:
    """A .npy file that grows by rows; NumPy's header leaves room for its length."""

    def __init__(self, path: Path, dtype: np.dtype[Any], tail: tuple[int, ...]) -> None:
        self._dtype, self._tail = dtype, tail
        self._row_bytes = dtype.itemsize * int(np.prod(tail))
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
        self._n = 0
        self._header(0)
        self._offset = self._file.tell()

    def _header(self, n: int) -> None:
        self._file.seek(0)
        npy.write_array_header_1_0(
            self._file,
            {
                "descr": npy.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (n, *self._tail),
            },
        )

    def rows(self, start: int, end: int) -> NDArray[Any] | None:
        """Return rows as they are on disk, or None when the file ends before."""
        self._file.seek(self._offset + start * self._row_bytes)
        data = self._file.read((end - start) * self._row_bytes)
        if len(data) < (end - start) * self._row_bytes:
            return None
        return np.frombuffer(data, self._dtype).reshape(end - start, *self._tail)

    def truncate(self, n: int) -> None:
        self._file.truncate(self._offset + n * self._row_bytes)
        self._file.seek(self._offset + n * self._row_bytes)
        self._n = n

    def append(self, rows: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())
        self._file.flush()
        self._n += len(rows)

    def close(self) -> None:
        if self._file.closed:
            return
        try:
            self._header(self._n)
            self._file.flush()
            os.fsync(self._file.fileno())
        finally:
            self._file.close()


def _line(batch: Batch) -> bytes:
    """Return a batch's line in `batches.txt`, with its own SHA-256 behind it."""
    text = canonical(batch.__dict__)
    return text + b" " + hashlib.sha256(text).hexdigest().encode() + b"\n"


def recorded_batches(folder: Path) -> list[Batch]:
    """Return the batches of an unfinished store whose lines are whole."""
    batches: list[Batch] = []
    path = folder / "batches.txt"
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            text, digest = line.rsplit(b" ", 1)
            if hashlib.sha256(text).hexdigest().encode() != digest:
                break
            batches.append(Batch(**json.loads(text)))
        except (ValueError, TypeError):
            break
    return batches


def read_rows(
    path: Path, dtype: type[np.generic], tail: tuple[int, ...], start: int, end: int
) -> NDArray[Any] | None:
    """Read rows of a .npy file that may still grow, whatever length its header says.

    Parameters
    ----------
    path : Path
        Written by `StoreWriter`; it is closed again before this returns.
    dtype : type
        Of its elements.
    tail : tuple of int
        Shape of a row.
    start, end : int
        Rows wanted, `end` exclusive.

    Returns
    -------
    ndarray of shape (end - start, *tail), or None
        None if the file ends before, or holds something else.
    """
    row_bytes = np.dtype(dtype).itemsize * int(np.prod(tail))
    with path.open("rb") as file:
        try:
            npy.read_magic(file)
            shape, _, found = npy.read_array_header_1_0(file)
        except ValueError:
            return None
        if shape[1:] != tail or found != np.dtype(dtype):
            return None
        file.seek(start * row_bytes, os.SEEK_CUR)
        data = file.read((end - start) * row_bytes)
    if len(data) < (end - start) * row_bytes:
        return None
    return np.frombuffer(data, dtype).reshape(end - start, *tail)


def _hashes(rows: dict[str, NDArray[Any]]) -> tuple[str, str]:
    return (
        sha256_of(rows["cells"], rows["pooled"]),
        sha256_of(rows["full"]) if "full" in rows else "",
    )


def sha256_of(*arrays: NDArray[Any]) -> str:
    """Return the SHA-256 of the arrays' bytes, one behind the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def chain(batches: list[Batch]) -> dict[int, str]:
    """Return the checksum of each prefix that ends with a batch, by its length."""
    checksum = hashlib.sha256(b"").hexdigest()
    checksums = {0: checksum}
    for batch in batches:
        checksum = chained(checksum, batch)
        checksums[batch.n_kept] = checksum
    return checksums


def chained(checksum: str, batch: Batch) -> str:
    """Return the checksum of a prefix and the batch behind it."""
    return hashlib.sha256(f"{checksum}{batch.rows}".encode()).hexdigest()


def no_such_prefix(name: str, n: int) -> StoreMismatchError:
    """Return the error that says that no batch ends there."""
    return StoreMismatchError(
        f"The store {name} has no batch that ends at {n} patches.",
        hint="It was made in another way than the journal says; index the slide again.",
    )


def pooled_only(name: str) -> StoreMismatchError:
    """Return the error that says that a slide's full features were not stored."""
    return StoreMismatchError(
        f"The features of {name} are stored pooled only, and this engine trains on full ones.",
        hint="Index the slide again with --store full, or use --engine linear.",
    )


def _load(path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map an array that must be of this type and shape."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as err:  # a broken header makes NumPy's parser stumble in any way
        raise _damaged(path, str(err)) from err
    # Another byte order or type would give other numbers for the same, intact bytes.
    is_as_written = array.dtype == np.dtype(dtype) and array.flags.c_contiguous
    if array.shape != shape or not is_as_written:
        raise _damaged(path, f"it does not hold {shape[0]} patches as they were written")
    return array


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        checksum = manifest.pop("checksum")
        found = hashlib.sha256(canonical(manifest)).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise _damaged(path, str(err)) from err
    if found != checksum:
        raise _damaged(path, "its checksum differs")
    if manifest["schema"] > SCHEMA:
        raise StoreMismatchError(
            f"The store {folder} was written by a newer slideloop.",
            hint="Update slideloop, or delete the folder and index the slide again.",
        )
    return manifest


def _same_plan(path: Path, manifest: dict[str, Any]) -> bool:
    try:
        return path.read_bytes() == canonical(manifest)
    except OSError:
        return False


def _write_aside(path: Path, data: bytes) -> None:
    aside = path.with_name(f"{path.name}.tmp")
    aside.write_bytes(data)
    aside.replace(path)


def _damaged(path: Path, reason: str) -> StoreDamagedError:
    return StoreDamagedError(f"The feature store at {path} is damaged: {reason}.", hint=REINDEX)
