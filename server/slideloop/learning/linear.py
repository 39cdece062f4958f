"""The `linear` engine: a logistic regression on pooled features (algorithm.md 7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from slideloop.errors import StoreDamagedError
from slideloop.learning.chunks import (
    SlideMoments,
    distances,
    libraries,
    one_thread,
    products,
    together,
)
from slideloop.learning.engine import Models, Scores, digest
from slideloop.learning.ranking import nearest_first, nearest_others

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.learning.database import (
        Database,
        Features,
        LabelledSet,
        QueryFeatures,
        SearchSet,
    )
    from slideloop.learning.engine import Progress

MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class LinearModels:
    """Logistic regression over standardised pooled features.

    Attributes
    ----------
    mean, scale : ndarray of float32, shape (channels,)
        Standardisation over the search set of the round.
    coefficients : ndarray of float32, shape (channels, n_classes), or None
        Logits of the declared classes; a class without a label has the intercept -inf.
    intercept : ndarray of float32, shape (n_classes,), or None
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    coefficients: NDArray[np.float32] | None = None
    intercept: NDArray[np.float32] | None = None
    has_metric: bool = False
    digest: str = field(default="")

    @property
    def has_classifier(self) -> bool:
        """Whether two classes were labelled."""
        return self.coefficients is not None

    def knows(self, class_idx: int) -> bool:
        """Say whether a class had a label."""
        assert self.intercept is not None
        return class_idx < len(self.intercept) and bool(np.isfinite(self.intercept[class_idx]))

    def logits(self, pooled: NDArray[np.float16], n: int) -> NDArray[np.float32]:
        """Return logits of a slide's first n patches, float32 of shape (n, n_classes)."""
        assert self.coefficients is not None and self.intercept is not None
        # The features as they are stored, times these, give what standardised ones would.
        factor = self.coefficients / self.scale.astype(np.float64)[:, None]
        shift = self.intercept - self.mean.astype(np.float64) @ factor
        return products(pooled, n, factor.astype(np.float32)) + shift.astype(np.float32)

    def standardise(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return features of zero mean and unit variance over the search set."""
        return (pooled - self.mean) / self.scale


class LinearEngine:
    """Trains nothing above the backbone; a round is a fit and one matrix product."""

    name = "linear"
    is_quick = True

    def __init__(self) -> None:
        self._moments = SlideMoments()
        libraries()  # now, so that the first round's answer does not wait for it

    def train(
        self,
        database: Database,
        labelled: LabelledSet,
        search: SearchSet,
        n_classes: int,
        seed: int,
        progress: Progress | None = None,
    ) -> LinearModels:
        """Fit with C = 1/n on all n labels; nothing in it is random."""
        untrained = self._standardisation(database, search)
        if labelled.n_classes < 2:
            return untrained
        from sklearn.linear_model import LogisticRegression

        weights = labelled.weights()
        model = LogisticRegression(C=1 / float(weights.sum()), max_iter=MAX_ITERATIONS)
        features = untrained.standardise(labelled.pooled(database))
        with one_thread():
            model.fit(features.astype(np.float64), labelled.all_labels(), sample_weight=weights)
        coefficients = np.zeros((features.shape[1], n_classes), np.float32)
        intercept = np.full(n_classes, -np.inf, np.float32)
        if len(model.classes_) == 2:
            # One decision function: half of it for, half against, gives the same probabilities.
            first, second = model.classes_
            half, half_intercept = model.coef_[0] / 2, float(np.ravel(model.intercept_)[0]) / 2
            coefficients[:, first], coefficients[:, second] = -half, half
            intercept[first], intercept[second] = -half_intercept, half_intercept
        else:
            coefficients[:, model.classes_] = model.coef_.T
            intercept[model.classes_] = model.intercept_
        mean, scale = untrained.mean, untrained.scale
        return LinearModels(
            mean, scale, coefficients, intercept,
            digest=digest(mean, scale, coefficients, intercept),
        )  # fmt: skip

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
        """Rank by the log-odds of the query's class; by distance before there is a classifier."""
        slides = database.searched(search)
        probability = None
        if isinstance(models, LinearModels) and models.has_classifier:
            logits = [models.logits(store.pooled, n) for store, n in slides]
            probability = np.concatenate([_softmax(part) for part in logits])
            if models.knows(class_idx):
                key = np.concatenate([-_log_odds(part, class_idx) for part in logits])
                distance = (1 - probability[:, class_idx]).astype(np.float32)
                return Scores(key, distance, probability)
        standard = self._standardisation(database, search)
        squares = standard.standardise(query.all_pooled(database))
        points = [np.tensordot(query.weights(), squares, 1)]
        if len(relevant):
            points.extend(standard.standardise(database.pooled_of(relevant)))
        centre = np.asarray(np.mean(points, axis=0, dtype=np.float32))
        distance = np.concatenate(
            [distances(s.pooled, n, standard.mean, standard.scale, centre) for s, n in slides]
        )
        return Scores(distance, distance, probability)

    def predict(
        self,
        store: Features,
        n: int,
        models: Models,
        progress: Progress | None = None,
    ) -> NDArray[np.float64]:
        """Return class probabilities of a slide's first n patches."""
        assert isinstance(models, LinearModels)
        return _softmax(models.logits(store.pooled, n))

    def to_bytes(self, models: Models) -> None:
        """Return None: a fit of some 20 ms is not kept."""

    def from_bytes(self, data: bytes) -> Models:
        """Raise, since `to_bytes` gives nothing."""
        raise StoreDamagedError("The linear engine keeps no models.", hint="Delete the file.")

    def nearest(
        self,
        database: Database,
        slide: int,
        models: Models | None,
        labels: NDArray[np.int64],
        k: int,
    ) -> NDArray[np.int64]:
        """Rank by the log-odds of each patch's class, as this engine ranks for a query."""
        store, search = database.stores[slide], database.present([slide])
        n = len(search)
        if not (isinstance(models, LinearModels) and models.has_classifier):
            pooled = store.pooled[:n].astype(np.float32)
            return nearest_others(self._standardisation(database, search).standardise(pooled), k)
        logits = models.logits(store.pooled, n)
        result = np.empty((n, k), np.int64)
        for class_idx in np.unique(labels):
            order = nearest_first(-_log_odds(logits, int(class_idx)))[: k + 1]
            for patch in np.flatnonzero(labels == class_idx):
                result[patch] = order[order != patch][:k]
        return result

    def _standardisation(self, database: Database, search: SearchSet) -> LinearModels:
        parts = [self._moments.of(store, n) for store, n in database.searched(search)]
        whole = together(parts).joined()
        mean = whole.mean[0].astype(np.float32)
        scale = np.sqrt(whole.squares[0] / whole.n).astype(np.float32)
        # A channel that never fires stays at zero instead of dividing by it.
        scale = np.where(scale > 1e-6, scale, np.float32(1))
        return LinearModels(mean, scale, digest=digest(mean, scale))


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(1, keepdims=True)
    np.exp(shifted, out=shifted)
    return shifted / shifted.sum(1, keepdims=True)


def _log_odds(logits: NDArray[np.float32], class_idx: int) -> NDArray[np.float32]:
    """Return log p/(1-p) of a class, exact where p itself would round to 0 or 1."""
    wide = logits.astype(np.float64)
    others = np.delete(wide, class_idx, axis=1)
    top = others.max(1)
    with np.errstate(invalid="ignore"):
        rest = top + np.log(np.exp(others - top[:, None]).sum(1))
    return (wide[:, class_idx] - rest).astype(np.float32)
