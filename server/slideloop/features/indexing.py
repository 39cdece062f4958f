"""From a source of patches to its feature store.

Owns the pipeline: read ahead, filter, embed in fixed batches, record. Indexing is a pure function
of source, normalisation and encoder; what must be equal for equal bytes is frozen in the manifest.
"""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from filelock import FileLock, Timeout

from slideloop.errors import NoTissueError, OutputError, StoreMismatchError
from slideloop.features.encoders import INPUT_PX, Encoder
from slideloop.features.normalisation import SAMPLE_PATCHES, Normalisation, measure
from slideloop.features.store import FeatureStore, StoreWriter, find_store, store_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slideloop.features.growing import GrowingStore
    from slideloop.features.sources import PatchSource
    from slideloop.slides.filters import Verdict

    Progress = Callable[[int, int], None]

READ_AHEAD = 64
"""Patches read and judged per task of the reading thread."""

_SILENT = 256
"""Patches that may be dropped one after the other before `progress` is called between batches."""


@dataclass(frozen=True)
class IndexingKey:
    """What the features of one source are a pure function of, and what freezes their bytes."""

    identity: dict[str, Any]
    frozen: dict[str, Any]

    @property
    def id(self) -> str:
        """Id of the slide's features."""
        return store_id(self.identity)


def indexing_key(
    source: PatchSource, encoder: Encoder, normalisation: Normalisation
) -> IndexingKey:
    """Name the features of a source by this encoder and normalisation (algorithm.md 8)."""
    identity = {
        **source.identity,
        "encoder": encoder.architecture.name,
        "weights": encoder.weights.as_dict(),
        "normalisation": normalisation.figures(),
        "input_px": INPUT_PX,
    }
    frozen = {
        "name": source.name,
        "feature_shape": list(encoder.architecture.feature_shape),
        "dtype": encoder.precision,
        **encoder.makers,
        "compile": "none",
        "memory_format": "channels_last",
        "batch": encoder.batch,
        "n_threads": torch.get_num_threads(),
        "device": encoder.device.type,
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    return IndexingKey(identity, frozen)


def index(
    source: PatchSource,
    encoder: Encoder,
    normalisation: Normalisation,
    root: Path,
    *,
    kind: str = "full",
    progress: Progress | None = None,
    grown: GrowingStore | None = None,
) -> FeatureStore:
    """Embed all kept patches of a source, or open the store where that was done before.

    An interrupted index goes on at the last recorded batch. Memory does not grow with the slide.

    Parameters
    ----------
    source : PatchSource
    encoder : Encoder
    normalisation : Normalisation
    root : Path
        Folder of all stores; made if it is not there.
    kind : {"full", "pooled"}
    progress : callable, optional
        Called with (grid patches looked at, all grid patches) after each recorded batch, and now
        and then on glass. What it raises ends the index, which goes on from there the next time.
    grown : GrowingStore, optional
        Takes in each batch as soon as it is recorded, and the finished store.

    Raises
    ------
    StoreDamagedError
        If there is a store for this source, but a damaged one.
    StoreMismatchError
        If another process is indexing the same slide.
    NoTissueError
        If no patch passes the filter.
    OutputError
        If the store cannot be written.
    """
    key = indexing_key(source, encoder, normalisation)
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock_path(root, key.id), timeout=0):
            store = find_store(root, key.identity, kind)
            if store is None:
                store = _write(source, encoder, normalisation, root, kind, key, progress, grown)
            elif grown is not None:
                grown.complete(store)
    except Timeout:
        raise StoreMismatchError(
            f"{source.name} is being indexed by another process.", hint="Wait until it is done."
        ) from None
    except OSError as err:
        raise OutputError(
            f"The features of {source.name} cannot be written to {root}: {err.strerror or err}.",
            hint="Make room, or choose another folder with --workspace DIR.",
        ) from err
    return store


def lock_path(root: Path, slide_id: str) -> Path:
    """Return the file that is locked while a slide is indexed into the folder of all stores."""
    return root / f"{slide_id}.lock"


