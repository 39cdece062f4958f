"""Training of the two heads: the metric model and the classifier (algorithm.md 3.4 to 3.7).

Owns the losses and the loop over epochs and batches. Knows nothing of patches, slides or rounds:
it sees arrays.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from slideloop.features.encoders import N_POOLING
from slideloop.features.folding import fold
from slideloop.features.fourier import PositionsFirst
from slideloop.features.precision import FOURIER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EMBED_BATCH = 256


@dataclass(frozen=True)
class TrainingSettings:
    """How both heads are trained; the defaults are the paper's and algorithm.md's.

    Attributes
    ----------
    epochs : int
        Passes over all labels per round.
    learning_rate : float
        Of Adam.
    batch : int
        Most samples per step.
    margin : float
        Of the triplet loss.
    metric_distance : {"normalised", "raw"}
        Distance of loss, miner, ranking and refinement alike.
    mining : {"batch_hard", "hard"}
        Which triplets are trained on.
    """

    epochs: int = 50
    learning_rate: float = 1e-4
    batch: int = 512
    margin: float = 0.2
    metric_distance: Literal["normalised", "raw"] = "normalised"
    mining: Literal["batch_hard", "hard"] = "batch_hard"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a JSON-ready mapping."""
        return asdict(self)


class TripletTraining:
    """Triplet loss over mined triplets, loss and miner with one explicit distance (3.6)."""

    def __init__(self, settings: TrainingSettings) -> None:
        from pytorch_metric_learning import distances, losses, miners, reducers

        normalise = settings.metric_distance == "normalised"
        distance = distances.LpDistance(normalize_embeddings=normalise, p=2)
        self.loss = losses.TripletMarginLoss(
            settings.margin, distance=distance, reducer=reducers.DoNothingReducer()
        )
        self.mines_all = settings.mining == "hard"
        self.miner = (
            miners.BatchHardMiner(distance=distance)
            if settings.mining == "batch_hard"
            else miners.TripletMarginMiner(
                settings.margin, type_of_triplets="hard", distance=distance
            )
        )

    def __call__(
        self, embeddings: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor | None:
        """Return the mean loss of the triplets that violate the margin, or None without triplets.

        Weights make the squares of one query weigh as one sample; with weights of 1 this is the
        library's own mean. Where every triplet is mined, one weighs as the product of its three
        samples; batch-hard mining has one triplet per anchor, which weighs as its anchor.
        """
        triplets = self.miner(embeddings, labels)
        anchor, positive, negative = triplets
        if len(anchor) == 0:
            return None
        losses = self.loss(embeddings, labels, triplets)["loss"]["losses"]
        weight = weights[anchor] * (losses > 0)
        if self.mines_all:
            weight = weight * weights[positive] * weights[negative]
        return (weight * losses).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)


def train_metric(
    head: nn.Module,
    features: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    settings: TrainingSettings,
    seed: int,
    progress: Callable[[float], None] | None = None,
    precision: str = "fp32",
) -> nn.Module:
    """Train the metric model with triplet loss (paper, section 2; algorithm.md 3.6).

    Parameters
    ----------
    head : Module
        Pretrained head, mutated; maps (n, channels, height, width) to (n, dim).
    features : Tensor of float32, shape (n, channels, height, width)
    labels : Tensor of int64, shape (n,)
        At least two classes.
    weights : Tensor of float32, shape (n,)
    settings : TrainingSettings
    seed : int
        Of everything random in it.
    progress : callable, optional
        Called with the share done after each batch; what it raises ends the training.
    precision : {"fp32", "bf16", "fp32-fourier"}
        Of the convolutions; parameters, pooling and losses are float32 in any.

    Returns
    -------
    Module
        `head`, in evaluation mode.
    """
    loss = TripletTraining(settings)
    _fit(head, loss, features, labels, weights, settings, seed, progress, precision)
    return head


