r"""Play both engines on annotated slides, and say how far apart they are.

Every run is a `slideloop simulate` of its own, whose result stays under --out, so that an
interrupted experiment goes on where it was. What comes of it is one file, agreement.json;
agreement_table.py makes tables of it. Runs of such a file are not played again:

    python examples/benchmarks/agreement.py --data ../shared/data --out agreement \
        --known docs/engines.json
    cp agreement/agreement.json docs/engines.json
    python examples/benchmarks/agreement_table.py docs/engines.json docs/engines.md

All of it takes many hours of a processor, or minutes of a card; --only chooses.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
EXAMPLES = HERE.parent

STRATEGIES = ("cnfp", "random")
LINEAR_SEEDS, FAITHFUL_SEEDS = 10, 10
LONG, SHORT = 10, 5
"""Sessions of 25 labels: 250 and 125."""

WEIGHTS = {
    "squeezenet": ("squeezenet1_1", "weights/squeezenet1_1_imagenet_features.pth"),
    "stand-in": ("resnet18", "weights/resnet18_standin.pth"),
}
SLIDES = {
    "colon-regions": ("Tumor", "Normal"),
    "colon": ("Tumor", "Normal"),
    "tcga": ("Tumor",),
}
"""What is played on, and the classes that are sought in turn."""

KEPT = ("f1", "f1_macro", "accuracy")
"""Measures that are kept, on unreviewed patches."""


@dataclass(frozen=True)
class Job:
    """What one process plays.

    Attributes
    ----------
    slide : str
        A key of `SLIDES`.
    weights : str
        A key of `WEIGHTS`.
    positive, engine : str
    strategies : tuple of str
    precision : {"auto", "fp32", "bf16"}
    seeds : range
    sessions : int
    """

    slide: str
    weights: str
    positive: str
    engine: str
    strategies: tuple[str, ...]
    precision: str
    seeds: range
    sessions: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        case = (self.slide, self.weights, self.positive, self.engine, *self.strategies)
        seeds = f"seed{self.seeds.start}" + (f"to{self.seeds[-1]}" if len(self.seeds) > 1 else "")
        return "-".join((*case, self.precision, seeds, f"{self.sessions}x25"))


def all_jobs() -> Iterator[Job]:
    """Say what is played: `linear` first, `faithful` seed by seed, then both precisions."""
    cases = [(s, w, p) for s, found in SLIDES.items() for w in WEIGHTS for p in found]
    for case in cases:
        yield Job(*case, "linear", STRATEGIES, "auto", range(LINEAR_SEEDS), LONG)
    for seed in range(FAITHFUL_SEEDS):
        for case in cases:
            sessions = SHORT if seed else LONG
            yield Job(*case, "faithful", STRATEGIES, "auto", range(seed, seed + 1), sessions)
    case = ("colon", "stand-in", "Tumor")
    for precision in ("fp32", "bf16"):
        yield Job(*case, "linear", ("cnfp",), precision, range(LINEAR_SEEDS), SHORT)
        for seed in range(FAITHFUL_SEEDS):
            yield Job(*case, "faithful", ("cnfp",), precision, range(seed, seed + 1), SHORT)


def command(job: Job, data: Path, cut: Path, out: Path) -> list[str]:
    """Return the command line that plays a job."""
    encoder, weights = WEIGHTS[job.weights]
    colon = data / "slides" / "colon_regions.tif", data / "truth" / "colon_regions.geojson"
    if job.slide == "colon":
        slides = [colon]
    elif job.slide == "colon-regions":
        slides = [(cut / f"{part}.tif", cut / f"{part}.geojson") for part in ("search", "held-out")]
    else:
        truth = EXAMPLES / "tcga-cr-7395-tumour.geojson"
        slides = [(data / "slides" / "tcga-cr-7395-01a-01-ts1.svs", truth)]
    line = [sys.executable, "-m", "slideloop.cli.main", "simulate"]
    line += [str(path) for path, _ in slides]
    for _, truth in slides:
        line += ["--truth", str(truth)]
    if len(slides) > 1:
        line += ["--search-slide", str(slides[0][0])]
    # A finished store is used whatever its precision, so each has a workspace of its own.
    return [
        *line,
        *("--positive", job.positive, "--engine", job.engine, "--queries", str(job.sessions)),
        *(part for name in job.strategies for part in ("--strategy", name)),
        *("--seed", str(job.seeds.start), "--seeds", str(len(job.seeds))),
        *("--encoder", encoder, "--weights", str(data / weights), "--precision", job.precision),
        *("--patch", "128" if job.slide == "tcga" else "224"),
        *("--workspace", str(out / "workspace" / job.precision)),
        *("--out", str(out / job.name)),
    ]


def play(job: Job, data: Path, cut: Path, out: Path) -> float:
    """Play a job unless its result is there; return the seconds it took.

    Raises
    ------
    RuntimeError
        With the last line of its errors, if it failed.
    """
    if (out / job.name / "result.json").exists():
        return 0.0
    start = time.perf_counter()
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command(job, data, cut, out),
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{job.name}: {done.stderr.strip().splitlines()[-1:]}")
    return time.perf_counter() - start


def runs_of(job: Job, out: Path) -> list[dict[str, Any]]:
    """Return what is kept of a job's runs; none when it was not played."""
    path = out / job.name / "result.json"
    if not path.exists():
        return []
    played = json.loads(path.read_text(encoding="utf-8"))
    case = {"slide": job.slide, "weights": job.weights, "positive": job.positive}
    case["precision"] = played["settings"]["dtype"]
    return [
        {**case, **{key: run[key] for key in ("engine", "strategy", "seed")}, "curve": curve(run)}
        for run in played["runs"]
    ]


