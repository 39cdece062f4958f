"""Write the tables of docs/engines.md from what agreement.py gathered.

python examples/benchmarks/agreement_table.py docs/engines.json docs/engines.md
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slideloop.evaluation.metrics import interval

N_LABELS = (25, 50, 75, 125, 250)
Run = dict[str, Any]
Case = tuple[str, ...]


def tables(gathered: dict[str, Any]) -> dict[str, str]:
    """Return the tables by name, as Markdown."""
    longest: dict[Case, Run] = {}
    for run in gathered["runs"]:
        key = (*_case(run), run["engine"], str(run["seed"]))
        # A run to 250 labels repeats the one to 125.
        if key not in longest or len(run["curve"]) > len(longest[key]["curve"]):
            longest[key] = run
    runs = list(longest.values())
    return {
        "same-slide": _engines(runs, held_out=False),
        "held-out": _engines([r for r in runs if "held_out" in r["curve"][0]], held_out=True),
    }


def _case(run: Run) -> Case:
    return run["slide"], run["weights"], run["positive"], run["strategy"]


def value(run: Run, n_labels: int, held_out: bool) -> float | None:
    """Return a run's F1 at a number of labels; None where it was not played so far."""
    for point in run["curve"]:
        if point["n_labels"] == n_labels:
            return (point["held_out"] if held_out else point)["f1"]
    return None


def _engines(runs: list[Run], *, held_out: bool) -> str:
    """Compare the engines: a row for each case, three figures for each number of labels."""
    lines = [
        "| slide, weights, positive, strategy | labels | `linear` | `faithful` | difference |",
        "|---|---|---|---|---|",
    ]
    for case in dict.fromkeys(_case(run) for run in runs):
        of_case = [run for run in runs if _case(run) == case]
        for n_labels in N_LABELS:
            found = {
                name: {
                    run["seed"]: f1
                    for run in of_case
                    if run["engine"] == name and (f1 := value(run, n_labels, held_out)) is not None
                }
                for name in ("linear", "faithful")
            }
            if not found["faithful"]:
                continue
            both = sorted(found["linear"].keys() & found["faithful"].keys())
            pairs = [found["linear"][seed] - found["faithful"][seed] for seed in both]
            lines.append(
                f"| {', '.join(case)} | {n_labels} | {_mean(found['linear'].values())} "
                f"| {_mean(found['faithful'].values())} | {_difference(pairs)} |"
            )
    return "\n".join(lines)


def _mean(values: Iterable[float]) -> str:
    known = list(values)
    return f"{sum(known) / len(known):.3f} ({len(known)})".replace("0.", ".", 1)


def _difference(pairs: list[float]) -> str:
    mean, low, high = interval(pairs)
    if mean is None:
        return ""
    return _signed(mean) + (
        "" if low is None or high is None else f" ({_signed(low)} to {_signed(high)})"
    )


def _signed(number: float) -> str:
    return f"{number:+.3f}".replace("0.", ".", 1)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Print what agreement.py gathered as tables.")
    parser.add_argument("gathered", type=Path, help="agreement.json")
    given = parser.parse_args(arguments)
    found = tables(json.loads(given.gathered.read_text(encoding="utf-8")))
    for name, table in found.items():
        print(f"{name}: F1 on unreviewed patches (number of seeds)\n\n{table}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
