"""Training of the heads, beside an independent version of it in a few lines of PyTorch."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from pytorch_metric_learning import distances, losses
from torch import nn
from torchvision.models.resnet import BasicBlock

from slideloop.features.encoders import Encoder
from slideloop.learning.heads import (
    TrainingSettings,
    TripletTraining,
    batches,
    folded,
    run,
    train_classifier,
    train_metric,
)

MARGIN = 0.2
LEARNING_RATE = 1e-4
VARIANTS = list(itertools.product(("normalised", "raw"), ("batch_hard", "hard")))
FORMATS = pytest.mark.parametrize("precision", ["fp32", "fp32-fourier"])
"""By torch's convolutions and by our own."""

Samples = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def thin_head() -> nn.Module:
    """A head as ResNet-18's, 32 channels wide instead of 512."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        block = BasicBlock(32, 32)
    return nn.Sequential(block, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def samples(n: int = 13, channels: int = 32, seed: int = 0) -> Samples:
    """Three classes of features, as doubles: rounding must not hide a difference."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    features = torch.randn(n, channels, 2, 2, generator=generator, dtype=torch.float64).abs()
    weights = torch.rand(n, generator=generator, dtype=torch.float64) + 0.1
    return features, labels, weights


def settings_of(**more: Any) -> TrainingSettings:
    return TrainingSettings(**{"epochs": 3, **more})


# The independent version ---------------------------------------------------------------------


def distance_matrix(embeddings: torch.Tensor, metric_distance: str) -> torch.Tensor:
    if metric_distance == "normalised":
        embeddings = embeddings / embeddings.norm(dim=1, keepdim=True)
    difference = embeddings[:, None] - embeddings[None]
    return (difference.square().sum(2) + 1e-30).sqrt()


def own_triplets(
    embeddings: torch.Tensor, labels: torch.Tensor, metric_distance: str, mining: str
) -> list[tuple[int, int, int]]:
    d = distance_matrix(embeddings.detach(), metric_distance)
    found = []
    for a in range(len(labels)):
        positives = [p for p in range(len(labels)) if p != a and labels[p] == labels[a]]
        negatives = [n for n in range(len(labels)) if labels[n] != labels[a]]
        if mining == "hard":
            found += [(a, p, n) for p in positives for n in negatives if d[a, n] <= d[a, p]]
        elif positives and negatives:
            farthest = max(positives, key=lambda p: float(d[a, p]))
            nearest = min(negatives, key=lambda n: float(d[a, n]))
            found.append((a, farthest, nearest))
    return found


def own_triplet_loss(
    embeddings: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    metric_distance: str,
    mining: str,
) -> torch.Tensor | None:
    triplets = own_triplets(embeddings, labels, metric_distance, mining)
    if not triplets:
        return None
    d = distance_matrix(embeddings, metric_distance)
    total, weight = torch.zeros((), dtype=embeddings.dtype), 0.0
    for a, p, n in triplets:
        loss = d[a, p] - d[a, n] + MARGIN
        if loss > 0:
            w = weights[a] * weights[p] * weights[n] if mining == "hard" else weights[a]
            total, weight = total + w * loss, weight + w
    return total / weight if weight else total


def own_training(model: nn.Module, loss_of: Any, data: Samples, epochs: int) -> nn.Module:
    features, labels, weights = data
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    model.train()
    for _ in range(epochs):
        loss = loss_of(model(features), labels, weights)
        if loss is not None:
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


def assert_same_parameters(one: nn.Module, other: nn.Module) -> None:
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def has_moved(before: nn.Module, after: nn.Module) -> bool:
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    return any(not torch.equal(a, b) for a, b in pairs)


# Triplets and loss ---------------------------------------------------------------------------


@pytest.mark.parametrize(("metric_distance", "mining"), VARIANTS)
def test_the_same_triplets_are_mined(metric_distance: Any, mining: Any) -> None:
    embeddings, labels = samples()[0].flatten(1), samples()[1]
    training = TripletTraining(settings_of(metric_distance=metric_distance, mining=mining))
    mined = torch.stack(training.miner(embeddings, labels)).T.tolist()
    expected = own_triplets(embeddings, labels, metric_distance, mining)
    assert len(expected) > 5
    assert sorted(map(tuple, mined)) == sorted(expected)


