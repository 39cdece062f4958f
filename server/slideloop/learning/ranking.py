"""Ranking of the search set: exact distances by FAISS, and an order that no library decides.

Knows nothing of models or labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def distances(embeddings: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Euclidean distance of each embedding to the query (paper, section 2).

    Parameters
    ----------
    embeddings : ndarray of float32, shape (n, dim)
    query : ndarray of float32, shape (dim,)

    Returns
    -------
    ndarray of float32, shape (n,)
        Exact L2 distances by FAISS, in the order of the embeddings.
    """
    import faiss

    n, dim = embeddings.shape
    if n == 0:
        return np.zeros(0, np.float32)
    index = faiss.IndexFlatL2(dim)
    index.add(np.ascontiguousarray(embeddings))  # pyright: ignore[reportCallIssue]
    squared, order = index.search(query[None], n)  # pyright: ignore[reportCallIssue]
    result = np.empty(n, np.float32)
    result[order[0]] = np.sqrt(np.maximum(squared[0], 0))
    return result


def nearest_first(key: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return positions by increasing key; equal keys keep their order (algorithm.md 3.2).

    Parameters
    ----------
    key : ndarray of float32, shape (n,)
        In patch order.
    """
    return np.argsort(key, kind="stable").astype(np.int64)


def nearest_others(embeddings: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Return each embedding's k nearest others, itself left out, shape (n, k); n above k."""
    import faiss

    n, dim = embeddings.shape
    index = faiss.IndexFlatL2(dim)
    index.add(np.ascontiguousarray(embeddings))  # pyright: ignore[reportCallIssue]
    _, order = index.search(embeddings, min(k + 1, n))  # pyright: ignore[reportCallIssue]
    # A duplicate of a patch may come before the patch itself, so it is not always the first.
    rows = [row[row != i][:k] for i, row in enumerate(order)]
    return np.array(rows, np.int64)
