"""Which strategy is ahead, from results alone, so that chance is told from difference.

Owns the statistics of a comparison: what one observation is, the pairing, the interval, the
correction for several strategies, and the words that all who show it use. Knows nothing of how
runs are played.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from slideloop.evaluation.metrics import interval

ALPHA = 0.05
"""Chance of naming any strategy wrongly, all of them together, where none differs."""


@dataclass(frozen=True)
class Difference:
    """One strategy beside the reference.

    Attributes
    ----------
    strategy : str
    area : list of float or None
        Mean area under its curve with the 95 % t-interval, `[mean, low, high]`.
    difference : list of float or None
        Its area minus the reference's, of the same queries: mean and 95 % t-interval. None for the
        reference itself.
    p : float or None
        Two-sided, of the paired t-test, corrected by Holm for the number of strategies. None where
        fewer than two observations are there.
    verdict : {"reference", "ahead", "behind", "not told"}
        Ahead or behind only where the corrected p is below .05; then the interval excludes 0.
    n : int
        Observations: slides where there are several, else seeds.
    """

    strategy: str
    area: list[float | None]
    difference: list[float | None] | None
    p: float | None
    verdict: str
    n: int


def compare(
    results: Sequence[Mapping[str, Any]],
    measure: str,
    reference: str | None = None,
    *,
    slides: Collection[int] | None = None,
) -> list[Difference]:
    """Rank the strategies of one or more experiments by the area under their curves.

    Parameters
    ----------
    results : sequence of mapping
        Contents of `result.json`. The observation is (slide, class sought, seed); strategies are
        compared within it, since they saw the same queries. A run over several slides has a curve
        for each. Where there are several slides, each slide's mean over its seeds and classes
        counts once: seeds of one slide say nothing of another.
    measure : str
        Such as "f1_unreviewed".
    reference : str, optional
        Which strategy the others are set beside. Default: cnfp where it was played, else the first.
    slides : collection of int, optional
        Which slides of each result count, by their place in it. Default: all.

    Returns
    -------
    list of Difference
        The largest mean area first; empty where no strategy has a curve of that measure.
    """
    areas = _areas(results, measure, slides)
    if not areas:
        return []
    against = reference or ("cnfp" if "cnfp" in areas else next(iter(areas)))
    found = {name: _differences(areas[name], areas[against]) for name in areas if name != against}
    corrected = holm({name: _p(values) for name, values in found.items()})
    rows = [
        Difference(name, interval(_by_slide(areas[name])), interval(values), corrected[name],
                   _verdict(values, corrected[name]), len(values))
        for name, values in found.items()
    ]  # fmt: skip
    of_reference = _by_slide(areas[against])
    rows.append(
        Difference(against, interval(of_reference), None, None, "reference", len(of_reference))
    )
    return sorted(rows, key=lambda row: -(row.area[0] or 0.0))


def as_records(rows: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return a comparison as `result.json` holds it."""
    return [asdict(row) for row in rows]


def area_under(curve: Sequence[Mapping[str, Any]], measure: str) -> float | None:
    """Return the mean height of a curve over the number of labels.

    Parameters
    ----------
    curve : sequence of mapping
        Points with `n_labels`, rising, and the measure.
    measure : str

    Returns
    -------
    float or None
        By trapezoids from the first point to the last, over their distance, so that it has the
        measure's own unit; of a single point its height. None where no point was measured.
    """
    points = [(p["n_labels"], p[measure]) for p in curve if p.get(measure) is not None]
    if not points:
        return None
    labels, heights = np.array(points, dtype=np.float64).T
    span = labels[-1] - labels[0]
    return float(np.trapezoid(heights, labels) / span) if span else float(heights.mean())


def labels_to_reach(curve: Sequence[Mapping[str, Any]], measure: str, height: float) -> int | None:
    """Return after how many labels a curve is at least so high; None if it never is.

    Parameters
    ----------
    curve : sequence of mapping
        Points with `n_labels`, rising, and the measure.
    measure : str
    height : float
    """
    for point in curve:
        if point.get(measure) is not None and point[measure] >= height:
            return int(point["n_labels"])
    return None


def median_labels(
    runs: Sequence[Mapping[str, Any]], measure: str, height: float
) -> tuple[int | None, int]:
    """Return the median of `labels_to_reach` over runs, and how many of them got there.

    Those that did not are above all others: the median is None where it is one of them.
    """
    found = [labels_to_reach(run["curve"], measure, height) for run in runs]
    reached = sorted(n for n in found if n is not None)
    middle = (len(found) - 1) // 2
    return (reached[middle] if 0 <= middle < len(reached) else None), len(reached)


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Correct p-values for their number (Holm 1979); those that are None stay so and count not."""
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    corrected: dict[str, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for number, (p, name) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - number)))
        corrected[name] = highest
    return corrected


def reference_of(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return which strategy of a recorded comparison the others are set beside; None: no rows."""
    return next((row["strategy"] for row in rows if row["verdict"] == "reference"), None)


