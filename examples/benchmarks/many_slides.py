"""How long the `linear` engine takes on a study over 100 slides: prints JSON.

The features are those of one real slide, drawn anew for each slide with a seeded shift and scale
per channel and a small jitter per patch; the labels come from the slide's truth. The slides join
the study one after the other, as an expert would add them, and sessions are played at several
sizes through the `Loop`.

    python examples/benchmarks/many_slides.py SLIDE TRUTH --weights WEIGHTS --patch 224
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.evaluation.metrics import patch_scores
from slideloop.evaluation.subjects import read_truths, slide_subject
from slideloop.features.encoders import load_encoder
from slideloop.features.environment import machine_of
from slideloop.features.store import FeatureStore, StoreWriter, find_store
from slideloop.features.workspace import IndexedSlide, PatchOptions, Workspace, slide_record
from slideloop.learning.database import Database, place_of, reference, slide_of
from slideloop.learning.linear import LinearEngine
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Journal, new_id
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.settings import Settings
from slideloop.studies.study import Study

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 16
"""Patches that a store records at a time, as an index does."""

SCALE, SHIFT, JITTER = 0.1, 0.1, 0.1
"""Spread of a slide's scale per channel; of its shift and of a patch's jitter, in standard
deviations of the channel."""


@dataclass(frozen=True)
class Base:
    """The real slide: its features, and the class of each patch."""

    store: FeatureStore
    label: NDArray[np.int16]
    classes: tuple[str, ...]
    environment: dict[str, Any]


def read_base(options: argparse.Namespace, root: Path, exits: ExitStack) -> Base:
    """Index the real slide, unless that was done before, and read its truth."""
    workspace = Workspace(root)
    exits.callback(workspace.close)
    encoder = load_encoder("resnet18", options.weights, options.device)
    sources = workspace.open_slides([options.slide], PatchOptions(patch=options.patch))
    normalisation = workspace.normalisation("sample", sources)
    store = workspace.index(sources[0], encoder, normalisation, "pooled")
    slide = IndexedSlide(sources[0], store, encoder, normalisation)
    size = [(slide.width, slide.height)]
    truths, positive = read_truths([options.truth], size, options.positive, None)
    subject = slide_subject([slide], truths, positive, "relevance", encoder)
    return Base(store, subject.truths[0].label, subject.classes, subject.environment)


class Slides:
    """The made slides, by number."""

    def __init__(self, base: Base, root: Path, n_patches: int) -> None:
        self.base, self._root, self._n = base, root, n_patches
        self._pooled = np.asarray(base.store.pooled, np.float32)
        self._spread = self._pooled.std(0)
        self._rows: dict[int, NDArray[np.int64]] = {}

    def open(self, number: int) -> FeatureStore:
        """Open a slide's store, made before if it was not there."""
        identity = self._identity(number)
        return find_store(self._root, identity, "pooled") or self._make(number, identity)

    def label(self, number: int) -> NDArray[np.int16]:
        """Return the class of each patch of a slide."""
        if number not in self._rows:
            draw = np.random.default_rng((number, 0))
            self._rows[number] = draw.integers(0, len(self._pooled), self._n)
        return self.base.label[self._rows[number]]

    def class_of(self, ref: int) -> str:
        """Return the true class of a patch."""
        return self.base.classes[int(self.label(slide_of(ref))[place_of(ref)])]

    def _identity(self, number: int) -> dict[str, Any]:
        # Another version of the drawing makes another slide.
        drawing = {"number": number, "n": self._n, "spread": [SCALE, SHIFT, JITTER]}
        fingerprint = f"{self.base.store.identity['fingerprint']}/{number}"
        return {**self.base.store.identity, "fingerprint": fingerprint, "drawing": drawing}

    def pooled(self, number: int) -> NDArray[np.float16]:
        """Return the features of a slide."""
        self.label(number)
        rng = np.random.default_rng((number, 1))
        n_channels = self._pooled.shape[1]
        scale = np.exp(SCALE * rng.standard_normal(n_channels, np.float32))
        shift = SHIFT * self._spread * rng.standard_normal(n_channels, np.float32)
        pooled = self._pooled[self._rows[number]] * scale + shift
        pooled += JITTER * self._spread * rng.standard_normal(pooled.shape, np.float32)
        return np.maximum(pooled, 0).astype(np.float16)

    def _make(self, number: int, identity: dict[str, Any]) -> FeatureStore:
        n_columns = int(np.ceil(np.sqrt(self._n)))
        place = np.arange(self._n, dtype=np.int32)
        cells = np.column_stack((place % n_columns, place // n_columns))
        more = {
            "name": f"slide {number}",
            "feature_shape": self.base.store.manifest["feature_shape"],
            "n_threads": 1,
            "details": {},
        }
        return write_store(self._root, identity, more, cells, self.pooled(number))


def write_store(
    root: Path,
    identity: dict[str, Any],
    more: dict[str, Any],
    cells: NDArray[np.int32],
    pooled: NDArray[np.float16],
) -> FeatureStore:
    """Write features as an index does, batch by batch."""
    writer = StoreWriter.open(root, identity, "pooled", more)
    for start in range(0, len(cells), BATCH):
        end = min(start + BATCH, len(cells))
        writer.append({"cells": cells[start:end], "pooled": pooled[start:end]}, end, {})
    return writer.finish()


class Memory:
    """Watches how much memory of its own the process has: without mapped files."""

    def __init__(self) -> None:
        self.most_kib = 0
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()

    def take(self) -> int:
        """Return the most since the last call, in MiB."""
        most, self.most_kib = self.most_kib, 0
        return most // 1024

    def _watch(self) -> None:
        while not self._has_ended.wait(0.01):
            self.most_kib = max(self.most_kib, process_status("RssAnon"))


def process_status(name: str, pid: int | str = "self") -> int:
    """Return a line of a process's status in KiB; 0 where the system has no such thing."""
    path = Path(f"/proc/{pid}/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def new_loop(slides: Slides, options: argparse.Namespace) -> Loop:
    """Create the study on its first slide."""
    settings = Settings.checked(
        classes=slides.base.classes, strategy=options.strategy, rounds=5, k=5, seed=1
    )
    first = slides.open(0)
    journal = Journal(new_id())
    create_study(journal, settings, [slide_record(first)], environment=slides.base.environment)
    machine = machine_of(slides.base.environment)
    return Loop(journal, Ground(Database([first]), LinearEngine(), [None], machine=machine))


def add_slide(loop: Loop, slides: Slides, number: int) -> float:
    """Add a slide that is indexed already and return the seconds."""
    start = time.perf_counter()
    store = slides.open(number)
    loop.ground.add_slide(store, None)
    loop.record("slide_added", {"slide": slide_record(store), "event_id": None})
    return time.perf_counter() - start


def play(loop: Loop, slides: Slides, sessions: int, rng: np.random.Generator) -> list[float]:
    """Play sessions and return the seconds from each round's last label to the next patches."""
    seconds: list[float] = []
    for number in range(sessions):
        slide = int(rng.integers(len(loop.study.slides)))
        of_class = np.flatnonzero(slides.label(slide) == number % len(slides.base.classes))
        query = reference(slide, int(rng.choice(of_class)))
        loop.query_patch(query, slides.class_of(query))
        while loop.study.state == "labelling":
            shown = loop.study.round
            assert shown is not None
            for patch, ref in shown.shown.items():
                loop.label(patch, slides.class_of(ref), shown.id)
            start = time.perf_counter()
            loop.learn()
            if loop.study.state == "labelling":  # a session's last round only trains
                seconds.append(time.perf_counter() - start)
    return seconds


def resume(loop: Loop, slides: Slides) -> tuple[dict[str, float], Loop]:
    """Open the study again as after a restart, and measure each step."""
    start = time.perf_counter()
    stores = [slides.open(number) for number in range(len(loop.study.slides))]
    opened = time.perf_counter()
    Study.of(loop.journal.events)
    folded = time.perf_counter()
    again = Loop(loop.journal, Ground(Database(stores), LinearEngine(), [None] * len(stores)))
    before = time.perf_counter()
    assert again.is_as_recorded()
    return {
        "open_s": round(opened - start, 3),
        "fold_s": round(folded - opened, 3),
        "models_s": round(time.perf_counter() - before, 3),
    }, again


def predict(loop: Loop, slides: Slides) -> dict[str, Any]:
    """Predict all slides; seconds, and the measures on patches that nobody reviewed."""
    seconds: list[float] = []
    truth: list[NDArray[np.int16]] = []
    predicted: list[NDArray[np.int16]] = []
    for number in range(len(loop.study.slides)):
        start = time.perf_counter()
        found = loop.predict(number)
        seconds.append(time.perf_counter() - start)
        truth.append(slides.label(number)[~found.given])
        predicted.append(found.label[~found.given])
    n_classes = len(slides.base.classes)
    all_scores = patch_scores(np.concatenate(truth), np.concatenate(predicted), n_classes)
    return {
        "predict_all_s": round(sum(seconds), 3),
        "f1_unreviewed": all_scores.f1[0],
        "accuracy_unreviewed": all_scores.accuracy,
    }


def times_of(seconds: list[float]) -> dict[str, float]:
    """Return number, median, 95th percentile and highest."""
    return {
        "n": len(seconds),
        "median_s": round(float(np.median(seconds)), 4),
        "p95_s": round(float(np.percentile(seconds, 95)), 4),
        "max_s": round(max(seconds), 4),
    }


def run(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Make the slides, play, and return what was measured."""
    with ExitStack() as exits:
        base = read_base(options, root, exits)
        slides = Slides(base, root / "many", options.patches)
        for number in range(max(options.sizes)):
            slides.open(number)
            if number % 10 == 9:
                print(f"{number + 1} slides are there", file=sys.stderr)
    if options.make_only:
        return {}
    rng = np.random.default_rng(0)
    loop = new_loop(slides, options)
    rounds: dict[int, Any] = {}
    added: list[float] = []
    with Memory() as memory:
        for size in options.sizes:
            while len(loop.study.slides) < size:
                added.append(add_slide(loop, slides, len(loop.study.slides)))
            memory.take()
            first, *others = play(loop, slides, options.sessions, rng)
            found = {"first_s": round(first, 4), **times_of(others)}
            rounds[size] = {**found, "own_memory_mib": memory.take()}
            print(f"{size} slides: {rounds[size]}", file=sys.stderr)
        prediction = predict(loop, slides)
        resumed, _ = resume(loop, slides)
    events = [event for event in loop.journal.events if event.type == "round_shown"]
    return {
        "n_patches": sum(len(store) for store in loop.ground.database.stores),
        "n_labels": sum(loop.study.n_labels().values()),
        "classes": base.classes,
        "rounds": rounds,
        "add_slide_s": {"first": round(added[0], 4), "last": round(added[-1], 4)} if added else {},
        **prediction,
        "after_restart": resumed,
        "round_event_bytes": len(events[-1].stored),
        "journal_bytes": sum(len(event.stored) for event in loop.journal.events),
        "peak_resident_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": base.environment,
        "n_processors": os.cpu_count(),
    }


def options_of(description: str | None) -> argparse.ArgumentParser:
    """Return what the measurements of many slides have in common on their command lines."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("slide", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--positive", default="Tumor")
    parser.add_argument("--patch", type=int, default=256, help="of the real slide")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--strategy", default="cnfp")
    parser.add_argument("--patches", type=int, default=12_500, help="per slide")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 50, 100])
    parser.add_argument("--sessions", type=int, default=4, help="of five rounds, at each size")
    parser.add_argument("--keep", type=Path, help="folder for features, taken up again later")
    return parser


def main() -> None:
    """Print what was measured."""
    parser = options_of(__doc__)
    parser.add_argument("--make-only", action="store_true", help="make the slides and stop")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(options, options.keep or Path(folder)), indent=2))


if __name__ == "__main__":
    main()
