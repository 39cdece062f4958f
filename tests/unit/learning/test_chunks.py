"""Chunks of pooled features: the same bits however a slide grew, and whatever is beside it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.synthetic_stores import begin_store, features_of, identity_of, rows_of, write_store

from slideloop.features.growing import GrowingStore
from slideloop.features.store import FeatureStore
from slideloop.learning.chunks import ROWS, SlideMoments, distances, products, together
from slideloop.learning.database import Database, LabelledSet, QueryFeatures, SearchSet
from slideloop.learning.linear import LinearEngine, LinearModels

N, BATCH, CHANNELS = 3 * ROWS + 300, 100, 8
SHAPE = (CHANNELS, 2, 2)
LABELS = np.arange(N) % 3
ENDS = [*range(BATCH, N, BATCH), N]
"""Prefixes that a search set may have."""


@pytest.fixture(scope="module")
def full() -> NDArray[np.float16]:
    return features_of(LABELS, SHAPE, spread=1.5)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, full: NDArray[np.float16]) -> FeatureStore:
    return write_store(tmp_path_factory.mktemp("chunks"), full, batch=BATCH)


def all_of(moments: Any) -> list[bytes]:
    return [moments.n.tobytes(), moments.mean.tobytes(), moments.squares.tobytes()]


# Moments -------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(ENDS), min_size=1, max_size=8))
def test_moments_have_the_same_bits_however_the_slide_grew(
    store: FeatureStore, prefixes: list[int]
) -> None:
    grown = SlideMoments()
    for n in prefixes:
        assert all_of(grown.of(store, n)) == all_of(SlideMoments().of(store, n))


def test_moments_are_those_of_all_rows(store: FeatureStore) -> None:
    for n in (BATCH, 2 * BATCH, 1100, N):
        found, rows = SlideMoments().of(store, n), store.pooled[:n].astype(np.float64)
        np.testing.assert_allclose(found.mean[0], rows.mean(0), rtol=1e-6)
        np.testing.assert_allclose(found.squares[0] / n, rows.var(0), rtol=1e-6)


def test_moments_of_two_slides_are_those_of_all_their_rows(store: FeatureStore) -> None:
    moments = SlideMoments()
    found = together([moments.of(store, 1100), moments.of(store, 200)]).joined()
    rows = np.concatenate((store.pooled[:1100], store.pooled[:200])).astype(np.float64)
    np.testing.assert_allclose(found.mean[0], rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.squares[0] / 1300, rows.var(0), rtol=1e-6)


def test_only_new_rows_of_a_slide_that_grew_are_read(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    class Rows(np.ndarray):
        def __getitem__(self, key: Any) -> Any:
            read.append(key.start)
            return np.asarray(self)[key]

    monkeypatch.setattr(store, "pooled", np.asarray(store.pooled).view(Rows))
    moments = SlideMoments()
    for n in (2100, N, N):
        moments.of(store, n)
    assert read == [0, ROWS, 2 * ROWS, 2 * ROWS, 3 * ROWS]


def test_rows_that_came_out_differently_are_not_taken_for_those_known(
    tmp_path: Path, full: NDArray[np.float16]
) -> None:
    def growing() -> GrowingStore:
        more: Any = {"name": "made-up.tif", "details": {}, "n_cells": N}
        return GrowingStore(tmp_path, identity_of("f"), "full", feature_shape=SHAPE, **more)

    def feed(store: GrowingStore, features: NDArray[np.float16]) -> None:
        writer = begin_store(tmp_path, identity_of("f"), SHAPE)
        store.begin(writer)
        for start in range(0, 2 * ROWS, ROWS):
            rows = rows_of(features, start, start + ROWS)
            writer.append(rows, start + ROWS, {})
            store.add(writer.batches[-1], rows["cells"], rows["pooled"])
        writer.discard()

    again = full.copy()
    again[:ROWS] *= 2
    grown, fresh = growing(), growing()
    moments = SlideMoments()
    feed(grown, full)
    before = moments.of(grown, 2 * ROWS)
    feed(grown, again)
    feed(fresh, again)
    after = moments.of(grown, 2 * ROWS)
    assert all_of(after) == all_of(SlideMoments().of(fresh, 2 * ROWS)) != all_of(before)


# Products and distances ----------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [1, 2, 5])
def test_a_patchs_product_does_not_depend_on_how_far_the_slide_is_indexed(
    store: FeatureStore, n_classes: int
) -> None:
    weights = np.random.default_rng(0).normal(size=(CHANNELS, n_classes)).astype(np.float32)
    whole = products(store.pooled, N, weights)
    expected = store.pooled.astype(np.float64) @ weights
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=1e-5)
    for n in (1, 31, ROWS, ROWS + 1, N - 1):
        assert np.array_equal(products(store.pooled, n, weights), whole[:n])


def test_a_patchs_distance_does_not_depend_on_how_far_the_slide_is_indexed(
    store: FeatureStore,
) -> None:
    rng = np.random.default_rng(0)
    mean, scale, centre = (rng.uniform(0.5, 2, CHANNELS).astype(np.float32) for _ in range(3))
    whole = distances(store.pooled, N, mean, scale, centre)
    rows = (store.pooled.astype(np.float64) - mean) / scale
    np.testing.assert_allclose(whole, np.linalg.norm(rows - centre, axis=1), rtol=1e-5)
    for n in (1, 31, ROWS, ROWS + 1, N - 1):
        assert np.array_equal(distances(store.pooled, n, mean, scale, centre), whole[:n])


# The engine on top of them -------------------------------------------------------------------


def played(
    database: Database, prefixes: list[SearchSet]
) -> tuple[LinearModels, NDArray[np.float32], NDArray[np.float32]]:
    """The last of several rounds: its models, its ranking, and that without models."""
    engine, refs = LinearEngine(), np.arange(60)
    labelled = LabelledSet(refs, LABELS[refs].astype(np.int64))
    query = QueryFeatures(np.array([4]), np.zeros((0, CHANNELS), np.float16))
    none = np.zeros(0, np.int64)
    for search in prefixes:
        models = engine.train(database, labelled, search, 3, 0)
        trained = engine.score(database, search, models, query, none, 1)
        untrained = engine.score(database, search, None, query, none, 1)
    return models, trained.key, untrained.key


def test_a_study_on_a_growing_slide_learns_the_bits_of_one_on_the_finished_slide(
    store: FeatureStore,
) -> None:
    steps = [SearchSet((n,)) for n in (300, 1100, 2000, 2100, N)]
    grown, at_once = played(Database([store]), steps), played(Database([store]), steps[-1:])
    assert grown[0].digest == at_once[0].digest
    assert np.array_equal(grown[1], at_once[1])
    assert np.array_equal(grown[2], at_once[2])


def test_the_bits_do_not_depend_on_the_number_of_threads(store: FeatureStore) -> None:
    results = []
    n_threads = torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(played(Database([store]), [SearchSet((N,))]))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(n_threads)
    for models, trained, untrained in results[1:]:
        assert models.digest == results[0][0].digest
        assert np.array_equal(trained, results[0][1])
        assert np.array_equal(untrained, results[0][2])


def test_a_slides_numbers_do_not_depend_on_what_is_searched_beside_it(
    tmp_path: Path, store: FeatureStore
) -> None:
    beside = write_store(
        tmp_path, features_of(LABELS[:1500], SHAPE, seed=5), identity=identity_of("b")
    )
    database = Database([store, beside])
    models, _, _ = played(database, [SearchSet((N, 1500))])
    query = QueryFeatures(np.array([4]), np.zeros((0, CHANNELS), np.float16))
    none = np.zeros(0, np.int64)
    keys = [
        LinearEngine().score(database, search, models, query, none, 1).key
        for search in (SearchSet((N, 1500)), SearchSet((N, 0)), SearchSet((0, 1500)))
    ]
    assert np.array_equal(keys[0], np.concatenate(keys[1:]))


def test_a_round_never_holds_all_features_as_float32(tmp_path: Path) -> None:
    n, channels = 20_000, 128
    labels = np.arange(n) % 2
    full = features_of(labels, (channels, 1, 1))
    database = Database([write_store(tmp_path, full, kind="pooled", batch=1000)])
    engine, search, none = LinearEngine(), SearchSet((n,)), np.zeros(0, np.int64)
    refs = np.arange(40)
    query = QueryFeatures(np.array([4]), np.zeros((0, channels), np.float16))
    tracemalloc.start()
    try:
        models = engine.train(database, LabelledSet(refs, labels[refs]), search, 2, 0)
        engine.score(database, search, models, query, none, 1)
        engine.score(database, search, None, query, none, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < n * channels * 4 / 3
