"""Both engines on made-up features, beside plain calculations of the same."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from tests.synthetic_stores import features_of, identity_of, write_store

from slideloop.errors import InvalidInputError, StoreMismatchError
from slideloop.features.encoders import Encoder
from slideloop.learning.database import Database, LabelledSet, QueryFeatures, SearchSet
from slideloop.learning.engines import create_engine
from slideloop.learning.faithful import FaithfulEngine
from slideloop.learning.heads import TrainingSettings
from slideloop.learning.linear import LinearEngine, LinearModels
from slideloop.learning.ranking import nearest_first

N = 60
LABELS = np.arange(N) % 3
NO_REFS = np.zeros(0, np.int64)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database([write_store(tmp_path, features_of(LABELS, (8, 2, 2), spread=1.5))])


@pytest.fixture
def deep(tmp_path: Path) -> Database:
    """Features with the channels that a real head takes."""
    full = features_of(LABELS, (512, 2, 2), spread=1.5)
    return Database([write_store(tmp_path / "deep", full)])


def labelled_set(n: int, classes: tuple[int, ...] = (0, 1, 2), step: int = 1) -> LabelledSet:
    refs = np.flatnonzero(np.isin(LABELS, classes))[::step][:n].astype(np.int64)
    return LabelledSet(refs, LABELS[refs].astype(np.int64))


def query_on(*refs: int) -> QueryFeatures:
    return QueryFeatures(np.array(refs, np.int64), np.zeros((0, 8), np.float16))


def standardised(pooled: NDArray[np.float16]) -> NDArray[np.float64]:
    values = pooled.astype(np.float64)
    return (values - values.mean(0)) / values.std(0)


def trained(database: Database, labelled: LabelledSet, n_classes: int = 3) -> LinearModels:
    return LinearEngine().train(database, labelled, database.present(), n_classes, 0)


# Linear --------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [(0, 1), (0, 2), (0, 1, 2)])
def test_linear_predicts_as_scikit_learn(database: Database, classes: tuple[int, ...]) -> None:
    labelled = labelled_set(21, classes)
    features = standardised(database.stores[0].pooled)
    model = LogisticRegression(C=1 / 21, max_iter=1000)
    model.fit(features[labelled.refs], labelled.labels)
    expected = np.zeros((N, 3))
    expected[:, model.classes_] = model.predict_proba(features)
    found = LinearEngine().predict(
        database.stores[0], len(database.stores[0]), trained(database, labelled)
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-12)


def test_a_declared_class_without_labels_has_probability_zero(database: Database) -> None:
    found = LinearEngine().predict(
        database.stores[0], len(database.stores[0]), trained(database, labelled_set(20, (0, 2)), 5)
    )
    assert found.shape == (N, 5)
    assert (found[:, [1, 3, 4]] == 0).all()
    assert np.isfinite(found).all()


def test_squares_of_a_query_train_with_the_weight_of_one(database: Database) -> None:
    base = labelled_set(20)
    off = features_of(np.array([1]), (8, 2, 2), seed=4).mean((2, 3)).astype(np.float16)
    query = QueryFeatures(NO_REFS, np.repeat(off, 4, axis=0))
    four = trained(database, LabelledSet(base.refs, base.labels, ((query, 1),)))
    one = QueryFeatures(NO_REFS, off)
    single = trained(database, LabelledSet(base.refs, base.labels, ((one, 1),)))
    engine = LinearEngine()
    np.testing.assert_allclose(
        engine.predict(database.stores[0], len(database.stores[0]), four),
        engine.predict(database.stores[0], len(database.stores[0]), single),
        atol=1e-4,
    )


def test_linear_ranks_by_the_log_odds_of_the_querys_class(database: Database) -> None:
    engine, models = LinearEngine(), trained(database, labelled_set(30))
    scores = engine.score(database, database.present(), models, query_on(0), NO_REFS, 1)
    probability = engine.predict(database.stores[0], len(database.stores[0]), models)[:, 1]
    assert nearest_first(scores.key).tolist() == np.argsort(-probability, kind="stable").tolist()
    np.testing.assert_allclose(scores.distance, 1 - probability, atol=1e-6)
    log_odds = np.log(probability / (1 - probability))
    np.testing.assert_allclose(scores.key, -log_odds, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("class_idx", [0, 1])
def test_log_odds_keep_their_order_where_probabilities_saturate(
    database: Database, class_idx: int
) -> None:
    coefficients = np.zeros((8, 2), np.float32)
    coefficients[0] = -200, 200
    models = LinearModels(
        np.zeros(8, np.float32), np.ones(8, np.float32), coefficients, np.zeros(2, np.float32)
    )
    scores = LinearEngine().score(
        database, database.present(), models, query_on(0), NO_REFS, class_idx
    )
    first = database.stores[0].pooled[:, 0].astype(np.float64)
    assert scores.probability is not None
    assert (scores.probability[first > 1, 1] == 1).sum() > 20
    sign = -1 if class_idx == 1 else 1
    assert nearest_first(scores.key).tolist() == np.argsort(sign * first, kind="stable").tolist()
    assert np.isfinite(scores.key).all()


@pytest.mark.parametrize("models", ["none", "one class"])
def test_before_a_classifier_linear_ranks_by_distance_to_query_and_relevant(
    database: Database, models: str
) -> None:
    given = None if models == "none" else trained(database, labelled_set(4, (1,)))
    relevant = np.array([4, 7, 10])
    scores = LinearEngine().score(database, database.present(), given, query_on(1, 2), relevant, 1)
    features = standardised(database.stores[0].pooled)
    centre = np.mean([features[[1, 2]].mean(0), *features[relevant]], axis=0)
    expected = np.linalg.norm(features - centre, axis=1)
    np.testing.assert_allclose(scores.distance, expected, rtol=1e-4)
    assert np.array_equal(scores.key, scores.distance)
    assert scores.probability is None


def test_a_query_of_an_unlabelled_class_is_ranked_by_distance(database: Database) -> None:
    models = trained(database, labelled_set(20, (0, 1)))
    scores = LinearEngine().score(database, database.present(), models, query_on(2), NO_REFS, 2)
    assert scores.distance[2] == pytest.approx(0, abs=1e-3)
    assert scores.probability is not None
    assert (scores.probability[:, 2] == 0).all()


def test_linear_standardises_over_the_search_set_of_the_round(database: Database) -> None:
    labelled, search = labelled_set(12), SearchSet((30,))
    models = LinearEngine().train(database, labelled, search, 3, 0)
    pooled = database.stores[0].pooled[:30].astype(np.float64)
    np.testing.assert_allclose(models.mean, pooled.mean(0), rtol=1e-6)
    np.testing.assert_allclose(models.scale, pooled.std(0), rtol=1e-6)


def test_a_channel_that_never_fires_does_not_divide_by_zero(tmp_path: Path) -> None:
    full = features_of(LABELS, (8, 2, 2))
    full[:, 3] = 0
    database = Database([write_store(tmp_path, full)])
    found = LinearEngine().predict(
        database.stores[0], len(database.stores[0]), trained(database, labelled_set(20))
    )
    assert np.isfinite(found).all()


def test_large_float16_features_do_not_overflow(tmp_path: Path) -> None:
    full = np.clip(features_of(LABELS, (8, 2, 2)).astype(np.float32) * 20_000, 0, 65_504)
    database = Database([write_store(tmp_path, full.astype(np.float16))])
    assert database.stores[0].pooled.dtype == np.float16
    found = LinearEngine().predict(
        database.stores[0], len(database.stores[0]), trained(database, labelled_set(20))
    )
    assert np.isfinite(found).all()


def test_equal_linear_models_have_equal_digests(database: Database) -> None:
    first, again = (trained(database, labelled_set(20)) for _ in range(2))
    other = trained(database, labelled_set(21))
    assert first.digest == again.digest != other.digest
    assert len(first.digest) == 64


def test_linear_trains_nothing_on_one_class(database: Database) -> None:
    models = trained(database, labelled_set(10, (2,)))
    assert not models.has_classifier
    assert not models.has_metric


def test_the_nearest_of_a_linear_query_are_by_its_class(database: Database) -> None:
    engine, models = LinearEngine(), trained(database, labelled_set(30))
    nearest = engine.nearest(database, 0, models, LABELS.astype(np.int64), 10)
    probability = engine.predict(database.stores[0], len(database.stores[0]), models)
    order = np.argsort(-probability[:, LABELS[5]], kind="stable")
    assert nearest[5].tolist() == order[order != 5][:10].tolist()
    assert nearest.shape == (N, 10)


# Faithful ------------------------------------------------------------------------------------


def faithful(encoder: Encoder, **more: Any) -> FaithfulEngine:
    return FaithfulEngine(encoder, TrainingSettings(**{"epochs": 2, **more}))


@torch.no_grad()
def brute_force(
    head: torch.nn.Module, full: NDArray[Any], refs: list[int], metric_distance: str
) -> NDArray[np.float64]:
    """Distances to the mean of a query patch and relevant ones, one patch at a time."""
    rows = [head(torch.from_numpy(np.asarray(row[None], np.float32)))[0] for row in full]
    embeddings = torch.stack(rows).double().numpy()
    if metric_distance == "normalised":
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    centre = embeddings[refs].mean(0)
    if metric_distance == "normalised":
        centre /= np.linalg.norm(centre)
    return np.linalg.norm(embeddings - centre, axis=1)


@pytest.mark.parametrize("metric_distance", ["normalised", "raw"])
@pytest.mark.parametrize("is_trained", [True, False])
def test_faithful_ranks_by_brute_force_distances(
    squeezenet: Encoder, deep: Database, metric_distance: str, is_trained: bool
) -> None:
    engine = faithful(squeezenet, metric_distance=metric_distance)
    models = engine.train(deep, labelled_set(12), deep.present(), 3, 0) if is_trained else None
    scores = engine.score(deep, deep.present(), models, query_on(0), np.array([3, 6]), 0)
    head = models.metric if models else squeezenet.new_head()
    assert head is not None
    expected = brute_force(head, deep.stores[0].features(), [0, 3, 6], metric_distance)
    np.testing.assert_allclose(scores.distance, expected, rtol=1e-3, atol=1e-4)
    assert np.array_equal(scores.key, scores.distance)
    assert (scores.probability is not None) == is_trained


@pytest.mark.parametrize("is_trained", [True, False])
def test_growing_in_steps_gives_the_bits_of_one_pass(
    squeezenet: Encoder, tmp_path: Path, is_trained: bool
) -> None:
    full = features_of(np.arange(600) % 3, (512, 2, 2))
    database = Database([write_store(tmp_path, full)])
    engines = [faithful(squeezenet, epochs=1) for _ in range(2)]
    results = []
    for engine, steps in zip(engines, ([100, 256, 300, 599, 600], [600]), strict=True):
        labelled = labelled_set(12) if is_trained else labelled_set(4, (0,))
        models = engine.train(database, labelled, SearchSet((100,)), 3, 0)
        for n in steps:
            scores = engine.score(database, SearchSet((n,)), models, query_on(0), NO_REFS, 0)
            assert len(scores.key) == n
        results.append(scores)
    stepped, at_once = results
    assert np.array_equal(stepped.key, at_once.key)
    if is_trained:
        assert stepped.probability is not None and at_once.probability is not None
        assert np.array_equal(stepped.probability, at_once.probability)


def test_faithful_predicts_what_its_classifier_says(squeezenet: Encoder, deep: Database) -> None:
    engine = faithful(squeezenet)
    models = engine.train(deep, labelled_set(12), deep.present(), 4, 0)
    assert models.classifier is not None
    with torch.no_grad():
        logits = models.classifier(torch.from_numpy(deep.full_of(np.arange(N))))
    found = engine.predict(deep.stores[0], len(deep.stores[0]), models)
    assert found.shape == (N, 4)
    np.testing.assert_allclose(found, logits.double().softmax(1).numpy(), atol=1e-4)


def test_faithful_trains_nothing_on_one_class(squeezenet: Encoder, deep: Database) -> None:
    models = faithful(squeezenet).train(deep, labelled_set(10, (1,)), deep.present(), 3, 0)
    assert not models.has_metric
    assert not models.has_classifier


def test_faithful_refuses_a_pooled_store(squeezenet: Encoder, tmp_path: Path) -> None:
    full = features_of(LABELS, (512, 2, 2))
    database = Database([write_store(tmp_path, full, kind="pooled")])
    engine = faithful(squeezenet)
    with pytest.raises(StoreMismatchError, match="pooled only"):
        engine.train(database, labelled_set(12), database.present(), 3, 0)
    with pytest.raises(StoreMismatchError, match="pooled only") as caught:
        engine.score(database, database.present(), None, query_on(0), NO_REFS, 0)
    assert "--store full" in caught.value.hint


def test_faithful_refuses_a_query_that_was_embedded_pooled(
    squeezenet: Encoder, deep: Database
) -> None:
    query = QueryFeatures(NO_REFS, deep.stores[0].pooled[:2])
    with pytest.raises(StoreMismatchError, match="pooled only"):
        faithful(squeezenet).score(deep, deep.present(), None, query, NO_REFS, 0)


def test_every_training_starts_from_the_pretrained_head(
    squeezenet: Encoder, deep: Database
) -> None:
    engine = faithful(squeezenet)
    first = engine.train(deep, labelled_set(12), deep.present(), 3, seed=1)
    engine.train(deep, labelled_set(30), deep.present(), 3, seed=2)
    again = engine.train(deep, labelled_set(12), deep.present(), 3, seed=1)
    assert first.digest == again.digest


def test_faithful_models_of_another_seed_have_another_digest(
    squeezenet: Encoder, deep: Database
) -> None:
    engine = faithful(squeezenet, epochs=1)
    digests = {
        engine.train(deep, labelled_set(12), deep.present(), 3, seed).digest for seed in (1, 2)
    }
    assert len(digests) == 2


def test_the_pretrained_ranking_is_not_touched_by_a_training(
    squeezenet: Encoder, deep: Database
) -> None:
    engine, query = faithful(squeezenet), query_on(0)
    before = engine.score(deep, deep.present(), None, query, NO_REFS, 0)
    models = engine.train(deep, labelled_set(12), deep.present(), 3, 0)
    engine.score(deep, deep.present(), models, query, NO_REFS, 0)
    fresh = faithful(squeezenet).score(deep, deep.present(), None, query, NO_REFS, 0)
    after = engine.score(deep, deep.present(), None, query, NO_REFS, 0)
    assert np.array_equal(before.key, after.key)
    assert np.array_equal(before.key, fresh.key)


def test_the_nearest_of_a_faithful_query_are_by_distance(
    squeezenet: Encoder, deep: Database
) -> None:
    engine = faithful(squeezenet)
    nearest = engine.nearest(deep, 0, None, LABELS, 5)
    head = squeezenet.new_head()
    distance = brute_force(head, deep.stores[0].features(), [7], "normalised")
    distance[7] = np.inf
    assert set(nearest[7].tolist()) == set(np.argsort(distance)[:5].tolist())


def test_two_slides_are_ranked_together(squeezenet: Encoder, tmp_path: Path) -> None:
    full = features_of(LABELS, (512, 2, 2))
    stores = [
        write_store(tmp_path, part, identity=identity_of(name))
        for name, part in (("a", full[:25]), ("b", full[25:]))
    ]
    both = Database(stores)
    together = Database([write_store(tmp_path, full)])
    engine, other = faithful(squeezenet), faithful(squeezenet)
    split = engine.score(both, both.present(), None, query_on(0), NO_REFS, 0)
    whole = other.score(together, together.present(), None, query_on(0), NO_REFS, 0)
    np.testing.assert_allclose(split.distance, whole.distance, atol=1e-6)


# Both ----------------------------------------------------------------------------------------


def test_an_unknown_engine_is_refused(squeezenet: Encoder) -> None:
    with pytest.raises(InvalidInputError, match="no engine 'quick'") as caught:
        create_engine("quick", squeezenet, TrainingSettings())
    assert "linear, faithful" in caught.value.hint


@pytest.mark.parametrize("name", ["linear", "faithful"])
def test_an_engine_is_made_by_its_name(squeezenet: Encoder, name: str) -> None:
    before = copy.deepcopy(squeezenet.new_head().state_dict())
    assert create_engine(name, squeezenet, TrainingSettings()).name == name
    after = squeezenet.new_head().state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
