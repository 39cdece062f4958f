"""The patches of a study's slides as one sequence of features.

Owns patch references and the search set. Knows nothing of files, slides or labels: the stores
reach it as objects.

A patch reference is an int64: the slide's number in the study, shifted by `SLIDE_SHIFT`, plus the
patch's place in the slide's index order. References keep their value while slides are added and
indexes grow, and their order is the patch order that breaks ties (algorithm.md 3.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from slideloop.errors import NormalisationMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

SLIDE_SHIFT = 40
_PLACE_MASK = (1 << SLIDE_SHIFT) - 1


class Features(Protocol):
    """What the learning engine needs of a feature store."""

    id: str
    cells: NDArray[np.int32]
    pooled: NDArray[np.float16]
    identity: dict[str, object]

    @property
    def is_complete(self) -> bool:
        """Whether all kept patches are in; a store that is being indexed grows."""
        ...

    def __len__(self) -> int: ...

    def features(self) -> NDArray[np.float16]:
        """Return full features, shape (n, channels, height, width)."""
        ...

    def checksum(self, n: int) -> str:
        """Return the checksum of the first n patches."""
        ...


def references(slide: int, places: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the references of patches at `places` of a slide's index order."""
    return (np.int64(slide) << SLIDE_SHIFT) + places.astype(np.int64)


def reference(slide: int, place: int) -> int:
    """Return the reference of one patch."""
    return (slide << SLIDE_SHIFT) + place


def slide_of(reference: int) -> int:
    """Return the slide number of a reference."""
    return int(reference) >> SLIDE_SHIFT


def place_of(reference: int) -> int:
    """Return a patch's place in its slide's index order."""
    return int(reference) & _PLACE_MASK


