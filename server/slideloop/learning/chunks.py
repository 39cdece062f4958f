"""Pooled features a fixed number of rows at a time: moments, products, distances.

Owns the borders of the chunks. They count from each slide's start, and the last chunk is filled
up with zeros: so a patch's numbers depend neither on what else is searched nor on how far its
slide is indexed. Never are the features of a whole search set in memory. All of it runs in one
thread: the work is too small to share, and where the processor is busy two threads would wait for
each other at every chunk.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from slideloop.errors import StoreMismatchError
from slideloop.learning import ranking

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    import torch
    from numpy.typing import NDArray
    from threadpoolctl import ThreadpoolController

    from slideloop.learning.database import Features

ROWS = 1024
"""Rows of a chunk: as float32, 512 channels of them fit a processor's second cache."""


@cache
def libraries() -> ThreadpoolController:
    """Import what fits and multiplies, and return its threads' control.

    The first call takes half a second and more.
    """
    import sklearn.linear_model
    import torch
    from threadpoolctl import ThreadpoolController

    assert sklearn.linear_model and torch  # what is imported later would not be controlled
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[Any]:
    """Let the calling thread compute alone, with the same bits wherever it runs."""
    return libraries().limit(limits=1)


def products(
    pooled: NDArray[np.float16], n: int, weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Multiply the first n rows by weights.

    Parameters
    ----------
    pooled : ndarray of float16, shape (at least n, channels)
    n : int
    weights : ndarray of float32, shape (channels, m)

    Returns
    -------
    ndarray of float32, shape (n, m)
    """
    result = np.empty((n, weights.shape[1]), np.float32)
    with one_thread():
        for start, end, rows in _chunks(pooled, 0, n):
            result[start:end] = (rows.numpy() @ weights)[: end - start]
    return result


def distances(
    pooled: NDArray[np.float16],
    n: int,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
    centre: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return the Euclidean distance of each of the first n rows, standardised, to a centre.

    Parameters
    ----------
    pooled : ndarray of float16, shape (at least n, channels)
    n : int
    mean, scale, centre : ndarray of float32, shape (channels,)

    Returns
    -------
    ndarray of float32, shape (n,)
    """
    import torch

    result = np.empty(n, np.float32)
    shift, divisor = torch.from_numpy(mean), torch.from_numpy(scale)
    with one_thread():
        for start, end, rows in _chunks(pooled, 0, n):
            standard = rows.sub_(shift).div_(divisor).numpy()
            result[start:end] = ranking.distances(standard, centre)[: end - start]
    return result


def _chunks(
    pooled: NDArray[np.float16], start: int, n: int
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Yield begin, end and rows of each chunk from `start`, one's border, to row n.

    The rows are float32 of shape (ROWS, channels), to be changed at will until the next ones.
    """
    import torch

    # PyTorch converts ten times as fast as NumPy, but wants memory that could be written to.
    half = np.zeros((ROWS, pooled.shape[1]), np.float16)
    rows = torch.empty(half.shape)
    for begin in range(start, n, ROWS):
        end = min(begin + ROWS, n)
        half[: end - begin] = pooled[begin:end]
        half[end - begin :] = 0
        yield begin, end, rows.copy_(torch.from_numpy(half))


@dataclass(frozen=True)
class Moments:
    """What mean and deviation of some patches follow from.

    Attributes
    ----------
    n : ndarray of int64, shape (k,)
        Patches of each part.
    mean, squares : ndarray of float64, shape (k, channels)
        Mean of each part, and its sum of squared deviations from that.
    """

    n: NDArray[np.int64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    def joined(self) -> Moments:
        """Return those of all parts together, as one part; summed in the order of the parts."""
        n = self.n.sum(keepdims=True)
        mean = (self.mean * self.n[:, None]).sum(0) / n
        between = ((self.mean - mean) ** 2 * self.n[:, None]).sum(0)
        return Moments(n, mean[None], (self.squares.sum(0) + between)[None])


def together(parts: Sequence[Moments]) -> Moments:
    """Return the moments of all parts, one behind the other."""
    return Moments(
        np.concatenate([part.n for part in parts]),
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.squares for part in parts]),
    )


@dataclass(frozen=True)
class _Known:
    """The moments of a slide's first n patches, and of each of their chunks."""

    n: int
    checksum: str
    chunks: Moments
    whole: Moments


class SlideMoments:
    """Moments of slides' prefixes, a function of their features alone.

    What was computed is kept, chunk by chunk, for as long as the store is there: a slide that
    grew costs what is new of it.
    """

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[Features, _Known] = WeakKeyDictionary()

    def of(self, store: Features, n: int) -> Moments:
        """Return the moments of a slide's first n patches, one part; n above 0."""
        known = self._known.get(store)
        # An index that was begun anew by another version may have given other rows.
        if known is not None and _checksum(store, known.n) != known.checksum:
            known = None
        if known is not None and known.n == n:
            return known.whole
        n_whole = 0 if known is None else min(known.n, n) // ROWS
        new = _moments(store.pooled, n_whole * ROWS, n)
        if known is not None:
            old = known.chunks
            new = together(
                [Moments(old.n[:n_whole], old.mean[:n_whole], old.squares[:n_whole]), new]
            )
        whole = new.joined()
        checksum = _checksum(store, n)
        if checksum is not None and (known is None or known.n < n):
            self._known[store] = _Known(n, checksum, new, whole)
        return whole


def _checksum(store: Features, n: int) -> str | None:
    with suppress(StoreMismatchError):
        return store.checksum(n)
    return None


def _moments(pooled: NDArray[np.float16], start: int, n: int) -> Moments:
    """Return the moments of each chunk from `start` to row n."""
    sizes: list[int] = []
    means: list[NDArray[np.float32]] = []
    squares: list[NDArray[np.float32]] = []
    with one_thread():
        for begin, end, rows in _chunks(pooled, start, n):
            part = rows[: end - begin]
            mean = part.mean(0)
            sizes.append(end - begin)
            means.append(mean.numpy())
            squares.append(part.sub_(mean).square_().sum(0).numpy())
    shape = (len(sizes), pooled.shape[1])
    return Moments(
        np.array(sizes, np.int64),
        np.array(means, np.float64).reshape(shape),
        np.array(squares, np.float64).reshape(shape),
    )