def train_classifier(
    head: nn.Module,
    n_classes: int,
    features: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    settings: TrainingSettings,
    seed: int,
    progress: Callable[[float], None] | None = None,
    precision: str = "fp32",
) -> nn.Module:
    """Train the classifier with cross-entropy (paper, section 2; algorithm.md 3.7).

    Parameters as in `train_metric`; `n_classes` is the number of declared classes, one logit each.

    Returns
    -------
    Module
        Head and linear layer, in evaluation mode; gives logits of shape (n, n_classes).
    """
    with _seeded(seed):
        with torch.no_grad():
            dim = head.eval()(features[:1]).shape[1]
        model = nn.Sequential(head, nn.Linear(dim, n_classes)).to(features.device)

    def loss(
        logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor | None:
        each = nn.functional.cross_entropy(logits, labels, reduction="none")
        return (weights * each).sum() / weights.sum()

    _fit(model, loss, features, labels, weights, settings, seed, progress, precision)
    return model


def _fit(
    model: nn.Module,
    loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor | None],
    features: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor,
    settings: TrainingSettings,
    seed: int,
    progress: Callable[[float], None] | None,
    precision: str,
) -> None:
    """Run all epochs; BatchNorm trains, and a batch for which there is no loss does no step."""
    device, network = features.device, model
    if precision == FOURIER:
        maps_of, pooling, rest = parts_of(model)
        maps_of = PositionsFirst(maps_of, features.shape[-1], is_fixed=False)
        network = _joined(maps_of, pooling, rest)
        features = features.contiguous(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(
        model.parameters(), settings.learning_rate, fused=device.type != "mps"
    )
    is_narrow = precision == "bf16"
    features = features.bfloat16() if is_narrow else features
    shuffle = torch.Generator().manual_seed(seed)
    network.train()
    for epoch in range(settings.epochs):
        parts = batches(len(labels), settings.batch, shuffle)
        for number, chosen in enumerate(parts):
            if progress:
                progress((epoch + number / len(parts)) / settings.epochs)
            batch = chosen.to(device)
            # A single batch holds all samples in their order: no copy.
            part = features if len(parts) == 1 else features[batch]
            value = loss(run(network, part, precision), labels[batch], weights[batch])
            if value is None:
                continue
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    model.eval().requires_grad_(False)


def run(model: nn.Module, features: torch.Tensor, precision: str) -> torch.Tensor:
    """Run a head, or a classifier, which is a head and a linear layer.

    Parameters
    ----------
    model : Module
        A `Sequential` that ends in pooling and flattening, or such a one and a linear layer.
    features : Tensor, shape (n, channels, height, width)
    precision : {"fp32", "bf16", "fp32-fourier"}
        Of the convolutions; what is pooled is float32, so that embeddings keep their digits.

    Returns
    -------
    Tensor of float32
    """
    maps_of, pooling, rest = parts_of(model)
    with torch.autocast(features.device.type, torch.bfloat16, enabled=precision == "bf16"):
        maps = maps_of(features)
    return rest(pooling(maps.float() if precision == "bf16" else maps))


def folded(model: nn.Module, precision: str, side: int) -> nn.Module:
    """Return a trained model with BatchNorm in its convolutions, to be `run` many times.

    Parameters
    ----------
    model : Module
        As `train_metric` or `train_classifier` gives it.
    precision : {"fp32", "bf16", "fp32-fourier"}
        To be run in.
    side : int
        Of the features, in pixels.
    """
    maps_of, pooling, rest = parts_of(model)
    maps_of = fold(maps_of)
    if precision == FOURIER:
        maps_of = PositionsFirst(maps_of, side, is_fixed=True)
    else:
        maps_of.to(dtype=dtype_of(precision), memory_format=torch.channels_last)  # pyright: ignore
    return _joined(maps_of, pooling, rest)


def dtype_of(precision: str) -> torch.dtype:
    """Return the type that features have on their way into a head."""
    return torch.bfloat16 if precision == "bf16" else torch.float32


def _joined(maps_of: nn.Module, pooling: nn.Sequential, rest: nn.Sequential) -> nn.Module:
    """Put together what `parts_of` takes apart."""
    return nn.Sequential(nn.Sequential(maps_of, *pooling), *rest)


def parts_of(model: nn.Module) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
    """Split a head or classifier: what gives maps, their pooling, the linear layer if any."""
    assert isinstance(model, nn.Sequential)
    head, rest = (
        (model[0], model[1:]) if isinstance(model[0], nn.Sequential) else (model, model[:0])
    )
    assert isinstance(head, nn.Sequential)
    return head[:-N_POOLING], head[-N_POOLING:], rest


def batches(n: int, size: int, shuffle: torch.Generator) -> list[torch.Tensor]:
    """Split 0..n-1 into shuffled batches; a last batch of one joins the one before (3.4).

    A single batch holds all samples and keeps their order.
    """
    if n <= size:
        return [torch.arange(n)]
    parts = list(torch.randperm(n, generator=shuffle).split(size))
    if len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator for layers that draw from it, and put it back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
