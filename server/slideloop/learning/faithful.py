"""The `faithful` engine: both heads trained anew each round, to the letter (algorithm.md 3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from slideloop.errors import StoreMismatchError
from slideloop.learning.engine import Models, Scores, digest
from slideloop.learning.heads import EMBED_BATCH, TrainingSettings, train_classifier, train_metric
from slideloop.learning.ranking import distances, nearest_others

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.features.encoders import Encoder
    from slideloop.learning.database import Database, LabelledSet, QueryFeatures, SearchSet


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
    ) -> FaithfulModels:
        """Train both heads from the pretrained one (algorithm.md 3.4)."""
        if labelled.n_classes < 2:
            return self._untrained
        device = self._encoder.device
        features = torch.from_numpy(labelled.full(database)).to(device)
        labels = torch.from_numpy(labelled.all_labels()).to(device)
        weights = torch.from_numpy(labelled.weights()).to(device)
        data = (features, labels, weights, self._settings, seed)
        metric = train_metric(self._encoder.new_head(), *data)
        classifier = train_classifier(self._encoder.new_head(), n_classes, *data)
        state = [*metric.state_dict().values(), *classifier.state_dict().values()]
        return FaithfulModels(metric, classifier, digest(*(t.cpu().numpy() for t in state)))

    def score(
        self,
        database: Database,
        search: SearchSet,
        models: Models | None,
        query: QueryFeatures,
        relevant: NDArray[np.int64],
        class_idx: int,
    ) -> Scores:
        """Rank by Euclidean distance to the refined query."""
        trained = self._trained(models)
        squares = self._unit(
            self._embed(trained.metric or self._pretrained, self._full(query, database))
        )
        points = [np.tensordot(query.weights(), squares, 1)]
        if len(relevant):
            full = database.full_of(relevant)
            points.extend(self._unit(self._embed(trained.metric or self._pretrained, full)))
        mean = np.asarray(np.mean(points, axis=0, dtype=np.float32))
        centre = self._unit(mean[None])[0]
        pairs = [
            self._outputs(database, slide, n, trained)
            for slide, n in enumerate(search.lengths)
            if n
        ]
        distance = distances(np.concatenate([metric for metric, _ in pairs]), centre)
        probability = None
        if trained.has_classifier:
            probability = np.concatenate([_softmax(p) for _, p in pairs if p is not None])
        return Scores(distance, distance, probability)

    def predict(self, database: Database, slide: int, models: Models) -> NDArray[np.float64]:
        """Return class probabilities of all patches of a slide."""
        _, logits = self._outputs(
            database, slide, len(database.stores[slide]), self._trained(models)
        )
        assert logits is not None
        return _softmax(logits)

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
        return nearest_others(self._outputs(database, slide, n, self._trained(models))[0], k)

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
        self, database: Database, slide: int, n: int, models: FaithfulModels
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return metric embeddings and logits of a slide's first n patches, in one pass."""
        store = database.stores[slide]
        metric, logits = models.outputs.get(store.id, (None, None))
        known = 0 if metric is None else len(metric)
        if metric is None or known < n:
            # From a batch's border on, so that growing in steps gives the bits of one pass.
            start = known // EMBED_BATCH * EMBED_BATCH
            features = store.features()[start:n]
            new = self._unit(self._embed(models.metric or self._pretrained, features))
            metric = new if metric is None else np.concatenate((metric[:start], new))
            if models.classifier is not None:
                new = self._embed(models.classifier, features)
                logits = new if logits is None else np.concatenate((logits[:start], new))
            models.outputs[store.id] = metric, logits
        return metric[:n], None if logits is None else logits[:n]

    @torch.inference_mode()
    def _embed(
        self, model: nn.Module, features: NDArray[np.float16] | NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Run a model over features in batches of one shape, the last one padded."""
        parts = []
        for start in range(0, len(features), EMBED_BATCH):
            part = np.asarray(features[start : start + EMBED_BATCH], np.float32)
            n = len(part)
            padded = np.zeros((EMBED_BATCH, *part.shape[1:]), np.float32)
            padded[:n] = part
            out = model(torch.from_numpy(padded).to(self._encoder.device))
            parts.append(out[:n].float().cpu().numpy())
        return np.concatenate(parts)


def _softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    return torch.from_numpy(logits).double().softmax(1).numpy()
