"""Which patches to show next: the six strategies of the paper (Algorithm 2).

Each strategy is a plain function of arrays. It names the arrays it wants as its parameters, out of

- `ranked`, int64 (n_unseen,): patch indices, nearest to the query first, no duplicates;
- `k`, int: patches wanted, at least 1;
- `is_positive`, bool (n_unseen,): whether the classifier predicts the query's class;
- `entropy`, float64 (n_unseen,): predictive entropy in nats;
- `rng`, numpy Generator: of the round's seed;

all aligned with `ranked`. A strategy of somebody else's is found through the entry point group
`slideloop.strategies` and may return a bare array of patch indices. Knows no torch, no files.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError, PoolExhaustedError

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Picks:
    """What a strategy chose.

    Attributes
    ----------
    patches : ndarray of int64, shape (n,)
        Patch indices in the order to show them.
    reasons : tuple of str
        Why each was chosen: front, mid, end, closest_negative, farthest_positive, entropy, random
        or top.
    """

    patches: Indices
    reasons: tuple[str, ...]


Strategy = Callable[..., Picks | Indices]


def random(ranked: Indices, k: int, rng: np.random.Generator) -> Picks:
    """Choose uniformly, without repeats (paper, section 2.2)."""
    chosen = rng.choice(ranked, _number(ranked, k), replace=False, shuffle=True)
    return _picks((chosen, "random"))


def top_k(ranked: Indices, k: int) -> Picks:
    """Choose the patches nearest to the query (paper, section 2.2)."""
    return _picks((ranked[: _number(ranked, k)], "top"))


def front_mid_end(ranked: Indices, k: int) -> Picks:
    """Choose from the start, the middle and the end of the ranking (Algorithm 2).

    The front has `ceil(k/3)` patches, the end half of the others (rounded up), the middle the rest,
    from `n // 2 - m // 2` on.
    """
    k = _number(ranked, k)
    n = len(ranked)
    n_front = -(-k // 3)
    n_end = -(-(k - n_front) // 2)
    n_mid = k - n_front - n_end
    # A short list would let the parts overlap: the middle keeps clear of both ends.
    start = min(max(n // 2 - n_mid // 2, n_front), n - n_end - n_mid)
    return _picks(
        (ranked[:n_front], "front"),
        (ranked[start : start + n_mid], "mid"),
        (ranked[n - n_end :], "end"),
    )


def cnfp(ranked: Indices, k: int, is_positive: NDArray[np.bool_]) -> Picks:
    """Choose the closest negatives and the farthest positives (paper, section 2.2, Algorithm 2).

    `ceil(k/2)` predicted negatives nearest to the query, then `floor(k/2)` predicted positives
    farthest from it, farthest first. If one side has too few, the other one fills up.
    """
    k = _number(ranked, k)
    negatives = ranked[~is_positive]
    positives = ranked[is_positive][::-1]
    n_positive = min(k // 2, len(positives))
    n_negative = min(k - n_positive, len(negatives))
    n_positive = k - n_negative
    return _picks(
        (negatives[:n_negative], "closest_negative"),
        (positives[:n_positive], "farthest_positive"),
    )


def hybrid(ranked: Indices, k: int, is_positive: NDArray[np.bool_]) -> Picks:
    """Choose half by `cnfp`, the rest by `front_mid_end` without those (Algorithm 2)."""
    k = _number(ranked, k)
    first = cnfp(ranked, -(-k // 2), is_positive)
    rest = ranked[~np.isin(ranked, first.patches)]
    if k == len(first.patches):
        return first
    second = front_mid_end(rest, k - len(first.patches))
    return Picks(np.concatenate((first.patches, second.patches)), first.reasons + second.reasons)


def entropy(ranked: Indices, k: int, entropy: NDArray[np.float64]) -> Picks:
    """Choose where the classifier is least sure; ties by rank (paper, section 2.2)."""
    order = np.argsort(-entropy, kind="stable")
    return _picks((ranked[order[: _number(ranked, k)]], "entropy"))


STRATEGIES: dict[str, Strategy] = {
    "random": random,
    "top_k": top_k,
    "front_mid_end": front_mid_end,
    "cnfp": cnfp,
    "hybrid": hybrid,
    "entropy": entropy,
}
"""The paper's strategies by name."""

