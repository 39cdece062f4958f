"""What `plain.py` does, by slideloop.

`bench.py` runs both, each in a process of its own; it prints JSON.

python examples/benchmarks/ours.py index slide.tif --workspace DIR
python examples/benchmarks/ours.py make-store --folder DIR --patches 12500
python examples/benchmarks/ours.py round STORE_DIR --labels 100
python examples/benchmarks/ours.py linear STORE_DIR --labels 250
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.features.encoders import Encoder
    from slideloop.features.normalisation import Normalisation
    from slideloop.features.store import FeatureStore
    from slideloop.learning.engine import Engine

PATCH, K = 256, 5
IN_MEMORY = 512
"""Patches that the backbone alone is timed on, at most."""

SHAPE = (512, 7, 7)
CLASSES = "classes.npy"


def index(path: Path, encoder: Encoder, folder: Path) -> dict[str, Any]:
    """Index a slide into a new workspace, then run the backbone alone on patches in memory."""
    from slideloop.features.normalisation import IMAGENET
    from slideloop.features.workspace import PatchOptions, Workspace

    begun = time.perf_counter()
    workspace = Workspace(folder)
    [source] = workspace.open_slides([path], PatchOptions(patch=PATCH))
    opened = time.perf_counter()
    store = workspace.index(source, encoder, IMAGENET, "full")
    ended = time.perf_counter()
    n = min(len(store), IN_MEMORY)
    in_memory = np.stack([source.reader.read(*_place(c), PATCH, PATCH) for c in store.cells[:n]])
    backbone_s = _backbone_s(encoder, in_memory, IMAGENET)
    workspace.close()
    frozen = ("dtype", "compile", "memory_format")
    return {
        "index_s": ended - begun,
        "open_s": opened - begun,
        "n_patches": len(store),
        "backbone_s": backbone_s,
        "n_in_memory": n,
        "share_of_backbone": len(store) / (ended - opened) / (n / backbone_s),
        "encoder": {key: store.manifest[key] for key in frozen if key in store.manifest},
    }


def _place(cell: NDArray[np.int32]) -> tuple[int, int]:
    column, row = cell.tolist()
    return column * PATCH, row * PATCH


def _backbone_s(
    encoder: Encoder, patches: NDArray[np.uint8], normalisation: Normalisation
) -> float:
    begun = time.perf_counter()
    encoder.features(patches, normalisation)
    return time.perf_counter() - begun


def make_store(folder: Path, n_patches: int) -> Path:
    """Write a store of made-up features of two classes, and the patches' classes beside it, once.

    A channel has a mean of its own per class, noise per position, and no value below 0, as after
    ReLU. The same number of patches gives the same bytes.
    """
    from slideloop.features.store import StoreWriter, find_store

    rng = np.random.default_rng(0)
    classes = rng.integers(0, 2, n_patches)
    means = rng.normal(0, 0.25, (2, SHAPE[0], 1, 1)).astype(np.float32)
    identity = {
        "fingerprint": "0" * 64,
        "filter": "none",
        "encoder": "resnet18",
        "weights": {"kind": "random", "name": "seed 0", "sha256": "0" * 64},
        "normalisation": [[0.5, 0.5, 0.5], [0.2, 0.2, 0.2]],
        "n_patches": n_patches,
    }
    more = {"name": "made up", "feature_shape": list(SHAPE), "n_threads": 1, "details": {}}
    folder.mkdir(parents=True, exist_ok=True)
    if found := find_store(folder, identity, "full"):
        return found.folder
    np.save(folder / CLASSES, classes)
    writer = StoreWriter.open(folder, identity, "full", more)
    for start in range(0, n_patches, 256):
        place = np.arange(start, min(start + 256, n_patches))
        noise = rng.standard_normal((len(place), *SHAPE), np.float32)
        full = np.maximum(means[classes[place]] + noise, 0).astype(np.float16)
        pooled = full.astype(np.float32).mean((2, 3)).astype(np.float16)
        cells = np.column_stack((place % 125, place // 125)).astype(np.int32)
        rows = {"cells": cells, "pooled": pooled, "full": full}
        writer.append(rows, int(place[-1]) + 1, {"background": 0})
    store = writer.finish()
    writer.close()
    return store.folder


def run_round(
    engine: Engine,
    store: FeatureStore,
    classes: NDArray[np.int64],
    n_labels: int,
    *,
    is_scored: bool = True,
) -> dict[str, float]:
    """Train on the first patches, score all, and choose the next ones, as a study does."""
    from slideloop.learning.database import Database, LabelledSet, QueryFeatures, references
    from slideloop.learning.ranking import nearest_first
    from slideloop.learning.sampling import choose

    database = Database([store])
    search = database.present()
    refs = references(0, np.arange(n_labels))
    labelled = LabelledSet(refs, classes[:n_labels])
    relevant = refs[classes[:n_labels] == 0]
    query = QueryFeatures(relevant[:1], store.pooled[:0], store.features()[:0])
    begun = time.perf_counter()
    models = engine.train(database, labelled, search, 2, 0)
    trained = time.perf_counter()
    times = {"train_s": trained - begun}
    if is_scored:
        scores = engine.score(database, search, models, query, relevant[1:], 0)
        unseen = np.arange(n_labels, len(store))
        order = unseen[nearest_first(scores.key[unseen])]
        assert scores.probability is not None
        is_positive = scores.probability[order].argmax(1) == 0
        choose("cnfp", order, K, rng=np.random.default_rng(0), is_positive=is_positive)
        times["score_s"] = time.perf_counter() - trained
    return times


def faithful_round(
    encoder: Encoder, folder: Path, n_labels: int, epochs: int, *, is_scored: bool
) -> dict[str, float]:
    """Run one round of the paper's engine."""
    from slideloop.features.store import open_store
    from slideloop.learning.faithful import FaithfulEngine
    from slideloop.learning.heads import TrainingSettings

    engine = FaithfulEngine(encoder, TrainingSettings(epochs=epochs))
    classes = np.load(folder.parent / CLASSES)
    return run_round(engine, open_store(folder), classes, n_labels, is_scored=is_scored)