def _write(
    source: PatchSource,
    encoder: Encoder,
    normalisation: Normalisation,
    root: Path,
    kind: str,
    key: IndexingKey,
    progress: Progress | None,
    grown: GrowingStore | None,
) -> FeatureStore:
    more = {**key.frozen, "details": source.details}
    begun = StoreWriter.begun(root, key.identity, kind)
    if begun is not None:
        more["n_threads"] = begun["n_threads"]
        # A moved file is the same slide; only where it was first read differs.
        more["details"] = begun["details"]
    writer = StoreWriter.open(root, key.identity, kind, more)
    try:
        if grown is not None:
            grown.begin(writer)
        last = writer.batches[-1] if writer.batches else None
        dropped = Counter(
            last.dropped if last else {"background": 0, "structureless": 0, "both": 0}
        )
        cells: list[tuple[int, int]] = []
        patches: list[NDArray[np.uint8]] = []
        start = told = last.n_visited if last else 0
        for n_visited, (position, patch, verdict) in enumerate(
            _judged(source, start, encoder.n_readers), start + 1
        ):
            reason = _reason(verdict)
            if reason:
                dropped[reason] += 1
            if patch is not None:
                cells.append(source.cell(position))
                patches.append(patch)
            is_last = n_visited == source.n_cells
            if len(patches) == encoder.batch or (is_last and (patches or not writer.batches)):
                if not (patches or writer.batches):
                    writer.discard()
                    raise _nothing_kept(source)
                with _threads(more["n_threads"]):
                    full, pooled = encoder.features(np.stack(patches), normalisation)
                rows = {"cells": np.array(cells, np.int32), "pooled": pooled, "full": full}
                writer.append(rows, n_visited, dropped)
                if grown is not None:
                    grown.add(writer.batches[-1], rows["cells"], pooled)
                cells, patches = [], []
            elif n_visited - told < _SILENT:
                continue
            told = n_visited
            if progress:
                progress(n_visited, source.n_cells)
        writer.manifest["verdicts"] = dict(dropped)
        writer.manifest["n_grid"] = source.n_cells
        return grown.finish(writer) if grown is not None else writer.finish()
    finally:
        writer.close()


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Embed with the number of threads that the store was begun with: the bits depend on it.

    Only that: what `progress` lets in between is not to be slowed down by it.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _judged(
    source: PatchSource, start: int, n_readers: int = 1
) -> Iterator[tuple[int, NDArray[np.uint8] | None, Verdict]]:
    """Yield (position, pixels or None if dropped, verdict) in index order, read ahead.

    Each reading thread has one task of `READ_AHEAD` patches, and one more is done already.
    """

    def work(positions: NDArray[np.int64]) -> list[tuple[int, NDArray[np.uint8] | None, Verdict]]:
        judged = []
        patches = source.read_many(positions)
        for position, patch in zip(map(int, positions), patches, strict=True):
            verdict = source.verdict(patch)
            judged.append((position, patch if source.is_kept(verdict) else None, verdict))
        return judged

    order = source.order()[start:]
    tasks = (order[i : i + READ_AHEAD] for i in range(0, len(order), READ_AHEAD))
    with ThreadPoolExecutor(n_readers, "slideloop-read") as pool:
        pending = [pool.submit(work, task) for task in itertools.islice(tasks, n_readers + 1)]
        try:
            while pending:
                yield from pending.pop(0).result()
                pending += [pool.submit(work, task) for task in itertools.islice(tasks, 1)]
        finally:
            for future in pending:
                future.cancel()


def sample_normalisation(source: PatchSource) -> Normalisation:
    """Measure the normalisation on the first 512 kept patches of the index order (1.3).

    Raises
    ------
    NoTissueError
        If no patch passes the filter.
    """
    kept = (patch for _, patch, _ in _judged(source, 0) if patch is not None)
    try:
        return measure(itertools.islice(kept, SAMPLE_PATCHES), "sample")
    except NoTissueError as err:
        raise _nothing_kept(source) from err


def dataset_normalisation(sources: list[PatchSource]) -> Normalisation:
    """Measure the normalisation on all kept patches of the sources, in a pass of its own (1.3)."""
    kept = (patch for source in sources for _, patch, _ in _judged(source, 0) if patch is not None)
    return measure(kept, "dataset")


def _reason(verdict: Verdict) -> str | None:
    """Say what speaks against a patch: background alone, structureless alone, both, or nothing."""
    if verdict.background and verdict.structureless:
        return "both"
    if verdict.background:
        return "background"
    return "structureless" if verdict.structureless else None


def _nothing_kept(source: PatchSource) -> NoTissueError:
    return NoTissueError(
        f"No patch of {source.name} passes the filter: it looks like glass all over.",
        hint="Check the slide, choose another --patch, or keep everything with --filter none.",
    )