DEFAULT_STRATEGY = "cnfp"
FALLBACK = "front_mid_end"
"""What samples where a strategy wants a classifier and there is none."""


@cache
def find_strategy(name: str) -> Strategy:
    """Return a strategy by name, one of the paper's or one installed beside slideloop.

    Raises
    ------
    InvalidInputError
        If there is none of that name.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    for entry in entry_points(group="slideloop.strategies", name=name):
        return entry.load()
    raise InvalidInputError(
        f"There is no sampling strategy {name!r}.", hint=f"Known: {', '.join(STRATEGIES)}."
    )


def arrays_of(name: str) -> frozenset[str]:
    """Return the names of the arrays that a strategy asks for."""
    return frozenset(inspect.signature(find_strategy(name)).parameters)


def needs_classifier(name: str) -> bool:
    """Say whether a strategy asks for predictions."""
    return not arrays_of(name).isdisjoint({"is_positive", "entropy"})


def choose(
    name: str,
    ranked: Indices,
    k: int,
    *,
    rng: np.random.Generator,
    is_positive: NDArray[np.bool_] | None = None,
    entropy: NDArray[np.float64] | None = None,
) -> tuple[Picks, str]:
    """Choose patches by the strategy of that name, or by the fallback without a classifier.

    Parameters
    ----------
    name : str
        Strategy.
    ranked : ndarray of int64, shape (n_unseen,)
        Patch indices by increasing distance to the query, no duplicates.
    k : int
        Patches wanted, at least 1; fewer are returned when fewer are left.
    rng : numpy.random.Generator
        Of the round's seed.
    is_positive, entropy : ndarray, shape (n_unseen,), optional
        None where no classifier is trained; `entropy` also where the strategy has no use for it.

    Returns
    -------
    picks : Picks
    used : str
        Name of the strategy that chose.

    Raises
    ------
    PoolExhaustedError
        If `ranked` is empty.
    InvalidInputError
        If there is no such strategy, `k` is below 1, or the strategy chose what it may not.
    """
    _number(ranked, k)
    used = FALLBACK if needs_classifier(name) and is_positive is None else name
    strategy = find_strategy(used)
    offered: dict[str, Any] = {
        "ranked": ranked,
        "k": k,
        "rng": rng,
        "is_positive": is_positive,
        "entropy": entropy,
    }
    picks = strategy(**{key: offered[key] for key in arrays_of(used) & offered.keys()})
    if not isinstance(picks, Picks):
        picks = _picks((np.asarray(picks, np.int64), used))
    _check(used, picks, ranked, k)
    return picks, used


def _check(name: str, picks: Picks, ranked: Indices, k: int) -> None:
    chosen = picks.patches
    is_subset = bool(np.isin(chosen, ranked).all())
    if len(np.unique(chosen)) != len(chosen) or not is_subset or not 1 <= len(chosen) <= k:
        raise InvalidInputError(
            f"The strategy {name!r} did not choose 1 to {k} different patches of the unseen ones.",
            hint="Choose another strategy, and tell the author of this one.",
        )


def _number(ranked: Indices, k: int) -> int:
    """Return how many patches can be chosen."""
    if k < 1:
        raise InvalidInputError(
            f"A round of {k} patches makes no sense.", hint="Show at least 1 patch a round."
        )
    if len(ranked) == 0:
        raise PoolExhaustedError(
            "Every patch of the search set has been reviewed.",
            hint="Import the mask, or add another slide to the study.",
        )
    return min(k, len(ranked))


def _picks(*parts: tuple[Indices, str]) -> Picks:
    return Picks(
        np.concatenate([patches for patches, _ in parts]).astype(np.int64),
        tuple(reason for patches, reason in parts for _ in range(len(patches))),
    )
