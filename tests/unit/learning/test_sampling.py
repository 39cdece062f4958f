"""The strategies, with ranks worked out by hand."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError, PoolExhaustedError
from slideloop.learning.sampling import (
    FALLBACK,
    Picks,
    choose,
    cnfp,
    entropy,
    find_strategy,
    front_mid_end,
    hybrid,
    needs_classifier,
    random,
    top_k,
)

RANKED = np.array([70, 31, 99, 12, 55, 8, 43, 60, 27, 84, 3, 16], np.int64)
"""Twelve patches, nearest to the query first."""


def positive_at(*ranks: int, n: int = 12) -> NDArray[np.bool_]:
    return np.isin(np.arange(n), ranks)


def ranks_of(picks: Picks) -> list[int]:
    return [RANKED.tolist().index(patch) for patch in picks.patches]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_top_k_takes_the_nearest_in_their_order() -> None:
    picks = top_k(RANKED, 5)
    assert picks.patches.tolist() == [70, 31, 99, 12, 55]
    assert picks.reasons == ("top",) * 5


def test_front_mid_end_takes_two_one_two_of_twelve() -> None:
    # ceil(5/3) = 2 in front, ceil(3/2) = 2 at the end, 1 from 12 // 2 - 1 // 2 = 6 on.
    picks = front_mid_end(RANKED, 5)
    assert ranks_of(picks) == [0, 1, 6, 10, 11]
    assert picks.reasons == ("front", "front", "mid", "end", "end")


@pytest.mark.parametrize(
    ("k", "ranks"),
    [
        (1, [0]),
        (2, [0, 11]),
        (3, [0, 6, 11]),
        (4, [0, 1, 6, 11]),
        # ceil(6/3) = 2, ceil(4/2) = 2, 2 from 6 - 1 = 5 on.
        (6, [0, 1, 5, 6, 10, 11]),
        (12, list(range(12))),
    ],
)
def test_front_mid_end_divides_any_number(k: int, ranks: list[int]) -> None:
    assert ranks_of(front_mid_end(RANKED, k)) == ranks


def test_front_mid_end_keeps_its_middle_clear_of_both_ends_on_a_short_list() -> None:
    # 7 of 7: the middle would start at 7 // 2 - 2 // 2 = 2, which is still the front.
    picks = front_mid_end(RANKED[:7], 7)
    assert ranks_of(picks) == [0, 1, 2, 3, 4, 5, 6]
    assert picks.reasons == ("front",) * 3 + ("mid",) * 2 + ("end",) * 2


def test_cnfp_takes_the_closest_negatives_and_the_farthest_positives() -> None:
    # Negatives stand at ranks 1, 3, 4, 7, 10, 11; positives at 0, 2, 5, 6, 8, 9.
    picks = cnfp(RANKED, 5, positive_at(0, 2, 5, 6, 8, 9))
    assert ranks_of(picks) == [1, 3, 4, 9, 8]
    assert picks.reasons == ("closest_negative",) * 3 + ("farthest_positive",) * 2


def test_cnfp_of_one_takes_the_closest_negative() -> None:
    assert ranks_of(cnfp(RANKED, 1, positive_at(0, 1))) == [2]


def test_cnfp_fills_up_with_positives_where_negatives_are_too_few() -> None:
    picks = cnfp(RANKED, 5, ~positive_at(4))
    assert ranks_of(picks) == [4, 11, 10, 9, 8]
    assert picks.reasons == ("closest_negative",) + ("farthest_positive",) * 4


def test_cnfp_fills_up_with_negatives_where_positives_are_too_few() -> None:
    picks = cnfp(RANKED, 5, positive_at(2))
    assert ranks_of(picks) == [0, 1, 3, 4, 2]
    assert picks.reasons == ("closest_negative",) * 4 + ("farthest_positive",)


@pytest.mark.parametrize(
    ("is_positive", "ranks"), [(positive_at(), [0, 1, 2]), (~positive_at(), [11, 10, 9])]
)
def test_cnfp_takes_one_side_alone_where_the_other_is_empty(
    is_positive: NDArray[np.bool_], ranks: list[int]
) -> None:
    assert ranks_of(cnfp(RANKED, 3, is_positive)) == ranks


def test_cnfp_takes_all_where_fewer_than_k_are_left() -> None:
    picks = cnfp(RANKED[:3], 5, positive_at(1, n=3))
    assert ranks_of(picks) == [0, 2, 1]


def test_hybrid_takes_cnfp_first_and_front_mid_end_on_the_rest() -> None:
    # cnfp for ceil(6/2) = 3: negatives 1, 3 and positive 9. Of the nine left (0 2 4 5 6 7 8 10 11)
    # front-mid-end takes one each: the first, number 9 // 2 = 4, the last.
    picks = hybrid(RANKED, 6, positive_at(0, 2, 5, 6, 8, 9))
    assert ranks_of(picks) == [1, 3, 9, 0, 6, 11]
    assert picks.reasons == (
        *("closest_negative", "closest_negative", "farthest_positive"),
        *("front", "mid", "end"),
    )


def test_hybrid_of_an_odd_number_gives_cnfp_the_larger_half() -> None:
    picks = hybrid(RANKED, 5, positive_at(0, 2, 5, 6, 8, 9))
    assert ranks_of(picks) == [1, 3, 9, 0, 11]


def test_hybrid_of_one_is_cnfp() -> None:
    assert ranks_of(hybrid(RANKED, 1, positive_at(0))) == [1]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_hybrid_takes_all_of_a_short_list(n: int) -> None:
    picks = hybrid(RANKED[:n], 5, positive_at(0, n=n))
    assert sorted(ranks_of(picks)) == list(range(n))


def test_entropy_takes_where_the_classifier_is_least_sure() -> None:
    values = np.array([0.1, 0.6, 0.3, 0.2, 0.69, 0.0, 0.65, 0.4, 0.5, 0.45, 0.05, 0.15])
    picks = entropy(RANKED, 4, values)
    assert ranks_of(picks) == [4, 6, 1, 8]
    assert picks.reasons == ("entropy",) * 4


def test_entropy_breaks_ties_by_rank() -> None:
    values = np.array([0.2, 0.6, 0.2, 0.6, 0.2, 0.6, 0, 0, 0, 0, 0, 0])
    assert ranks_of(entropy(RANKED, 5, values)) == [1, 3, 5, 0, 2]


def test_random_takes_every_patch_equally_often() -> None:
    generator = rng()
    counts = np.zeros(12)
    for _ in range(2400):
        for rank in ranks_of(random(RANKED, 3, generator)):
            counts[rank] += 1
    # 600 expected each, with a standard deviation of about 21.
    assert counts.sum() == 7200
    assert np.abs(counts - 600).max() < 110


def test_random_answers_differ_between_seeds() -> None:
    answers = {tuple(random(RANKED, 5, np.random.default_rng(s)).patches) for s in range(20)}
    assert len(answers) > 15


@pytest.mark.parametrize("name", ["cnfp", "hybrid", "entropy"])
def test_a_strategy_that_wants_a_classifier_samples_as_front_mid_end_without_one(name: str) -> None:
    picks, used = choose(name, RANKED, 5, rng=rng())
    assert used == FALLBACK == "front_mid_end"
    assert ranks_of(picks) == [0, 1, 6, 10, 11]


@pytest.mark.parametrize("name", ["random", "top_k", "front_mid_end"])
def test_a_strategy_that_needs_no_classifier_is_itself_without_one(name: str) -> None:
    assert not needs_classifier(name)
    assert choose(name, RANKED, 5, rng=rng())[1] == name


def test_fewer_than_k_are_all_taken_and_none_are_an_error_with_a_way_out() -> None:
    assert len(choose("top_k", RANKED[:2], 5, rng=rng())[0].patches) == 2
    with pytest.raises(PoolExhaustedError) as caught:
        choose("top_k", RANKED[:0], 5, rng=rng())
    assert caught.value.code == "pool_exhausted"
    assert caught.value.hint


def test_an_unknown_strategy_is_refused_with_the_known_names() -> None:
    with pytest.raises(InvalidInputError, match="no sampling strategy 'best'") as caught:
        choose("best", RANKED, 5, rng=rng())
    assert "cnfp" in caught.value.hint


HOUSE_STRATEGIES = """
def last(ranked, k):
    return ranked[-k:]