def interval_text(values: Sequence[float | None], *, signed: bool = False) -> str:
    """Return a mean with its interval in words."""
    mean, low, high = values
    if mean is None:
        return "not measured"
    form = "+.3f" if signed else ".3f"
    return f"{mean:{form}}" if low is None else f"{mean:{form}} ({low:{form}} to {high:{form}})"


def p_text(p: float | None) -> str:
    """Return a p-value in words; .001 is one of that or less, and nothing none."""
    return "" if p is None else f"{max(p, 0.001):.3f}"


def verdict_text(verdict: str) -> str:
    """Return a verdict in words; of the reference there is nothing to say."""
    return {"reference": "", "not told": "chance may do that"}.get(verdict, verdict)


@dataclass(frozen=True)
class Ranking:
    """A comparison that was recorded, and what it holds for.

    Attributes
    ----------
    measure : str
    rows : sequence of mapping
        As `as_records`.
    where : str
        In words, such as "this slide".
    unit : {"seed", "slide"}
        What is paired and counted.
    """

    measure: str
    rows: Sequence[Mapping[str, Any]]
    where: str
    unit: str


def rankings(record: Mapping[str, Any]) -> list[Ranking]:
    """Return the comparisons of a `result.json`: of what was searched, and of further slides."""
    n_slides, n_searched = (len(record["settings"][name]) for name in ("slides", "search_slides"))
    found: list[Ranking] = []
    for name, n, relation in (
        ("comparison", n_searched, "searched"),
        ("comparison_not_searched", n_slides - n_searched, "not searched"),
    ):
        if name in record:
            ((measure, rows),) = record[name].items()
            where = "this slide" if n == 1 else "these slides"
            if n_searched < n_slides:
                where = f"the {'slide' if n == 1 else 'slides'} {relation}"
            # Tiles are of a search database and a held-out folder, which are no slides.
            of_tiles = measure == "accuracy"
            unit = "seed" if of_tiles or n == 1 else "slide"
            found.append(Ranking(measure, rows, "these tiles" if of_tiles else where, unit))
    return found


Observation = tuple[str, str, int]
"""Slide (or tile folders), class sought, seed."""


def _areas(
    results: Sequence[Mapping[str, Any]], measure: str, slides: Collection[int] | None
) -> dict[str, dict[Observation, float]]:
    areas: dict[str, dict[Observation, float]] = {}
    for result in results:
        positive = str(result["settings"].get("positive"))
        for run in result["runs"]:
            for slide, curve in _curves(run, slides):
                area = area_under(curve, measure)
                if area is not None:
                    areas.setdefault(run["strategy"], {})[slide, positive, run["seed"]] = area
    return areas


def _curves(
    run: Mapping[str, Any], slides: Collection[int] | None
) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Yield the curve of each slide of a run under a name that no other of its slides has."""
    names = run["slides"]
    if not all("by_slide" in point for point in run["curve"]):
        yield ", ".join(names), run["curve"]
        return
    for i, name in enumerate(names):
        if slides is None or i in slides:
            curve = [{**point, **point["by_slide"][i]} for point in run["curve"]]
            yield name if names.count(name) == 1 else f"{name} ({i + 1})", curve


def _differences(
    ours: Mapping[Observation, float], theirs: Mapping[Observation, float]
) -> list[float]:
    """Return the paired differences of the observations that both have, one per unit."""
    return _by_slide({key: ours[key] - theirs[key] for key in ours if key in theirs})


def _by_slide(values: Mapping[Observation, float]) -> list[float]:
    """Return the values; where they are of several slides, each slide's mean."""
    slides = dict.fromkeys(slide for slide, _, _ in values)
    if len(slides) < 2:
        return list(values.values())
    return [
        float(np.mean([value for (slide, _, _), value in values.items() if slide == each]))
        for each in slides
    ]


def _p(differences: Sequence[float]) -> float | None:
    """Return the two-sided p of a paired t-test."""
    from scipy.special import stdtr

    if len(differences) < 2:
        return None
    if np.ptp(differences) == 0:
        # A t-test has no answer where nothing varies.
        return 1.0 if differences[0] == 0 else 0.0
    n = len(differences)
    t = float(np.mean(differences)) / (float(np.std(differences, ddof=1)) / n**0.5)
    return 2 * float(stdtr(n - 1, -abs(t)))


def _verdict(differences: Sequence[float], p: float | None) -> str:
    if p is None or p >= ALPHA:
        return "not told"
    return "ahead" if np.mean(differences) > 0 else "behind"
