"""The statistics of a comparison: what counts once, what is told, and how often wrongly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from slideloop.evaluation.comparison import (
    area_under,
    compare,
    holm,
    labels_to_reach,
    median_labels,
    rankings,
)

MEASURE = "f1_unreviewed"
NAMES = ("cnfp", "hybrid", "entropy", "front_mid_end", "top_k", "random")


def points(*heights: float | None) -> list[dict[str, Any]]:
    return [{"n_labels": 25 * (i + 1), MEASURE: height} for i, height in enumerate(heights)]


def result(
    value: Callable[[str, int], float],
    n_seeds: int,
    names: tuple[str, ...] = NAMES,
    slide: str = "a.svs",
    positive: str = "Tumor",
) -> dict[str, Any]:
    runs = [
        {"strategy": name, "seed": seed, "slides": [slide], "curve": points(value(name, seed))}
        for name in names
        for seed in range(n_seeds)
    ]
    return {"settings": {"positive": positive}, "runs": runs}


@pytest.mark.parametrize(
    ("curve", "area"),
    [
        (points(0.5, 0.5, 0.5), 0.5),
        (points(0.0, 1.0), 0.5),
        (points(0.0, 1.0, 1.0), 0.75),
        (points(0.8), 0.8),
        (points(None, 0.4, 0.8), 0.6),
        (points(None), None),
        ([], None),
    ],
)
def test_the_area_is_the_mean_height(curve: list[dict[str, Any]], area: float | None) -> None:
    assert area_under(curve, MEASURE) == (None if area is None else pytest.approx(area))


def test_labels_are_counted_to_the_first_point_that_is_high_enough() -> None:
    curve = points(0.5, None, 0.9, 0.8)
    assert [labels_to_reach(curve, MEASURE, height) for height in (0.5, 0.6, 0.95)] == [
        25,
        75,
        None,
    ]


def test_the_median_counts_those_that_never_got_there_as_above_all_others() -> None:
    def of(*curves: list[dict[str, Any]]) -> tuple[int | None, int]:
        return median_labels([{"curve": curve} for curve in curves], MEASURE, 0.9)

    soon, late, never = points(0.9), points(0.5, 0.5, 0.9), points(0.5)
    assert of(soon, late, never) == (75, 2)
    assert of(soon, never, never) == (None, 1)
    assert of(soon, never) == (25, 1)
    assert of() == (None, 0)


def test_holm_is_that_of_the_books() -> None:
    # By hand: .01 x 3, then .02 x 2 = .04, then .5; an order is never turned round.
    found = holm({"a": 0.5, "b": 0.01, "c": 0.02, "none": None})
    assert found == {"a": 0.5, "b": pytest.approx(0.03), "c": pytest.approx(0.04), "none": None}
    assert holm({"a": 0.04, "b": 0.03}) == {"a": pytest.approx(0.06), "b": pytest.approx(0.06)}
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_what_varies_between_seeds_alone_hides_no_difference() -> None:
    rng = np.random.default_rng(1)
    of_seed = rng.normal(0, 0.2, 10)
    noise = rng.normal(0, 0.002, (6, 10))
    rows = compare(
        [
            result(
                lambda n, s: 0.7 + of_seed[s] + noise[NAMES.index(n), s] - 0.02 * (n == "random"),
                10,
            )
        ],
        MEASURE,
    )
    verdicts = {row.strategy: row.verdict for row in rows}
    assert verdicts.pop("cnfp") == "reference"
    assert verdicts.pop("random") == "behind"
    assert {*verdicts.values()} == {"not told"}
    (random,) = [row for row in rows if row.strategy == "random"]
    assert random.difference is not None
    mean, low, high = random.difference
    assert mean is not None and low is not None and high is not None
    assert low < -0.02 < high < 0
    paired = noise[5] - noise[0] - 0.02
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 9, paired.mean(), stats.sem(paired)))
    # The smallest of five is taken five times.
    assert random.p == pytest.approx(5 * stats.ttest_1samp(paired, 0.0).pvalue)
    # The last of the ranking is the one that is behind.
    assert rows[-1].strategy == "random"


@pytest.mark.parametrize("n_seeds", [3, 10])
def test_where_nothing_differs_one_in_twenty_comparisons_names_a_strategy(n_seeds: int) -> None:
    rng = np.random.default_rng(7)
    n_wrong, n_played = 0, 600
    for _ in range(n_played):
        values = rng.normal(0, 0.01, (6, n_seeds)) + rng.normal(0, 0.05, n_seeds)
        rows = compare(
            [result(lambda n, s, v=values: float(v[NAMES.index(n), s]), n_seeds)], MEASURE
        )
        n_wrong += any(row.verdict in ("ahead", "behind") for row in rows)
    # Holm holds .05 at most; differences from one reference depend on each other, so it is less.
    allowed = stats.binom.ppf(0.999, n_played, 0.05)
    assert 0.01 * n_played < n_wrong <= allowed


def test_many_seeds_of_few_slides_count_as_few() -> None:
    rng = np.random.default_rng(3)
    n_wrong, n_played = 0, 400
    for _ in range(n_played):
        of_slide = rng.normal(0, 0.05, 4)
        results = [
            result(
                lambda n, s, d=float(of_slide[i]), r=rng: (n == "random") * d + r.normal(0, 0.001),
                10,
                ("cnfp", "random"),
                slide=f"{i}.svs",
            )
            for i in range(4)
        ]
        rows = compare(results, MEASURE)
        assert {row.n for row in rows} == {4}
        n_wrong += any(row.verdict in ("ahead", "behind") for row in rows)
    assert n_wrong <= stats.binom.ppf(0.999, n_played, 0.05)


def test_both_directions_of_a_slide_are_observations_of_it() -> None:
    both = [
        result(lambda n, s: 0.9 - 0.1 * (n == "random") + 0.001 * s, 3, positive=positive)
        for positive in ("Tumor", "Normal")
    ]
    assert {row.n for row in compare(both, MEASURE)} == {6}


def test_one_seed_tells_nothing() -> None:
    rows = compare([result(lambda n, s: float(n == "cnfp"), 1)], MEASURE)
    assert [row.p for row in rows] == [None] * 6
    assert {row.verdict for row in rows} == {"reference", "not told"}


def test_pairs_that_are_not_complete_are_left_out() -> None:
    played = result(lambda n, s: 0.5 + 0.1 * s + 0.01 * (n == "random") * (s + 1), 4)
    played["runs"] = [run for run in played["runs"] if run["strategy"] != "random" or run["seed"]]
    (random,) = [row for row in compare([played], MEASURE) if row.strategy == "random"]
    assert random.n == 3
    assert random.difference is not None
    assert random.difference[0] == pytest.approx(0.03)


def test_a_measure_that_was_not_taken_gives_no_ranking() -> None:
    assert compare([result(lambda n, s: 0.5, 2)], "accuracy") == []


def test_a_run_over_several_slides_has_an_observation_of_each() -> None:
    def curve(strategy: str, seed: int) -> list[dict[str, Any]]:
        of_first, of_second = (0.9, 0.5 + 0.1 * (strategy == "random"))
        by_slide = [points(of_first + 0.001 * seed)[0], points(of_second)[0]]
        return [{**point, "n_labels": 25 * n, "by_slide": by_slide}
                for n, point in enumerate(points(0.1) * 2, 1)]  # fmt: skip

    def of(*slides: str) -> dict[str, Any]:
        played = result(lambda n, s: 0.0, 3, ("cnfp", "random"))
        for run in played["runs"]:
            run |= {"slides": [*slides], "curve": curve(run["strategy"], run["seed"])}
        return played

    (random,) = [row for row in compare([of("a", "b")], MEASURE) if row.strategy == "random"]
    assert random.n == 2
    assert random.difference is not None and random.area is not None
    assert random.difference[0] == pytest.approx(0.05)
    assert random.area[0] == pytest.approx((0.901 + 0.6) / 2)
    # One of them alone is again a matter of seeds, and nothing of the other counts.
    for slides, difference in (({0}, 0.0), ({1}, 0.1)):
        chosen = compare([of("a", "b")], MEASURE, slides=slides)
        (random,) = [row for row in chosen if row.strategy == "random"]
        assert random.n == 3
        assert random.difference is not None
        assert random.difference[0] == pytest.approx(difference)
    # Two slides that have one name are two.
    assert {row.n for row in compare([of("a", "a")], MEASURE)} == {2}


@pytest.mark.parametrize(
    ("measure", "slides", "searched", "words"),
    [
        (MEASURE, 1, [0], [("this slide", "seed")]),
        (MEASURE, 2, [0, 1], [("these slides", "slide")]),
        (MEASURE, 2, [0], [("the slide searched", "seed"), ("the slide not searched", "seed")]),
        (MEASURE, 3, [1], [("the slide searched", "seed"), ("the slides not searched", "slide")]),
    ],
)
def test_a_comparison_says_what_it_holds_for(
    measure: str, slides: int, searched: list[int], words: list[tuple[str, str]]
) -> None:
    settings = {"slides": [{}] * slides, "search_slides": searched}
    record: dict[str, Any] = {"settings": settings, "comparison": {measure: []}}
    if len(words) > 1:
        record["comparison_not_searched"] = {measure: []}
    assert [(found.where, found.unit) for found in rankings(record)] == words


def test_a_comparison_of_tiles_holds_for_them() -> None:
    # The search database and the held-out tiles.
    settings = {"slides": [{}, {}], "search_slides": [0]}
    (found,) = rankings({"settings": settings, "comparison": {"accuracy": []}})
    assert (found.where, found.unit) == ("these tiles", "seed")


def test_the_reference_can_be_chosen() -> None:
    rows = compare([result(lambda n, s: 0.5 + 0.01 * s, 3)], MEASURE, reference="random")
    assert [row.strategy for row in rows if row.verdict == "reference"] == ["random"]