@pytest.mark.parametrize(("metric_distance", "mining"), VARIANTS)
def test_the_same_batch_gives_the_same_loss(metric_distance: Any, mining: Any) -> None:
    features, labels, weights = samples()
    embeddings = features.flatten(1)
    training = TripletTraining(settings_of(metric_distance=metric_distance, mining=mining))
    loss = training(embeddings, labels, weights)
    expected = own_triplet_loss(embeddings, labels, weights, metric_distance, mining)
    assert loss is not None and expected is not None and expected > 0
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("metric_distance", "mining"), VARIANTS)
def test_weights_of_one_give_the_librarys_own_mean(metric_distance: Any, mining: Any) -> None:
    features, labels, _ = samples()
    embeddings = features.flatten(1)
    training = TripletTraining(settings_of(metric_distance=metric_distance, mining=mining))
    distance = distances.LpDistance(normalize_embeddings=metric_distance == "normalised")
    library = losses.TripletMarginLoss(MARGIN, distance=distance)
    expected = library(embeddings, labels, training.miner(embeddings, labels))
    loss = training(embeddings, labels, torch.ones(len(labels), dtype=torch.float64))
    assert loss is not None
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)


def test_without_triplets_there_is_no_loss() -> None:
    embeddings, _, weights = samples(2)
    training = TripletTraining(settings_of())
    assert training(embeddings.flatten(1), torch.tensor([0, 1]), weights) is None


# Whole trainings -----------------------------------------------------------------------------


@FORMATS
@pytest.mark.parametrize(("metric_distance", "mining"), VARIANTS)
def test_the_metric_model_comes_out_the_same(
    metric_distance: Any, mining: Any, precision: str
) -> None:
    data = samples()
    settings = settings_of(metric_distance=metric_distance, mining=mining)
    start = thin_head().double()
    trained = train_metric(copy.deepcopy(start), *data, settings, seed=1, precision=precision)

    def loss_of(*batch: Any) -> torch.Tensor | None:
        return own_triplet_loss(*batch, metric_distance, mining)

    expected = own_training(copy.deepcopy(start), loss_of, data, settings.epochs)
    assert has_moved(start, trained)
    assert_same_parameters(trained, expected)


