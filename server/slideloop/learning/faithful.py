"""The `faithful` engine: both heads trained anew each round, to the letter (algorithm.md 3)."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from slideloop.errors import StoreDamagedError, StoreMismatchError
from slideloop.learning.engine import Models, Scores, digest
from slideloop.learning.heads import (
    EMBED_BATCH,
    TrainingSettings,
    dtype_of,
    folded,
    run,
    train_classifier,
    train_metric,
)
from slideloop.learning.ranking import distances, nearest_others

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.features.encoders import Encoder
    from slideloop.learning.database import (
        Database,
        Features,
        LabelledSet,
        QueryFeatures,
        SearchSet,
    )
    from slideloop.learning.engine import Progress


@dataclass(frozen=True)
class FaithfulModels:
    """A metric model and a classifier; None where it was not trained."""

    metric: nn.Module | None = None
    classifier: nn.Module | None = None
    digest: str = ""
    # By store: metric embeddings and logits of its first patches; grows with the index.
    outputs: dict[str, tuple[NDArray[np.float32], NDArray[np.float32] | None]] = field(
        default_factory=dict, repr=False
    )

    @property
    def has_metric(self) -> bool:
        """Whether the metric model was trained."""
        return self.metric is not None

    @property
    def has_classifier(self) -> bool:
        """Whether the classifier was trained."""
        return self.classifier is not None


class FaithfulEngine:
    """The paper's two heads above the frozen backbone.

    Parameters
    ----------
    encoder : Encoder
        Gives the pretrained head.
    settings : TrainingSettings
    """

    name = "faithful"
    is_quick = False

    def __init__(self, encoder: Encoder, settings: TrainingSettings) -> None:
        self._encoder, self._settings = encoder, settings
        self._pretrained = encoder.new_head().requires_grad_(False)
        self._untrained = FaithfulModels()

    def train(
        self,
        database: Database,
        labelled: LabelledSet,
        search: SearchSet,
        n_classes: int,
        seed: int,
        progress: Progress | None = None,
    ) -> FaithfulModels:
        """Train both heads from the pretrained one (algorithm.md 3.4)."""
        if labelled.n_classes < 2:
            return self._untrained
        # A prediction may make way for a training between its batches, and runs without gradients.
        with torch.inference_mode(False), torch.enable_grad():
            return self._train(database, labelled, n_classes, seed, progress)

    def _train(
        self,
        database: Database,
        labelled: LabelledSet,
        n_classes: int,
        seed: int,
        progress: Progress | None,
    ) -> FaithfulModels:
        device = self._encoder.device
        features = torch.from_numpy(labelled.full(database)).to(device)
        labels = torch.from_numpy(labelled.all_labels()).to(device)
        weights = torch.from_numpy(labelled.weights()).to(device)
        data = (features, labels, weights, self._settings, seed)
        first, second = _halves(progress)
        precision = self._encoder.head_precision
        metric = train_metric(self._encoder.new_head(), *data, first, precision)
        classifier = train_classifier(self._encoder.new_head(), n_classes, *data, second, precision)
        return FaithfulModels(metric, classifier, _digest(metric, classifier))

    def score(
        self,
        database: Database,
        search: SearchSet,
        models: Models | None,
        query: QueryFeatures,
        relevant: NDArray[np.int64],
        class_idx: int,
        progress: Progress | None = None,
    ) -> Scores:
        """Rank by Euclidean distance to the refined query."""
        trained = self._trained(models)
        squares = self._unit(
            self._embed([trained.metric or self._pretrained], self._full(query, database))[0]
        )
        points = [np.tensordot(query.weights(), squares, 1)]
        if len(relevant):
            full = database.full_of(relevant)
            points.extend(self._unit(self._embed([trained.metric or self._pretrained], full)[0]))
        mean = np.asarray(np.mean(points, axis=0, dtype=np.float32))
        centre = self._unit(mean[None])[0]
        pairs = [
            self._outputs(database.stores[slide], n, trained, progress)
            for slide, n in enumerate(search.lengths)
            if n
        ]
        distance = distances(np.concatenate([metric for metric, _ in pairs]), centre)
        probability = None
        if trained.has_classifier:
            probability = np.concatenate([_softmax(p) for _, p in pairs if p is not None])
        return Scores(distance, distance, probability)

    def predict(
        self,
        store: Features,
        n: int,
        models: Models,
        progress: Progress | None = None,
    ) -> NDArray[np.float64]:
        """Return class probabilities of a slide's first n patches."""
        _, logits = self._outputs(store, n, self._trained(models), progress)
        assert logits is not None
        return _softmax(logits)

    def to_bytes(self, models: Models) -> bytes | None:
        """Return both heads' parameters; None where nothing was trained."""
        trained = self._trained(models)
        if trained.metric is None or trained.classifier is None:
            return None
        buffer = io.BytesIO()
        parts = {
            "metric": trained.metric.state_dict(),
            "classifier": trained.classifier.state_dict(),
        }
        torch.save(parts, buffer)
        return buffer.getvalue()

    def from_bytes(self, data: bytes) -> FaithfulModels:
        """Return the heads that `to_bytes` gave, in evaluation mode."""
        try:
            device = self._encoder.device
            parts = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
            metric = self._encoder.new_head()
            metric.load_state_dict(parts["metric"])
            weight = parts["classifier"]["1.weight"]
            layer = nn.Linear(weight.shape[1], weight.shape[0])
            classifier = nn.Sequential(self._encoder.new_head(), layer).to(device)
            classifier.load_state_dict(parts["classifier"])
        except Exception as err:  # a damaged archive makes torch stumble in any way
            raise StoreDamagedError(
                f"Kept models cannot be read ({err}).", hint="They are trained again."
            ) from err
        for head in (metric, classifier):
            head.eval().requires_grad_(False)
        return FaithfulModels(metric, classifier, _digest(metric, classifier))

    def nearest(
        self,
        database: Database,
        slide: int,
        models: Models | None,
        labels: NDArray[np.int64],
        k: int,
    ) -> NDArray[np.int64]:
        """Rank by Euclidean distance in the metric model's space."""
        n = len(database.stores[slide])
        trained = self._trained(models)
        return nearest_others(self._outputs(database.stores[slide], n, trained)[0], k)

    def _trained(self, models: Models | None) -> FaithfulModels:
        return models if isinstance(models, FaithfulModels) else self._untrained

    def _full(self, query: QueryFeatures, database: Database) -> NDArray[np.float32]:
        if len(query.pooled) and query.full is None:
            raise StoreMismatchError(
                "The query's features are stored pooled only, and this engine trains on full ones.",
                hint="Index the slide again with --store full, or use --engine linear.",
            )
        return query.all_full(database)

    def _unit(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale to length 1 where the metric distance is the normalised one."""
        if self._settings.metric_distance == "raw":
            return embeddings
        norm = np.linalg.norm(embeddings, axis=1, keepdims=True)
        return embeddings / np.maximum(norm, np.finfo(np.float32).tiny)

    def _outputs(
        self, store: Features, n: int, models: FaithfulModels, progress: Progress | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return metric embeddings and logits of a slide's first n patches, in one pass."""
        metric, logits = models.outputs.get(store.id, (None, None))
        known = 0 if metric is None else len(metric)
        if metric is None or known < n:
            # From a batch's border on, so that growing in steps gives the bits of one pass.
            start = known // EMBED_BATCH * EMBED_BATCH
            features = self._rows(store, n)[start:n]
            heads = [models.metric or self._pretrained]
            if models.classifier is not None:
                heads.append(models.classifier)
            new, *more = self._embed(heads, features, progress)
            metric = _grown(metric, start, self._unit(new))
            if more:
                logits = _grown(logits, start, more[0])
            models.outputs[store.id] = metric, logits
        return metric[:n], None if logits is None else logits[:n]

    def _rows(self, store: Features, n: int) -> NDArray[np.float16] | torch.Tensor:
        """Return at least the first n full features, on the card where they fit."""
        resident = self._encoder.resident
        there = resident.first(store, n) if resident else None
        return store.features() if there is None else there

    @torch.inference_mode()
    def _embed(
        self,
        models: list[nn.Module],
        features: NDArray[np.float16] | NDArray[np.float32] | torch.Tensor,
        progress: Progress | None = None,
    ) -> list[NDArray[np.float32]]:
        """Run models over features, all in one pass, in batches of one shape, the last padded."""
        precision = self._encoder.head_precision
        device, dtype = self._encoder.device, dtype_of(precision)
        heads = [folded(model, precision, features.shape[-1]) for model in models]
        parts: list[list[NDArray[np.float32]]] = [[] for _ in models]
        for start in range(0, len(features), EMBED_BATCH):
            if progress:
                progress(start / len(features))
            part = features[start : start + EMBED_BATCH]
            n = len(part)
            batch = _padded(part).to(device).to(dtype)
            batch = batch.contiguous(memory_format=torch.channels_last)
            for model, out in zip(heads, parts, strict=True):
                out.append(run(model, batch, precision)[:n].cpu().numpy())
        return [np.concatenate(out) for out in parts]


def _padded(
    rows: NDArray[np.float16] | NDArray[np.float32] | torch.Tensor,
) -> torch.Tensor:
    """Fill up with zeros to a whole batch, where the rows are."""
    n, shape = len(rows), (EMBED_BATCH, *rows.shape[1:])
    if isinstance(rows, torch.Tensor):
        padded = rows.new_zeros(shape)
        padded[:n] = rows
        return padded
    array = np.zeros(shape, rows.dtype)
    array[:n] = rows
    return torch.from_numpy(array)


def _grown(
    known: NDArray[np.float32] | None, start: int, new: NDArray[np.float32]
) -> NDArray[np.float32]:
    return new if known is None else np.concatenate((known[:start], new))


def _digest(metric: nn.Module, classifier: nn.Module) -> str:
    state = [*metric.state_dict().values(), *classifier.state_dict().values()]
    return digest(*(tensor.cpu().numpy() for tensor in state))


def _halves(progress: Progress | None) -> tuple[Progress | None, Progress | None]:
    """Split a progress between two pieces of work of one length."""
    if progress is None:
        return None, None
    return (lambda share: progress(share / 2)), (lambda share: progress(0.5 + share / 2))


def _softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    return torch.from_numpy(logits).double().softmax(1).numpy()
