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
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

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

MEASURES = ("f1", "jaccard", "accuracy", "f1_boundary")
POINT = (
    *("session", "n_labels", "n_query_labels", "perfect_p10", "p10"),
    *(f"{name}{of}" for name in MEASURES for of in ("", "_unreviewed")),
)
"""What is kept of a point of a curve; four digits of each measure."""

BEING_INDEXED = "is being indexed by another process"
"""What `simulate` says where it has to wait."""

AGAIN_S = 20.0
"""After how long it is tried again; each try costs some seconds of a core."""

DRAWN = {"f1_unreviewed": ("f1_unreviewed", "jaccard_unreviewed")}
"""Panels of the picture where it is not `simulate`'s own choice."""

ON_SLIDES = {
    "f1_unreviewed": "last",
    "f1": "reviewed counted",
    "jaccard_unreviewed": "Jaccard",
    "f1_boundary_unreviewed": "boundary",
}
ON_TILES = {"accuracy": "last", "perfect_p10": "perfect P@10", "p10": "P@10"}
"""What a table says of the last session."""

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
    places = {"data": given.data, "here": HERE, "made": out / "made"}
    _prepare(experiment.get("prepare", []), places)
    jobs = [
        (part, strategy, out / part["name"] / strategy)
        for part in experiment["part"]
        for strategy in experiment["strategies"]
    ]
    missing = {
        folder: _command(experiment, part, strategy, places, more)
        for part, strategy, folder in jobs
        if not folder.exists()
    }
    with ThreadPoolExecutor(given.at_once) as pool:
        for folder in pool.map(_play, missing.keys(), missing.values()):
            print(f"{folder} is played", flush=True)
    parts = [
        gathered
        for part in experiment["part"]
        for gathered in _gathered(part, [folder for p, _, folder in jobs if p is part])
    ]
    if len(experiment["strategies"]) == 1:
        parts = [_together(parts)]
    measure = experiment["measure"]
    for part in parts:
        rows = compare([part], measure, experiment.get("reference"))
        part["comparison"] = {measure: as_records(rows)}
    figure: dict[str, Any] = {"title": experiment["title"], "parts": parts}
    if experiment.get("over_slides"):
        rows = compare(parts, measure, experiment.get("reference"))
        figure["comparison"] = {measure: as_records(rows)}
    _write(figure, out)
    if "--mask-after" in experiment["arguments"]:
        for part in experiment["part"]:
            folders = [out / part["name"] / strategy for strategy in experiment["strategies"]]
            _stack_masks(folders, out / f"{part['name']}-masks.png")
    print(out / "table.md")
    return 0


