"""Feature stores with made-up features, written by the real writer: engines and studies on them
answer in milliseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideloop.features.store import FeatureStore, StoreWriter

IDENTITY = {
    "encoder": "resnet18",
    "weights": {"kind": "random", "name": "seed 0", "sha256": "0" * 64},
    "normalisation": [[0.5, 0.5, 0.5], [0.2, 0.2, 0.2]],
}


def identity_of(fingerprint: str, **more: Any) -> dict[str, Any]:
    return {**IDENTITY, "fingerprint": fingerprint, "filter": "none", **more}


def features_of(
    labels: NDArray[np.integer],
    shape: tuple[int, int, int] = (8, 2, 2),
    spread: float = 1.0,
    seed: int = 0,
) -> NDArray[np.float16]:
    """Features with a mean of their own per class, of shape (n, *shape), none below 0."""
    rng = np.random.default_rng(seed)
    means = rng.normal(2, 1, (int(labels.max()) + 1, shape[0], 1, 1))
    noise = rng.normal(0, spread, (len(labels), *shape))
    return np.maximum(means[labels] + noise, 0).astype(np.float16)


def begin_store(
    root: Path,
    identity: dict[str, Any],
    shape: tuple[int, int, int],
    kind: str = "full",
    name: str = "made-up.tif",
) -> StoreWriter:
    root.mkdir(parents=True, exist_ok=True)
    more = {
        "name": name,
        "feature_shape": list(shape),
        "n_threads": 1,
        "details": {"path": name, "width": 4096, "height": 4096},
    }
    return StoreWriter.open(root, identity, kind, more)


def rows_of(
    full: NDArray[np.float16], start: int, end: int, n_columns: int = 1000
) -> dict[str, NDArray[Any]]:
    place = np.arange(start, min(end, len(full)))
    cells = np.column_stack((place % n_columns, place // n_columns)).astype(np.int32)
    part = full[start:end]
    pooled = part.astype(np.float32).mean((2, 3)).astype(np.float16)
    return {"cells": cells, "pooled": pooled, "full": part}


def write_store(
    root: Path,
    full: NDArray[np.float16],
    *,
    kind: str = "full",
    batch: int = 32,
    identity: dict[str, Any] | None = None,
    n_columns: int = 1000,
) -> FeatureStore:
    """Write a whole store; patch i is cell (i % n_columns, i // n_columns)."""
    shape: Any = full.shape[1:]
    writer = begin_store(root, identity or identity_of("f" * 64), shape, kind)
    for start in range(0, len(full), batch):
        rows = rows_of(full, start, start + batch, n_columns)
        writer.append(rows, min(start + batch, len(full)), {"background": 0})
    return writer.finish()