@FORMATS
def test_the_classifier_comes_out_the_same(precision: str) -> None:
    data = samples()
    start = thin_head().double()
    torch.set_default_dtype(torch.float64)
    try:
        trained = train_classifier(
            copy.deepcopy(start), 4, *data, settings_of(), seed=5, precision=precision
        )
        torch.manual_seed(5)
        model = nn.Sequential(copy.deepcopy(start), nn.Linear(32, 4))
    finally:
        torch.set_default_dtype(torch.float32)

    def loss_of(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        log_p = logits - logits.exp().sum(1, keepdim=True).log()
        picked = log_p[torch.arange(len(labels)), labels]
        return -(weights * picked).sum() / weights.sum()

    assert_same_parameters(trained, own_training(model, loss_of, data, 3))


@FORMATS
def test_several_batches_are_shuffled_by_the_seed_and_all_step(precision: str) -> None:
    features, labels, weights = samples(17)
    start = thin_head().double()
    settings = settings_of(batch=8, epochs=2)
    trained = train_metric(
        copy.deepcopy(start), features, labels, weights, settings, seed=3, precision=precision
    )
    expected = copy.deepcopy(start).train()
    optimiser = torch.optim.Adam(expected.parameters(), lr=LEARNING_RATE)
    shuffle = torch.Generator().manual_seed(3)
    for _ in range(2):
        order = torch.randperm(17, generator=shuffle)
        for part in (order[:8], order[8:]):  # the last one of one joined the second
            loss = own_triplet_loss(
                expected(features[part]), labels[part], weights[part], "normalised", "batch_hard"
            )
            assert loss is not None
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert_same_parameters(trained, expected)


@pytest.mark.parametrize("mining", ["batch_hard", "hard"])
def test_the_squares_of_a_query_weigh_as_one_sample_in_the_metric_model(
    squeezenet: Encoder, mining: Any
) -> None:
    # This head has no BatchNorm, so that a sample four times at a quarter is that sample once.
    features, labels, _ = samples(9, 512)
    start = squeezenet.new_head().double()
    one = torch.ones(9, dtype=torch.float64)
    repeated = torch.cat((torch.arange(8), torch.full((4,), 8)))
    quarter = torch.tensor([1.0] * 8 + [0.25] * 4, dtype=torch.float64)
    settings = settings_of(mining=mining)
    once = train_metric(copy.deepcopy(start), features, labels, one, settings, 0)
    squares = train_metric(
        copy.deepcopy(start), features[repeated], labels[repeated], quarter, settings, 0
    )
    assert has_moved(start, once)
    assert_same_parameters(once, squares)


def test_the_squares_of_a_query_weigh_as_one_sample_in_the_classifier(squeezenet: Encoder) -> None:
    features, labels, _ = samples(9, 512)
    features = features.float()
    start = squeezenet.new_head()
    repeated = torch.cat((torch.arange(8), torch.full((4,), 8)))
    quarter = torch.tensor([1.0] * 8 + [0.25] * 4)
    settings = settings_of(epochs=1)
    once = train_classifier(copy.deepcopy(start), 3, features, labels, torch.ones(9), settings, 0)
    squares = train_classifier(
        copy.deepcopy(start), 3, features[repeated], labels[repeated], quarter, settings, 0
    )
    torch.testing.assert_close(once(features), squares(features), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("mining", ["batch_hard", "hard"])
def test_a_batch_without_triplets_does_no_step(mining: Any) -> None:
    features, _, weights = samples(2)
    start = thin_head().double()
    labels = torch.tensor([0, 1])
    trained = train_metric(
        copy.deepcopy(start), features, labels, weights, settings_of(mining=mining), 0
    )
    assert not has_moved(start, trained)


@FORMATS
def test_batch_norm_trains_and_is_frozen_afterwards(precision: str) -> None:
    start, settings = thin_head().double(), settings_of(epochs=2)
    trained = train_metric(copy.deepcopy(start), *samples(), settings, 0, precision=precision)
    before, after = start.state_dict(), trained.state_dict()
    means = [name for name in before if name.endswith("running_mean")]
    assert len(means) == 2
    assert all(not torch.equal(before[name], after[name]) for name in means)
    counters = [name for name in after if name.endswith("num_batches_tracked")]
    assert all(int(after[name] - before[name]) == 2 for name in counters)
    assert not trained.training
    assert not any(parameter.requires_grad for parameter in trained.parameters())


def test_the_pretrained_head_stays_as_it_was(resnet18: Encoder) -> None:
    before = copy.deepcopy(resnet18.new_head().state_dict())
    data = samples(13, 512)
    features, labels, weights = (t.float() if t.is_floating_point() else t for t in data)
    train_metric(resnet18.new_head(), features, labels, weights, settings_of(epochs=1), 0)
    train_classifier(resnet18.new_head(), 3, features, labels, weights, settings_of(epochs=1), 0)
    after = resnet18.new_head().state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@FORMATS
@pytest.mark.parametrize("batch", [512, 5])
def test_the_same_seed_gives_the_same_bits(batch: int, precision: str) -> None:
    features, labels, weights = (t.float() if t.is_floating_point() else t for t in samples())
    data = (features, labels, weights, settings_of(batch=batch, epochs=2))

    def models(seed: int) -> list[torch.Tensor]:
        metric = train_metric(thin_head(), *data, seed, precision=precision)
        classifier = train_classifier(thin_head(), 3, *data, seed, precision=precision)
        return [*metric.state_dict().values(), *classifier.state_dict().values()]

    first = models(4)
    torch.manual_seed(99)  # what others draw from torch's own generator changes nothing
    again, other = models(4), models(5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@FORMATS
def test_what_is_folded_is_the_same_function(precision: str) -> None:
    features, labels, weights = (t.float() if t.is_floating_point() else t for t in samples())
    trained = train_classifier(thin_head(), 3, features, labels, weights, settings_of(), seed=0)
    quick = folded(trained, precision, features.shape[-1])
    found = run(quick, features.contiguous(memory_format=torch.channels_last), precision)
    torch.testing.assert_close(found, trained(features), rtol=1e-4, atol=1e-5)


def test_training_leaves_torchs_own_generator_alone() -> None:
    features, labels, weights = (t.float() if t.is_floating_point() else t for t in samples())
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train_classifier(thin_head(), 3, features, labels, weights, settings_of(epochs=1), seed=0)
    assert torch.equal(torch.rand(3), expected)


# Batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [
        (3, 512, [3]),
        (512, 512, [512]),
        (513, 512, [513]),
        (514, 512, [512, 2]),
        (17, 8, [8, 9]),
        (16, 8, [8, 8]),
        (18, 8, [8, 8, 2]),
    ],
)
def test_a_last_batch_of_one_joins_the_one_before(n: int, size: int, sizes: list[int]) -> None:
    parts = batches(n, size, torch.Generator().manual_seed(0))
    assert [len(part) for part in parts] == sizes
    assert sorted(torch.cat(parts).tolist()) == list(range(n))


def test_each_epoch_is_shuffled_anew() -> None:
    shuffle = torch.Generator().manual_seed(0)
    first, second = (torch.cat(batches(50, 10, shuffle)).tolist() for _ in range(2))
    assert first != second != list(range(50))