def curve(run: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is kept of a run's points.

    `f1` and the others are measured on unreviewed patches; `held_out` has them for the regions of
    which no patch was ever shown.
    """
    kept: list[dict[str, Any]] = []
    for point in run["curve"]:
        measured = point.get("by_slide", [point])
        row: dict[str, Any] = {"n_labels": point["n_labels"]}
        row |= {name: _short(measured[0][f"{name}_unreviewed"]) for name in KEPT}
        if len(measured) > 1:
            row["held_out"] = {name: _short(measured[1][f"{name}_unreviewed"]) for name in KEPT}
        kept.append(row)
    return kept


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def is_known(job: Job, known: list[dict[str, Any]]) -> bool:
    """Say whether all runs of a job are among some runs, as long at least."""
    wanted = {(strategy, seed) for strategy in job.strategies for seed in job.seeds}
    case = (job.slide, job.weights, job.positive, job.engine)
    return wanted <= {
        (run["strategy"], run["seed"])
        for run in known
        if (run["slide"], run["weights"], run["positive"], run["engine"]) == case
        and job.precision in ("auto", run["precision"])
        and len(run["curve"]) >= job.sessions
    }


def collect(out: Path, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Gather the runs that were played, and known ones that were not played again."""
    played = [run for job in all_jobs() for run in runs_of(job, out)]
    again = [_identity(run) for run in played]
    return [run for run in known if _identity(run) not in again] + played


def _identity(run: dict[str, Any]) -> tuple[Any, ...]:
    return (*(value for key, value in run.items() if key != "curve"), len(run["curve"]))


def _say(name: str, done: Future[float]) -> None:
    problem = done.exception()
    print(problem if problem else f"{name}: {done.result():.0f} s", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Play what is not there yet, and write agreement.json."""
    parser = argparse.ArgumentParser(description="Play both engines on annotated slides.")
    parser.add_argument("--data", type=Path, required=True, help="folder with slides/ and weights/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--known", type=Path, help="an agreement.json, whose runs are kept")
    parser.add_argument("--only", default="", help="jobs whose name holds this")
    parser.add_argument("--at-once", type=int, default=2, help="runs, of a thread each (default 2)")
    parser.add_argument("--collect", action="store_true", help="play nothing, gather what is there")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    cut = given.out / "cut"
    known = json.loads(given.known.read_text(encoding="utf-8"))["runs"] if given.known else []
    asked = [] if given.collect else [job for job in all_jobs() if given.only in job.name]
    jobs = [job for job in asked if not is_known(job, known)]
    if jobs and not (cut / "held-out.geojson").exists():
        colon = [str(given.data / "slides" / "colon_regions.tif")]
        colon += [str(given.data / "truth" / "colon_regions.geojson"), str(cut)]
        subprocess.run([sys.executable, str(EXAMPLES / "cut_slide.py"), *colon], check=True)
    # One process indexes a slide: that has to end before others play on it.
    short = partial(replace, engine="linear", strategies=("cnfp",), seeds=range(1), sessions=1)
    first = {(job.slide, job.weights, job.precision): short(job) for job in jobs}
    with ThreadPoolExecutor(given.at_once) as pool:
        for stage in (list(first.values()), jobs):
            begun: list[Future[float]] = []
            for number, job in enumerate(stage, 1):
                begun.append(pool.submit(play, job, given.data, cut, given.out))
                begun[-1].add_done_callback(partial(_say, f"{number}/{len(stage)} {job.name}"))
            wait(begun)
    runs = ",\n".join(json.dumps(run) for run in collect(given.out, known))
    text = f'{{"runs": [\n{runs}\n]}}\n'
    (given.out / "agreement.json").write_text(text, encoding="utf-8")
    print(given.out / "agreement.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