def _prepare(programs: list[list[str]], places: dict[str, Path]) -> None:
    """Make what an experiment cuts out of the data, whole or not at all."""
    made, whole = places["made"], places["made"].with_name("made.whole")
    if not programs or whole.exists():
        return
    shutil.rmtree(made, ignore_errors=True)
    made.parent.mkdir(parents=True, exist_ok=True)
    for program in programs:
        line = [sys.executable, *(word.format(**places) for word in program)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{Path(line[1]).name}: {_last_line(done)}")
    whole.touch()


def _command(
    experiment: dict[str, Any], part: dict[str, Any], strategy: str, places: dict[str, Path],
    more: list[str],
) -> list[str]:  # fmt: skip
    words = [*experiment["arguments"], *part["arguments"]]
    line = [word.format(**places) for word in words]
    program = [sys.executable, "-m", "slideloop.cli.main", "simulate"]
    return [*program, *line, "--strategy", strategy, *more]


def _play(folder: Path, line: list[str]) -> Path:
    """Fill a folder, which appears when all of it was played: `simulate` also writes a part."""
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    while True:
        program = [*line, "--out", str(unfinished)]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        if not done.returncode:
            return unfinished.rename(folder)
        # Of several that are played at once, one indexes the slides; then the others find them.
        if BEING_INDEXED not in done.stderr:
            raise SystemExit(_last_line(done))
        time.sleep(AGAIN_S)


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return what a program that failed said last."""
    return (done.stderr.strip().splitlines() or [f"It ended with {done.returncode}."])[-1]


def _gathered(part: dict[str, Any], folders: list[Path]) -> list[dict[str, Any]]:
    """Return the runs of a part without what differs each time: clocks and names of studies.

    A part that is measured `on` several slides is one for each.
    """
    results = [json.loads((folder / "result.json").read_bytes()) for folder in folders]
    settings = results[0]["settings"]
    cut = {name: settings[name] for name in ("patch", "filter")}
    common = {
        "settings": {name: settings.get(name) for name in SETTINGS} | {"slides": _slides(settings)},
        "data": [
            {**row, **cut}
            if "n_cells" in row
            else {**row, "slide": f"{part['name']} tiles, {Path(row['slide']).name}"}
            for row in results[0]["data"]
        ],
    }
    runs = [run for result in results for run in result["runs"]]
    slides = runs[0]["slides"]
    measured_on = {f"{part['name']}-on-{Path(s).stem}": slides.index(s) for s in part.get("on", [])}
    return [
        {
            "name": name,
            **common,
            **_of_full(results[0].get("full_supervision"), slide),
            "runs": [_of_run(run, slide) for run in runs],
        }
        for name, slide in (measured_on or {part["name"]: None}).items()
    ]


def _of_full(full: dict[str, Any] | None, slide: int | None) -> dict[str, Any]:
    """Return what is kept of full supervision: nothing of a slide that it was trained on."""
    if full is None:
        return {}
    measured = full if slide is None else full["by_slide"][slide]
    if measured is None:
        return {}
    kept = {name: _short(measured[name]) for name in POINT if name in measured}
    return {"full_supervision": {"n_labels": full["n_labels"], **kept}}


def _of_run(run: dict[str, Any], slide: int | None) -> dict[str, Any]:
    """Return what is kept of a run, or of one of its slides."""
    kept = {name: run[name] for name in KEPT} | {"slides": [Path(s).name for s in run["slides"]]}
    points = run["curve"]
    if slide is not None:
        kept["slides"] = [kept["slides"][slide]]
        points = [{**point, **point["by_slide"][slide]} for point in points]
    curve = [{name: _short(point[name]) for name in POINT if name in point} for point in points]
    return {**kept, "curve": curve}


def _slides(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the slides as anybody has them: where they lie here says nothing."""
    return [
        {name: value for name, value in slide.items() if name != "path"}
        | {"name": Path(slide["name"]).name}  # of a folder of tiles, its path
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
    data = [row for part in parts for row in part["data"]]
    distinct = [row for i, row in enumerate(data) if row not in data[:i]]
    return {"name": strategy, "settings": same, "data": distinct, "runs": runs}


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def _write(figure: dict[str, Any], out: Path) -> None:
    # A line per run.
    text = json.dumps(figure, ensure_ascii=False, allow_nan=False)
    text = text.replace('{"strategy"', '\n{"strategy"')
    (out / "figure.json").write_text(text + "\n", "utf-8")
    for part in figure["parts"]:
        (measure,) = part["comparison"]
        learning_curves(part, out / f"{part['name']}.png", DRAWN.get(measure))
    (out / "table.md").write_text(table(figure) + "\n" + data_table([figure]), "utf-8")


def _stack_masks(folders: Iterable[Path], path: Path) -> None:
    """Put the masks of the first seed below each other, a line per strategy (paper, Fig. 4)."""
    pictures = [
        np.asarray(cv2.imread(str(overlay)))
        for folder in folders
        for overlay in sorted(folder.glob("overlay-*.png"))[:1]
    ]
    if pictures:
        cv2.imwrite(str(path), np.vstack(pictures))


def table(figure: dict[str, Any]) -> str:
    """Return the tables of a figure: the ranking, and the measures after the last session."""
    lines = [f"### {figure['title']}", ""]
    for part in figure["parts"]:
        ((measure, rows),) = part["comparison"].items()
        settings = part["settings"]
        n_seeds = len({run["seed"] for run in part["runs"]})
        where = "on this slide" if measure in ON_SLIDES else "on these tiles"
        last = ON_SLIDES if measure in ON_SLIDES else ON_TILES
        columns = (
            *("", "area", "beside the reference", "p (Holm)", where),
            *(f"labels to {height:g}" for height in HEIGHTS),
            *last.values(),
        )
        lines += [
            f"**{part['name']}**: {settings['engine']}, {settings['weights']['kind']} weights "
            f"({settings['weights']['name']}), {n_seeds} seed{'s' * (n_seeds > 1)}, "
            f"{settings['sessions'] or 'several'} sessions{_rounds(settings)}; area under the "
            f"curve of {measure}.",
            "",
            _line(columns),
            _line(["---"] * len(columns)),
            *(_row(row, part, measure, last) for row in rows),
        ]
        if "full_supervision" in part:
            full = part["full_supervision"]
            values = ["" if full.get(name) is None else f"{full[name]:.3f}" for name in last]
            blank = [""] * (len(columns) - len(values) - 1)
            lines.append(_line([f"all {full['n_labels']:,} labelled", *blank, *values]))
        lines.append("")
    if "comparison" in figure:
        ((measure, rows),) = figure["comparison"].items()
        lines += [
            f"**All slides**: each slide counts once ({rows[0]['n']}); {measure}.",
            "",
            _line(("", "area", "beside the reference", "p (Holm)", "on these slides")),
            _line(["---"] * 5),
            *(_line(_told(row)) for row in rows),
            "",
        ]
    return "\n".join(lines)


def data_table(figures: Iterable[dict[str, Any]]) -> str:
    """Return what the figures were played on, each slide and patch size once (paper, Table 1)."""
    columns = ("slide or tiles", "patch", "filter", "cells", "patches", "by class", "on a boundary")
    lines: dict[str, None] = {}
    for figure in figures:
        for row in (row for part in figure["parts"] for row in part["data"]):
            classes = ", ".join(f"{name} {n:,}" for name, n in sorted(row["patches"].items()))
            counts = {name: f"{row[name]:,}" for name in row if name.startswith("n_")}
            shown = {**row, **counts, "classes": classes}
            names = ("slide", "patch", "filter", "n_cells", "n_patches", "classes", "n_boundary")
            lines[_line(str(shown.get(name, "")) for name in names)] = None
    return "\n".join([_line(columns), _line(["---"] * len(columns)), *lines, ""])


def _rounds(settings: dict[str, Any]) -> str:
    """Say how a session is cut, where all parts have it so."""
    if settings["rounds"] is None or settings["k"] is None:
        return ""
    return f" of {settings['rounds']} x {settings['k']} patches"


def _row(row: dict[str, Any], part: dict[str, Any], measure: str, last: Mapping[str, str]) -> str:
    runs = [run for run in part["runs"] if run["strategy"] == row["strategy"]]
    medians = [median_labels(runs, measure, height)[0] for height in HEIGHTS]
    ends = [interval([run["curve"][-1].get(name) for run in runs]) for name in last]
    reached = [str(median or "more") for median in medians]
    return _line([*_told(row), *reached, *("" if e[0] is None else interval_text(e) for e in ends)])


def _told(row: dict[str, Any]) -> list[str]:
    """Say a row of a comparison in five cells."""
    difference = row["difference"] and interval_text(row["difference"], signed=True)
    told = (difference or "reference", p_text(row["p"]), verdict_text(row["verdict"]))
    return [row["strategy"], interval_text(row["area"]), *told]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