def linear_rounds(folder: Path, n_labels: int, times: int) -> list[float]:
    """Run rounds of the linear engine one after the other, and return the seconds of each."""
    from slideloop.features.store import open_store
    from slideloop.learning.linear import LinearEngine

    store, classes = open_store(folder), np.load(folder.parent / CLASSES)
    rounds = [run_round(LinearEngine(), store, classes, n_labels) for _ in range(times)]
    return [sum(each.values()) for each in rounds]


def _import(*names: str) -> None:
    """Import what a running server has imported, so that no part's time contains it."""
    for name in names:
        importlib.import_module(name)


def main() -> None:
    """Run one part and print what it took."""
    parser = argparse.ArgumentParser(description="slideloop, to compare with plain PyTorch.")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--device", default="cpu")
    parts = parser.add_subparsers(dest="part", required=True)
    of_index = parts.add_parser("index")
    of_index.add_argument("slide", type=Path)
    of_index.add_argument("--workspace", type=Path, required=True)
    of_index.add_argument("--precision", default="auto")
    of_store = parts.add_parser("make-store")
    of_store.add_argument("--folder", type=Path, required=True)
    of_store.add_argument("--patches", type=int, required=True)
    for name in ("round", "linear"):
        of_round = parts.add_parser(name)
        of_round.add_argument("store", type=Path)
        of_round.add_argument("--labels", type=int, required=True)
        of_round.add_argument("--epochs", type=int, default=50)
        of_round.add_argument("--train-only", action="store_true")
        of_round.add_argument("--times", type=int, default=1)
    given = parser.parse_args()
    result: dict[str, Any]
    if given.part == "make-store":
        result = {"folder": str(make_store(given.folder, given.patches))}
    elif given.part == "linear":
        _import("torch", "sklearn.linear_model", "faiss")
        result = {"round_s": linear_rounds(given.store, given.labels, given.times)}
    else:
        from slideloop.features.encoders import load_encoder

        _import("torch", "torchvision", "tiffslide", "openslide", "pytorch_metric_learning.losses")
        _import("pytorch_metric_learning.miners", "faiss")
        begun = time.perf_counter()
        precision = getattr(given, "precision", "auto")
        encoder = load_encoder("resnet18", given.weights, given.device, precision)
        loaded_s = time.perf_counter() - begun
        if given.part == "index":
            result = index(given.slide, encoder, given.workspace)
        else:
            result = faithful_round(
                encoder, given.store, given.labels, given.epochs, is_scored=not given.train_only
            )
        result["load_s"] = loaded_s
    import torch

    print(json.dumps({**result, "n_threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
