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
    embeddings, query = np.ascontiguousarray(embeddings), np.ascontiguousarray(query)
    result = np.empty(n, np.float32)
    # What a flat index does for a query, without its copy and its ordering.
    pointers = map(faiss.swig_ptr, (result, query, embeddings))
    faiss.fvec_L2sqr_ny(*pointers, dim, n)  # pyright: ignore[reportAttributeAccessIssue]
    return np.sqrt(result, out=result)


def nearest_first(key: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return positions by increasing key; equal keys keep their order (algorithm.md 3.2).

    Parameters
    ----------
    key : ndarray of float32, shape (n,)
        In patch order.
    """
    # The bits of floats of either sign, made to ascend as the floats do; -0 becomes 0. With the
    # place behind them no two are equal, and any sorting is stable: NumPy's fastest is.
    bits = (key + np.float32(0)).view(np.uint32).astype(np.uint64)
    bits ^= np.where(bits >> np.uint64(31), np.uint64(0xFFFF_FFFF), np.uint64(0x8000_0000))
    bits <<= np.uint64(32)
    bits |= np.arange(len(key), dtype=np.uint64)
    bits.sort()
    return (bits & np.uint64(0xFFFF_FFFF)).astype(np.int64)


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