def sure(ranked, k, entropy):
    return ranked[entropy.argsort()[:k]]

def twice(ranked, k):
    return [ranked[0], ranked[0]]

def foreign(ranked, k):
    return [ranked.max() + 1]

def too_many(ranked, k):
    return ranked[: k + 1]

def nothing(ranked, k):
    return ranked[:0]
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package of somebody else's, installed beside slideloop."""
    (tmp_path / "house_strategies.py").write_text(HOUSE_STRATEGIES)
    info = tmp_path / "house_strategies-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: house-strategies\nVersion: 1.0\n")
    names = ("last", "sure", "twice", "foreign", "too_many", "nothing")
    entries = "\n".join(f"house_{name} = house_strategies:{name}" for name in names)
    (info / "entry_points.txt").write_text(f"[slideloop.strategies]\n{entries}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    find_strategy.cache_clear()
    sys.modules.pop("house_strategies", None)


@pytest.mark.usefixtures("house")
def test_a_function_of_somebody_else_may_return_a_bare_array() -> None:
    picks, used = choose("house_last", RANKED, 3, rng=rng())
    assert used == "house_last"
    assert ranks_of(picks) == [9, 10, 11]
    assert picks.reasons == ("house_last",) * 3


@pytest.mark.usefixtures("house")
def test_a_function_of_somebody_else_gets_the_arrays_that_it_names() -> None:
    assert needs_classifier("house_sure")
    values = np.arange(12, 0, -1) / 20
    picks, _ = choose("house_sure", RANKED, 2, rng=rng(), is_positive=positive_at(), entropy=values)
    assert ranks_of(picks) == [11, 10]
    assert choose("house_sure", RANKED, 2, rng=rng())[1] == FALLBACK


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("name", ["twice", "foreign", "too_many", "nothing"])
def test_a_strategy_that_cheats_is_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"house_{name}"):
        choose(f"house_{name}", RANKED, 3, rng=rng())


@pytest.mark.usefixtures("house")
def test_a_function_of_somebody_else_is_not_asked_when_nothing_is_left() -> None:
    with pytest.raises(PoolExhaustedError):
        choose("house_last", RANKED[:0], 3, rng=rng())
