"""One suite that every sampling strategy passes, the paper's and installed ones alike."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError, PoolExhaustedError
from slideloop.learning.sampling import STRATEGIES, Picks, choose

NAMES = [*STRATEGIES, *entry_points(group="slideloop.strategies").names]
REASONS = {
    "front",
    "mid",
    "end",
    "closest_negative",
    "farthest_positive",
    "entropy",
    "random",
    "top",
}


@st.composite
def pools(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a ranked list, what the classifier says of it, and how many are wanted."""
    n = draw(st.integers(1, 60))
    indices = draw(st.lists(st.integers(0, 2**41), min_size=n, max_size=n, unique=True))
    is_positive = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    # Few different values, so that ties are the rule.
    entropy = draw(st.lists(st.sampled_from([0.0, 0.2, 0.69]), min_size=n, max_size=n))
    return {
        "ranked": np.array(indices, np.int64),
        "k": draw(st.integers(1, 70)),
        "is_positive": np.array(is_positive),
        "entropy": np.array(entropy),
    }


def picked(name: str, pool: dict[str, Any], seed: int = 0) -> Picks:
    picks, used = choose(name, rng=np.random.default_rng(seed), **pool)
    assert used == name
    return picks


def pool_of(n: int, k: int) -> dict[str, Any]:
    ranked = np.random.default_rng(n).permutation(1000)[:n].astype(np.int64)
    is_positive = np.arange(n) % 3 == 0
    return {"ranked": ranked, "k": k, "is_positive": is_positive, "entropy": np.cos(ranked)}


@pytest.mark.parametrize("name", NAMES)
@given(pool=pools())
def test_a_strategy_chooses_different_unseen_patches_and_says_why(
    name: str, pool: dict[str, Any]
) -> None:
    picks = picked(name, pool)
    chosen: NDArray[np.int64] = picks.patches
    assert chosen.dtype == np.int64 and chosen.ndim == 1
    assert len(set(chosen.tolist())) == len(chosen)
    assert set(chosen.tolist()) <= set(pool["ranked"].tolist())
    assert len(picks.reasons) == len(chosen)
    if name in STRATEGIES:
        assert set(picks.reasons) <= REASONS


@pytest.mark.parametrize("name", NAMES)
@given(pool=pools())
def test_a_strategy_chooses_k_patches_or_all_that_are_left(name: str, pool: dict[str, Any]) -> None:
    n = len(picked(name, pool).patches)
    most = min(pool["k"], len(pool["ranked"]))
    assert n == most if name in STRATEGIES else 1 <= n <= most


@pytest.mark.parametrize("name", NAMES)
@given(pool=pools(), seed=st.integers(0, 2**40))
def test_the_same_seed_gives_the_same_answer(name: str, pool: dict[str, Any], seed: int) -> None:
    first, second = picked(name, pool, seed), picked(name, pool, seed)
    assert first.patches.tolist() == second.patches.tolist()
    assert first.reasons == second.reasons


@pytest.mark.parametrize("name", NAMES)
@given(pool=pools(), shift=st.integers(1, 2**41))
def test_the_choice_goes_by_rank_and_not_by_the_value_of_an_index(
    name: str, pool: dict[str, Any], shift: int
) -> None:
    ranked = pool["ranked"]
    # Turned round and shifted: no order among the indices survives.
    renamed = {**pool, "ranked": ranked.max() - ranked + shift}
    expected = ranked.max() - picked(name, pool).patches + shift
    assert picked(name, renamed).patches.tolist() == expected.tolist()


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_leaves_its_arrays_as_they_were(name: str) -> None:
    pool = pool_of(30, 7)
    before = {key: np.copy(value) for key, value in pool.items()}
    picked(name, pool)
    assert all(np.array_equal(pool[key], before[key]) for key in pool)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_pool_is_refused(name: str) -> None:
    with pytest.raises(PoolExhaustedError):
        picked(name, pool_of(0, 5))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("k", [0, -1])
def test_a_round_without_patches_is_refused(name: str, k: int) -> None:
    with pytest.raises(InvalidInputError):
        picked(name, pool_of(9, k))


@pytest.mark.parametrize("name", NAMES)
def test_one_patch_can_be_wanted_and_one_can_be_left(name: str) -> None:
    assert len(picked(name, pool_of(9, 1)).patches) == 1
    assert len(picked(name, pool_of(1, 5)).patches) == 1


@pytest.mark.parametrize("name", NAMES)
def test_without_a_classifier_a_choice_is_made_all_the_same(name: str) -> None:
    pool = {**pool_of(12, 5), "is_positive": None, "entropy": None}
    picks, _ = choose(name, rng=np.random.default_rng(0), **pool)
    assert 1 <= len(picks.patches) <= 5
