"""What holds on a card: the same bits for the same work, near to a processor's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.slide_files import ArrayReader
from tests.synthetic_stores import features_of, write_store

from slideloop.features.encoders import Encoder, load_encoder
from slideloop.features.indexing import index
from slideloop.features.normalisation import IMAGENET
from slideloop.features.sources import SlidePatches
from slideloop.learning.database import Database, LabelledSet, QueryFeatures, SearchSet
from slideloop.learning.engine import Scores
from slideloop.learning.faithful import FaithfulEngine, FaithfulModels
from slideloop.learning.heads import TrainingSettings
from slideloop.slides.grid import make_grid

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA card here")

N, SIDE = 600, 224
LABELS = np.arange(N) % 3
NO_REFS = np.zeros(0, np.int64)
QUERY = QueryFeatures(np.array([0]), np.zeros((0, 512), np.float16))


@pytest.fixture(scope="module")
def card() -> Encoder:
    return load_encoder("resnet18", "random", "cuda")


def source() -> SlidePatches:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20 * SIDE, 20 * SIDE, 3), np.uint8)
    grid = make_grid(20 * SIDE, 20 * SIDE, None, SIDE)
    return SlidePatches(ArrayReader(pixels), grid, "none", "f" * 64)


def database(root: Path) -> Database:
    return Database([write_store(root, features_of(LABELS, (512, 7, 7), spread=1.5))])


def trained(engine: FaithfulEngine, on: Database) -> FaithfulModels:
    refs = np.arange(30, dtype=np.int64)
    labelled = LabelledSet(refs, LABELS[refs].astype(np.int64))
    return engine.train(on, labelled, on.present(), 3, 0)


def scored(engine: FaithfulEngine, on: Database, models: FaithfulModels, n: int = N) -> Scores:
    return engine.score(on, SearchSet((n,)), models, QUERY, NO_REFS, 0)


def test_an_index_has_the_same_bytes_twice(card: Encoder, tmp_path: Path) -> None:
    first, second = (index(source(), card, IMAGENET, tmp_path / name) for name in "ab")
    names = sorted(path.name for path in first.folder.iterdir())
    assert "full.npy" in names
    for name in names:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def test_features_are_those_of_a_processor(card: Encoder) -> None:
    patches = np.stack([source().read(position) for position in range(16)])
    processor = load_encoder("resnet18", "random", "cpu", "fp32")
    wide = load_encoder("resnet18", "random", "cuda", "fp32")
    expected = processor.features(patches, IMAGENET)[1].astype(np.float32)
    spread = np.linalg.norm(expected - expected.mean(0))
    for encoder, most in ((wide, 0.005), (card, 0.15)):
        found = encoder.features(patches, IMAGENET)[1].astype(np.float32)
        assert np.linalg.norm(found - expected) < most * spread


@pytest.mark.parametrize("mining", ["batch_hard", "hard"])
def test_training_and_scores_have_the_same_bits_twice(
    card: Encoder, tmp_path: Path, mining: str
) -> None:
    on, settings = database(tmp_path), TrainingSettings(epochs=5, mining=mining)  # type: ignore[arg-type]
    engines = [FaithfulEngine(card, settings) for _ in range(2)]
    models = [trained(engine, on) for engine in engines]
    assert models[0].digest == models[1].digest
    first, second = (scored(e, on, m) for e, m in zip(engines, models, strict=True))
    assert np.array_equal(first.key, second.key)
    assert first.probability is not None and second.probability is not None
    assert np.array_equal(first.probability, second.probability)


def test_resident_features_change_no_bit(
    card: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on, engine = database(tmp_path), FaithfulEngine(card, TrainingSettings(epochs=2))
    assert card.resident is not None
    grown = trained(engine, on)
    for n in (100, 256, 300, N):
        resident = scored(engine, on, grown, n)
    monkeypatch.setattr(card, "resident", None)
    carried = scored(engine, on, trained(engine, on))
    assert np.array_equal(resident.key, carried.key)
    assert resident.probability is not None and carried.probability is not None
    assert np.array_equal(resident.probability, carried.probability)
