"""Write the tables of docs/engines.md from what agreement.py gathered.

    python examples/benchmarks/agreement_table.py docs/engines.json docs/engines.md

In the page, a table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slideloop.evaluation.metrics import interval

N_LABELS = (25, 50, 75, 125, 250)
Run = dict[str, Any]
Case = tuple[str, ...]
Values = dict[int, float]
"""F1 by seed."""

CASE = ("slide", "weights", "positive", "strategy", "engine", "precision")
"""What a run is, beside its seed and its length."""


def tables(gathered: dict[str, Any]) -> dict[str, str]:
    """Return the tables by name, as Markdown."""
    runs = _longest(gathered["runs"])
    held_out = [run for run in runs if "held_out" in run["curve"][0]]
    return {
        "same-slide": _f1(runs, held_out=False),
        "held-out": _f1(held_out, held_out=True),
        "strategies": _differences(runs, "strategy", "cnfp", "random"),
        "strategies-held-out": _differences(held_out, "strategy", "cnfp", "random", held_out=True),
        "engines": _differences(runs, "engine", "linear", "faithful"),
        "engines-held-out": _differences(held_out, "engine", "linear", "faithful", held_out=True),
        "precision": _differences(runs, "precision", "bf16", "fp32"),
    }


def value(run: Run, n_labels: int, held_out: bool) -> float | None:
    """Return a run's F1 at a number of labels; None where it was not played so far."""
    for point in run["curve"]:
        if point["n_labels"] == n_labels:
            return (point["held_out"] if held_out else point)["f1"]
    return None


def _longest(runs: list[Run]) -> list[Run]:
    """Leave one run of those with equal settings: a longer one repeats the shorter."""
    longest: dict[Case, Run] = {}
    for run in runs:
        key = (*_case(run, *CASE), str(run["seed"]))
        if key not in longest or len(run["curve"]) > len(longest[key]["curve"]):
            longest[key] = run
    return list(longest.values())


def _case(run: Run, *keys: str) -> Case:
    return tuple(run[key] for key in keys)


def _grouped(runs: list[Run], *keys: str) -> Iterator[tuple[Case, list[Run]]]:
    for case in sorted({_case(run, *keys) for run in runs}):
        yield case, [run for run in runs if _case(run, *keys) == case]


def _values(runs: list[Run], n_labels: int, held_out: bool) -> Values:
    found = {run["seed"]: value(run, n_labels, held_out) for run in runs}
    return {seed: f1 for seed, f1 in found.items() if f1 is not None}


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    lines = [list(head) + [str(n) for n in N_LABELS], ["---"] * (len(head) + len(N_LABELS)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _f1(runs: list[Run], *, held_out: bool) -> str:
    """Give the mean F1 over seeds: a row for each case and engine, a column for each budget."""
    rows: list[list[str]] = []
    for case, of_case in _grouped(runs, *CASE):
        cells = [_mean(_values(of_case, n, held_out)) for n in N_LABELS]
        rows.append([*case, str(len(of_case)), *cells])
    return _table((*CASE, "seeds"), rows)


def _differences(runs: list[Run], key: str, one: str, other: str, *, held_out: bool = False) -> str:
    """Give the mean difference of two strategies, engines or precisions, with its 95 % interval.

    Only seeds that both played count, all else being equal.
    """
    keys = tuple(name for name in CASE if name != key)
    rows: list[list[str]] = []
    for case, of_case in _grouped(runs, *keys):
        sides = [[run for run in of_case if run[key] == side] for side in (one, other)]
        cells: list[str] = []
        seeds: set[int] = set()
        for n_labels in N_LABELS:
            first, second = (_values(side, n_labels, held_out) for side in sides)
            both = sorted(first.keys() & second.keys())
            seeds |= set(both)
            cells.append(_difference([first[seed] - second[seed] for seed in both]))
        if seeds:
            rows.append([*case, str(len(seeds)), *cells])
    return _table((*keys, "seeds"), rows)


def _mean(values: Values) -> str:
    return _short(f"{sum(values.values()) / len(values):.3f}") if values else ""


def _difference(pairs: list[float]) -> str:
    mean, low, high = interval(pairs)
    if mean is None:
        return ""
    if low is None or high is None:
        return _signed(mean)
    return f"{_signed(mean)} ({_signed(low)} to {_signed(high)})"


def _signed(number: float) -> str:
    return _short(f"{number:+.3f}")


def _short(number: str) -> str:
    return re.sub(r"^([+-]?)0\.", r"\1.", number)


def filled(page: str, found: dict[str, str]) -> str:
    """Return a page with its tables replaced by those of their names.

    Raises
    ------
    KeyError
        If the page names a table that there is not.
    """
    return re.sub(
        r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)",
        lambda m: f"{m[1]}\n{found[m[2]]}\n\n{m[3]}",
        page,
        flags=re.DOTALL,
    )


def main(arguments: list[str] | None = None) -> int:
    """Fill in the page."""
    parser = argparse.ArgumentParser(description="Write what agreement.py gathered into a page.")
    parser.add_argument("gathered", type=Path, help="agreement.json")
    parser.add_argument("page", type=Path, help="Markdown with places for the tables")
    given = parser.parse_args(arguments)
    found = tables(json.loads(given.gathered.read_text(encoding="utf-8")))
    page = filled(given.page.read_text(encoding="utf-8"), found)
    given.page.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
