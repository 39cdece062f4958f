"""slideloop beside plain PyTorch: prints ratios and writes bench.json.

Each measurement is a process of its own, plain and ours in turn, so that a machine that gets
slower does so for both. A ratio is taken within such a pair; what is told is the median of the
pairs, the lowest and the highest. The slides are generated and the weights random unless told
otherwise: speed does not depend on what is seen.

    python examples/benchmarks/bench.py --out bench.json
    python examples/benchmarks/bench.py --quick --only index,round
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import slides
from figures import comparison, machine, spread, table
from first_patches import first_patches

HERE = Path(__file__).parent
JPEG_2000 = HERE.parents[2] / "shared" / "data" / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
"""A real slide beside the checkout, where it is there; the project ships none."""

PARTS = ("index", "round", "linear", "first")
EPOCHS = 50
"""Of a round as the paper has it."""

EPOCHS_SCALED = 5
"""Epochs that are timed, and scaled to all of them, at each further number of labels."""

WARM_UP, TIMED = 2, 9
"""Linear rounds per process: those that are left out, and those whose median counts."""

Pair = dict[str, dict[str, Any]]


class Bench:
    """The measurements of one run.

    Parameters
    ----------
    given : Namespace
        The command line.
    folder : Path
        For what is deleted at the end.
    """

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given, self.folder = given, folder
        self.cache: Path = given.cache or folder
        self._n_folders = 0

    def run(self) -> dict[str, Any]:
        """Do the chosen parts and return what each gave."""
        parts = {
            "index": self.index,
            "round": self.round,
            "linear": self.linear,
            "first": self.first,
        }
        return {name: parts[name]() for name in PARTS if name in self.given.only}

    def index(self) -> dict[str, Any]:
        """Compare indexing, per layout of the slide."""
        n = self.given.size
        aligned, unaligned = slides.size_of(n), slides.size_of(n // 4)
        layouts = {"jpeg-256": slides.aligned(self.cache, aligned)}
        if not self.given.quick:
            layouts["jpeg-240-unaligned"] = slides.unaligned(self.cache, unaligned)
            if self.given.jpeg2000.exists():
                layouts["jpeg-2000"] = self.given.jpeg2000
        found = {name: self._indexed(name, path) for name, path in layouts.items()}
        if self.given.device == "cpu" and not self.given.quick:
            found["jpeg-256, int8"] = self._indexed(
                "jpeg-256, int8", layouts["jpeg-256"], "--precision", "int8"
            )
        return found

    def _indexed(self, name: str, slide: Path, *options: str) -> dict[str, Any]:
        def plain() -> list[str]:
            return ["index", str(slide), "--out", str(self._new_place())]

        def ours() -> list[str]:
            return ["index", str(slide), "--workspace", str(self._new_place()), *options]

        pairs = self._pairs(f"index, {name}", plain, ours)
        counts = {side["n_patches"] for pair in pairs for side in pair.values()}
        if len(counts) != 1:
            sys.exit(f"The two sides kept different numbers of patches: {sorted(counts)}.")
        [n] = counts
        times = {side: [pair[side]["index_s"] for pair in pairs] for side in ("plain", "ours")}
        return {
            "n_patches": n,
            "megabytes": round(slide.stat().st_size / 1e6, 1),
            **comparison(times["plain"], times["ours"]),
            "plain_per_s": n / float(np.median(times["plain"])),
            "ours_per_s": n / float(np.median(times["ours"])),
            "share_of_backbone": spread([pair["ours"]["share_of_backbone"] for pair in pairs]),
            "pairs": pairs,
        }

    def round(self) -> dict[str, Any]:
        """Compare the round of the paper, per number of labels."""
        found: dict[str, Any] = {}
        scores: dict[str, list[float]] = {}
        for n_labels in self.given.labels:
            is_first = not found
            epochs = self.given.epochs or (EPOCHS if is_first else EPOCHS_SCALED)
            options = ["--labels", str(n_labels), "--epochs", str(epochs)]
            options += [] if is_first else ["--train-only"]
            pairs = self._pairs(f"round, {n_labels} labels", *self._on_store("round", options))
            totals: dict[str, list[float]] = {}
            for side in ("plain", "ours"):
                if is_first:
                    scores[side] = [pair[side]["score_s"] for pair in pairs]
                trained = [pair[side]["train_s"] * EPOCHS / epochs for pair in pairs]
                totals[side] = [t + s for t, s in zip(trained, scores[side], strict=True)]
            found[str(n_labels)] = {
                "n_patches": self.given.pool,
                "epochs": EPOCHS,
                "epochs_timed": epochs,
                "is_scaled": epochs != EPOCHS,
                "scored_at_labels": self.given.labels[0],
                **comparison(totals["plain"], totals["ours"]),
                "pairs": pairs,
            }
        return found

    def linear(self) -> dict[str, Any]:
        """Compare the round of the linear engine with scikit-learn."""
        n_labels = max(self.given.labels)
        options = ["--labels", str(n_labels), "--times", str(WARM_UP + TIMED)]
        pairs = self._pairs("linear round", *self._on_store("linear", options))
        times = {
            side: [float(np.median(pair[side]["round_s"][WARM_UP:])) for pair in pairs]
            for side in ("plain", "ours")
        }
        return {
            "n_patches": self.given.pool,
            "n_labels": n_labels,
            **comparison(times["plain"], times["ours"]),
            "pairs": pairs,
        }

    def first(self) -> dict[str, Any]:
        """Measure the wait for the first patches; there is nothing plain to compare it with."""
        size, small_size = slides.size_of(self.given.slide_patches), slides.size_of(200)
        slide, small = slides.aligned(self.cache, size), slides.aligned(self.cache, small_size)
        options = ["--weights", self.given.weights, "--device", self.given.device]
        runs = []
        for number in range(1, self.given.repeat + 1):
            say(f"first patches, {number} of {self.given.repeat}")
            scenes = slides.scene(size), slides.scene(small_size)
            place = self._new_place()
            runs.append(first_patches(slide, scenes[0], small, scenes[1], place, options))
        n_patches = size[0] * size[1] // slides.PATCH**2
        return {
            "n_patches": n_patches,
            "seconds": spread([run["first_s"] for run in runs]),
            "runs": runs,
        }

    @cached_property
    def _store(self) -> Path:
        """Folder of the made-up features."""
        place = ["--folder", str(self.cache / f"store-{self.given.pool}")]
        answer = self._child("ours.py", ["make-store", *place, "--patches", str(self.given.pool)])
        return Path(answer["folder"])

    def _on_store(
        self, part: str, options: list[str]
    ) -> tuple[Callable[[], list[str]], Callable[[], list[str]]]:
        """Return both sides' arguments for a round on the same made-up features."""
        store = self._store
        features = store / {"round": "full.npy", "linear": "pooled.npy"}[part]
        plain = [part, str(features), str(store.parent / "classes.npy"), *options]
        ours = [part, str(store), *options]
        return lambda: plain, lambda: ours

    def _pairs(
        self, name: str, plain: Callable[[], list[str]], ours: Callable[[], list[str]]
    ) -> list[Pair]:
        """Run both sides in turn."""
        pairs = []
        for number in range(1, self.given.repeat + 1):
            say(f"{name}, {number} of {self.given.repeat}")
            pair = {
                "plain": self._child("plain.py", plain()),
                "ours": self._child("ours.py", ours()),
            }
            if pair["plain"]["n_threads"] != pair["ours"]["n_threads"]:
                sys.exit(f"The two sides had different numbers of threads: {pair}.")
            pairs.append(pair)
        return pairs

    def _child(self, script: str, arguments: list[str]) -> dict[str, Any]:
        """Run a script of this folder and return the JSON of its last line."""
        options = ["--weights", self.given.weights, "--device", self.given.device]
        command = [sys.executable, str(HERE / script), *options, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        return json.loads(done.stdout.splitlines()[-1])

    def _new_place(self) -> Path:
        self._n_folders += 1
        return self.folder / f"run-{self._n_folders}"


def say(text: str) -> None:
    """Tell what is under way."""
    print(text, file=sys.stderr, flush=True)


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(PARTS):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(sorted(unknown))}")
    return names


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    add = parser.add_argument
    add("--only", type=_parts, default=list(PARTS), metavar=",".join(PARTS))
    add("--quick", action="store_true", help="small sizes: for trying, not for figures")
    add("--repeat", type=int, help="pairs of runs (3; with --quick 2)")
    add("--size", type=int, help="grid patches of the slide to index (2000; with --quick 200)")
    add("--pool", type=int, help="patches that a round searches (12500; with --quick 1000)")
    add("--labels", type=int, nargs="+", help="of a round (100 250; with --quick 50)")
    add("--epochs", type=int, help="time so many, scaled to 50 (50, then 5; with --quick 10)")
    add("--slide-patches", type=int, help="of the never-seen slide (12500; with --quick 1000)")
    add("--jpeg2000", type=Path, default=JPEG_2000, metavar="SLIDE", help="to index too")
    add("--weights", default="random", metavar="random|imagenet|FILE")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--cache", type=Path, metavar="DIR", help="where generated slides stay")
    add("--out", type=Path, default=Path("bench.json"))
    given = parser.parse_args(arguments)
    sizes: dict[str, tuple[Any, Any]] = {
        "repeat": (3, 2),
        "size": (2000, 200),
        "pool": (12500, 1000),
        "labels": ([100, 250], [50]),
        "epochs": (None, 10),
        "slide_patches": (12500, 1000),
    }
    for name, (default, quick) in sizes.items():
        if getattr(given, name) is None:
            setattr(given, name, quick if given.quick else default)
    return given


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    given = _arguments(arguments)
    settings = {key: str(v) if isinstance(v, Path) else v for key, v in vars(given).items()}
    started, begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    result: dict[str, Any] = {"started": started, "machine": machine(), "settings": settings}
    if given.cache:
        given.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        result |= Bench(given, Path(name)).run()
    result["seconds"] = round(time.monotonic() - begun, 1)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(table(result)))
    print(f"{given.out}: all times, {result['seconds']:.0f} s in all")


if __name__ == "__main__":
    main()
