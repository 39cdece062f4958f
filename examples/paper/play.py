r"""Play one of the paper's experiments, and leave its figure and its table.

    python examples/paper/play.py examples/paper/fig3-colon.toml --data ../shared/data \
        --out figures --weights ../shared/data/weights/resnet18_standin.pth

Every strategy of every part is a `slideloop simulate` of its own, whose result stays under --out:
an interrupted experiment goes on where it was, and ends with the same figure.json. Options that
this program does not know go to `simulate`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from slideloop.evaluation.comparison import (
    as_records,
    compare,
    interval_text,
    median_labels,
    p_text,
    verdict_text,
)
from slideloop.evaluation.metrics import interval
from slideloop.evaluation.plots import learning_curves
from slideloop.evaluation.report import HEIGHTS

HERE = Path(__file__).parent
"""What experiments call {here}."""

MEASURES = ("f1", "jaccard", "accuracy")
POINT = (
    *("session", "n_labels", "n_query_labels", "perfect_p10", "p10"),
    *(f"{name}{of}" for name in MEASURES for of in ("", "_unreviewed")),
)
"""What is kept of a point of a curve; four digits of each measure."""

KEPT = ("strategy", "engine", "seed", "slides", "n_patches", "n_boundary")
SETTINGS = (
    *("positive", "classes", "slides", "engine", "mode", "sessions", "rounds", "k", "weights"),
    *("encoder", "dtype", "patch", "filter", "refine_query", "refine_over", "session_start"),
)


def main(arguments: list[str] | None = None) -> int:
    """Play what is not there yet, and write the figure."""
    parser = argparse.ArgumentParser(description="Play one of the paper's experiments.")
    parser.add_argument("experiment", type=Path, help="one of the .toml files beside this program")
    parser.add_argument("--data", type=Path, required=True, help="what the experiment calls {data}")
    parser.add_argument("--out", type=Path, required=True, help="gets a folder per experiment")
    parser.add_argument("--at-once", type=int, default=1, help="runs, of a thread each (default 1)")
    given, more = parser.parse_known_args(arguments)
    experiment = tomllib.loads(given.experiment.read_text("utf-8"))
    out = given.out / given.experiment.stem
    jobs = [
        (part, strategy, out / part["name"] / strategy)
        for part in experiment["part"]
        for strategy in experiment["strategies"]
    ]
    lines = {
        folder: _command(experiment, part, strategy, given.data, folder, more)
        for part, strategy, folder in jobs
    }
    missing = [folder for *_, folder in jobs if not (folder / "result.json").exists()]
    # One process indexes the slides; then the others find them.
    first, rest = missing[:1], missing[1:]
    with ThreadPoolExecutor(given.at_once) as pool:
        for stage in (first, rest):
            for done in pool.map(_play, [lines[folder] for folder in stage]):
                print(done, flush=True)
    parts = [
        _gathered(part, [folder for p, _, folder in jobs if p is part])
        for part in experiment["part"]
    ]
    if len(experiment["strategies"]) == 1:
        parts = [_together(parts)]
    for part in parts:
        rows = compare([part], experiment["measure"], experiment.get("reference"))
        part["comparison"] = {experiment["measure"]: as_records(rows)}
    _write(experiment, parts, out)
    print(out / "table.md")
    return 0


def _command(
    experiment: dict[str, Any], part: dict[str, Any], strategy: str, data: Path, folder: Path,
    more: list[str],
) -> list[str]:  # fmt: skip
    words = [*experiment["arguments"], *part["arguments"]]
    line = [word.format(data=data, here=HERE) for word in words]
    program = [sys.executable, "-m", "slideloop.cli.main", "simulate"]
    return [*program, *line, "--strategy", strategy, *more, "--out", str(folder)]


def _play(line: list[str]) -> str:
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"simulate ended with {done.returncode}"]
        raise SystemExit(said[-1])
    return f"{line[-1]} is played"


def _gathered(part: dict[str, Any], folders: list[Path]) -> dict[str, Any]:
    """Return the runs of a part without what differs each time: clocks and names of studies."""
    results = [json.loads((folder / "result.json").read_bytes()) for folder in folders]
    settings = results[0]["settings"]
    runs = [
        {
            **{name: run[name] for name in KEPT},
            "curve": [
                {name: _short(point[name]) for name in POINT if name in point}
                for point in run["curve"]
            ],
        }
        for result in results
        for run in result["runs"]
    ]
    return {
        "name": part["name"],
        "settings": {name: settings.get(name) for name in SETTINGS} | {"slides": _slides(settings)},
        "runs": runs,
    }


def _slides(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the slides as anybody has them: where they lie here says nothing."""
    return [
        {name: value for name, value in slide.items() if name != "path"}
        for slide in settings["slides"]
    ]


def _together(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return parts of one strategy as one, whose rows they are: the same seed, the same queries."""
    strategy = parts[0]["runs"][0]["strategy"]
    runs = [{**run, "strategy": part["name"]} for part in parts for run in part["runs"]]
    same = {
        name: value if all(part["settings"][name] == value for part in parts) else None
        for name, value in parts[0]["settings"].items()
    }
    return {"name": strategy, "settings": same, "runs": runs}


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _write(experiment: dict[str, Any], parts: list[dict[str, Any]], out: Path) -> None:
    figure = {"title": experiment["title"], "parts": parts}
    # A line per run.
    text = json.dumps(figure, ensure_ascii=False, allow_nan=False)
    text = text.replace('{"strategy"', '\n{"strategy"')
    (out / "figure.json").write_text(text + "\n", "utf-8")
    for part in parts:
        learning_curves(part, out / f"{part['name']}.png")
    (out / "table.md").write_text(table(figure), "utf-8")


def table(figure: dict[str, Any]) -> str:
    """Return the tables of a figure: the ranking, and the measures after the last session."""
    lines = [f"## {figure['title']}", ""]
    for part in figure["parts"]:
        ((measure, rows),) = part["comparison"].items()
        settings = part["settings"]
        n_seeds = len({run["seed"] for run in part["runs"]})
        lines += [
            f"**{part['name']}**: {settings['engine']}, {settings['weights']['kind']} weights "
            f"({settings['weights']['name']}), {n_seeds} seeds, {settings['sessions']} sessions"
            f"{_rounds(settings)}; area under the curve of {measure}.",
            "",
            "| | area | beside the reference | p (Holm) | on this slide | "
            f"{' | '.join(f'labels to {height:g}' for height in HEIGHTS)} | last |",
            "| --- | --- | --- | --- | --- |" + " --- |" * (len(HEIGHTS) + 1),
        ]
        lines += [_row(row, part, measure) for row in rows]
        lines.append("")
    return "\n".join(lines)


def _rounds(settings: dict[str, Any]) -> str:
    """Say how a session is cut, where all parts have it so."""
    if settings["rounds"] is None or settings["k"] is None:
        return ""
    return f" of {settings['rounds']} x {settings['k']} patches"


def _row(row: dict[str, Any], part: dict[str, Any], measure: str) -> str:
    runs = [run for run in part["runs"] if run["strategy"] == row["strategy"]]
    medians = [median_labels(runs, measure, height)[0] for height in HEIGHTS]
    reached = [str(median or "more") for median in medians]
    difference = row["difference"] and interval_text(row["difference"], signed=True)
    last = interval_text(interval([run["curve"][-1].get(measure) for run in runs]))
    told = (difference or "reference", p_text(row["p"]), verdict_text(row["verdict"]))
    cells = (row["strategy"], interval_text(row["area"]), *told, *reached, last)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