@dataclass(frozen=True)
class SearchSet:
    """How many patches of each slide can be shown: a prefix of each index order (1.5).

    Attributes
    ----------
    lengths : tuple of int
        Per slide of the study; 0 for one that is not searched.
    """

    lengths: tuple[int, ...]

    def positions(self, refs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of those references that are in it, in patch order, 0 to n - 1."""
        slides, places = refs >> SLIDE_SHIFT, refs & _PLACE_MASK
        lengths = np.array([*self.lengths, 0])
        is_in = places < lengths[np.minimum(slides, len(self.lengths))]
        return self._starts()[slides[is_in]] + places[is_in]

    def references(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the references at places in patch order, ascending over all n."""
        starts = self._starts()
        slides = np.searchsorted(starts, positions, side="right") - 1
        return (slides << SLIDE_SHIFT) + positions - starts[slides]

    def _starts(self) -> NDArray[np.int64]:
        return np.cumsum([0, *self.lengths[:-1]], dtype=np.int64)

    def __len__(self) -> int:
        return sum(self.lengths)


class Database:
    """Features of the slides of one study.

    Parameters
    ----------
    stores : sequence of Features
        In the study's order of slides.

    Raises
    ------
    NormalisationMismatchError
        If the stores were made by different normalisations or encoders.
    """

    def __init__(self, stores: Sequence[Features]) -> None:
        self.stores = list(stores)
        for store in self.stores:
            self.check(store)

    def check(self, store: Features) -> None:
        """Refuse a store that cannot stand beside the others.

        Raises
        ------
        NormalisationMismatchError
            If it was made by another normalisation or encoder than the first one.
        """
        first = self.stores[0]
        for key in ("normalisation", "encoder", "weights"):
            if store.identity.get(key) != first.identity.get(key):
                raise NormalisationMismatchError(
                    f"The slides of a study need the same {key}, but two were indexed with "
                    f"{first.identity.get(key)} and {store.identity.get(key)}.",
                    hint="Index them again together, with the same options.",
                )

    def add(self, store: Features) -> int:
        """Add a slide behind the others and return its number.

        Raises
        ------
        NormalisationMismatchError
            If it was made by another normalisation or encoder than the first one.
        """
        self.check(store)
        self.stores.append(store)
        return len(self.stores) - 1

    def present(self, slides: Iterable[int] | None = None) -> SearchSet:
        """Return all that is indexed now of slides, of every one unless told otherwise."""
        wanted = set(range(len(self.stores)) if slides is None else slides)
        return SearchSet(tuple(len(s) if i in wanted else 0 for i, s in enumerate(self.stores)))

    def searched(self, search: SearchSet) -> list[tuple[Features, int]]:
        """Return the slides of a search set, each with how many of its patches are in it."""
        # Slides that were added since the search set was taken are not in it.
        return [(s, n) for s, n in zip(self.stores, search.lengths, strict=False) if n]

    def pooled_of(self, refs: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the pooled features of single patches, shape (n, channels)."""
        result = np.empty((len(refs), self.stores[0].pooled.shape[1]), np.float32)
        slides, places = refs >> SLIDE_SHIFT, refs & _PLACE_MASK
        for slide in np.unique(slides):
            is_here = slides == slide
            result[is_here] = self.stores[slide].pooled[places[is_here]]
        return result

    def full_of(self, refs: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the full features of single patches, shape (n, channels, height, width).

        Raises
        ------
        StoreMismatchError
            If a slide's store is pooled.
        """
        rows = [self.stores[slide_of(r)].features()[place_of(r)] for r in refs]
        return np.array(rows, np.float32)


@dataclass(frozen=True)
class QueryFeatures:
    """The expert's rectangle as the engine sees it (algorithm.md 2).

    Attributes
    ----------
    refs : ndarray of int64, shape (a,)
        Squares that are patches of the grid.
    pooled : ndarray of float16, shape (b, channels)
        Squares off the grid, embedded from pixels; together they weigh as one.
    full : ndarray of float16, shape (b, channels, height, width), or None
        None where the slide's store is pooled.
    """

    refs: NDArray[np.int64]
    pooled: NDArray[np.float16]
    full: NDArray[np.float16] | None = None

    def weights(self) -> NDArray[np.float32]:
        """Return the weight of each square, those of `refs` first; they sum to 1."""
        b = len(self.pooled)
        weights = np.concatenate((np.ones(len(self.refs)), np.full(b, 1 / b) if b else np.ones(0)))
        return (weights / weights.sum()).astype(np.float32)

    def all_pooled(self, database: Database) -> NDArray[np.float32]:
        """Return pooled features of all squares, shape (a + b, channels)."""
        parts = [self.pooled.astype(np.float32)]
        if len(self.refs):
            parts.insert(0, database.pooled_of(self.refs))
        return np.concatenate(parts)

    def all_full(self, database: Database) -> NDArray[np.float32]:
        """Return full features of all squares, shape (a + b, channels, height, width)."""
        parts = [database.full_of(self.refs)] if len(self.refs) else []
        if self.full is not None and len(self.full):
            parts.append(self.full.astype(np.float32))
        return np.concatenate(parts)


@dataclass(frozen=True)
class LabelledSet:
    """Everything that is trained on: all labels since the start of the study (3.4).

    Attributes
    ----------
    refs : ndarray of int64, shape (n,)
        Labelled patches, ascending.
    labels : ndarray of int64, shape (n,)
        Class index of each.
    squares : tuple of (QueryFeatures, int)
        Queries that have squares off the grid, with their class index.
    """

    refs: NDArray[np.int64]
    labels: NDArray[np.int64]
    squares: tuple[tuple[QueryFeatures, int], ...] = ()

    def all_labels(self) -> NDArray[np.int64]:
        """Return the class index of each sample, patches first, then squares."""
        return np.concatenate(
            [self.labels, *(np.full(len(q.pooled), label, np.int64) for q, label in self.squares)]
        )

    def weights(self) -> NDArray[np.float32]:
        """Return the weight of each sample: 1 for a patch, 1/b for each of b squares."""
        return np.concatenate(
            [
                np.ones(len(self.refs)),
                *(np.full(len(q.pooled), 1 / len(q.pooled)) for q, _ in self.squares),
            ]
        ).astype(np.float32)

    def pooled(self, database: Database) -> NDArray[np.float32]:
        """Return pooled features of all samples."""
        parts = [q.pooled.astype(np.float32) for q, _ in self.squares]
        return np.concatenate([database.pooled_of(self.refs), *parts] if len(self.refs) else parts)

    def full(self, database: Database) -> NDArray[np.float32]:
        """Return full features of all samples."""
        parts = [q.full.astype(np.float32) for q, _ in self.squares if q.full is not None]
        return np.concatenate([database.full_of(self.refs), *parts] if len(self.refs) else parts)

    @property
    def n_classes(self) -> int:
        """Number of classes with at least one label."""
        return len(np.unique(self.all_labels()))
