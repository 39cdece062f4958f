"""What the loop needs of an engine: learn from labels, score the search set (algorithm.md 7).

Owns the interface alone; the engines are `linear` and `faithful`, chosen by name in `engines`. An
engine sees references and features, never files, pixels or the journal.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slideloop.learning.database import (
        Database,
        Features,
        LabelledSet,
        QueryFeatures,
        SearchSet,
    )

    Progress = Callable[[float], None]
    """Takes the share done, 0 to 1, between two steps; what it raises ends the work."""


class Models(Protocol):
    """What one training gave.

    Attributes
    ----------
    has_metric, has_classifier : bool
        Whether that model was trained.
    digest : str
        SHA-256 over all trained parameters: equal models have equal digests.
    """

    @property
    def has_metric(self) -> bool: ...  # noqa: D102

    @property
    def has_classifier(self) -> bool: ...  # noqa: D102

    @property
    def digest(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Scores:
    """The search set as one query sees it; all arrays in patch order, n long.

    Attributes
    ----------
    key : ndarray of float32, shape (n,)
        What is ranked by, ascending.
    distance : ndarray of float32, shape (n,)
        What is shown: Euclidean distance, or 1 - probability.
    probability : ndarray of float64, shape (n, n_classes), or None
        None where no classifier is trained.
    """

    key: NDArray[np.float32]
    distance: NDArray[np.float32]
    probability: NDArray[np.float64] | None


class Engine(Protocol):
    """Learns from labels and ranks by a query.

    Attributes
    ----------
    name : str
    is_quick : bool
        Whether its steps are over before anybody notices: they may run inside another study's
        training, and draw nothing from PyTorch's random numbers.
    """

    name: str
    is_quick: bool

    def train(
        self,
        database: Database,
        labelled: LabelledSet,
        search: SearchSet,
        n_classes: int,
        seed: int,
        progress: Progress | None = None,
    ) -> Models:
        """Train on all labels; with fewer than two classes, nothing is trained.

        Parameters
        ----------
        database : Database
        labelled : LabelledSet
        search : SearchSet
            Of the round.
        n_classes : int
            Declared classes.
        seed : int
            Of the round.
        """
        ...

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
        """Score the search set for a query (algorithm.md 3.1, 3.2).

        Parameters
        ----------
        models : Models or None
            None: as before any training.
        query : QueryFeatures
        relevant : ndarray of int64, shape (m,)
            References that refine the query; may be empty.
        class_idx : int
            Class of the query.
        """
        ...

    def predict(
        self,
        store: Features,
        n: int,
        models: Models,
        progress: Progress | None = None,
    ) -> NDArray[np.float64]:
        """Return class probabilities of a slide's first n patches, shape (n, n_classes).

        `models.has_classifier` must hold. Classes that were added to the study since the training
        have no column.
        """
        ...

    def to_bytes(self, models: Models) -> bytes | None:
        """Return models as bytes to keep, or None where training again costs nothing."""
        ...

    def from_bytes(self, data: bytes) -> Models:
        """Return the models that `to_bytes` gave; `digest` is computed anew.

        Raises
        ------
        StoreDamagedError
            If the bytes are not such.
        """
        ...

    def nearest(
        self,
        database: Database,
        slide: int,
        models: Models | None,
        labels: NDArray[np.int64],
        k: int,
    ) -> NDArray[np.int64]:
        """Return each patch's k nearest others of a slide, shape (n, k), itself left out.

        `labels`, int64 (n,), are the classes with which the patches query; only an engine that
        ranks by class uses them.
        """
        ...


def digest(*arrays: NDArray[np.generic]) -> str:
    """Return the SHA-256 of the arrays' bytes."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
