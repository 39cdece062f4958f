"""How long a study over 100 slides takes over HTTP, as QuPath would work with it: prints JSON.

The features are those of `many_slides.py`: of one real slide, drawn anew for each slide. They are
put into the workspace of a real server, under the identity of slide files that are there, so that
what is left out is the index alone. A client opens the slides one after the other, adds them to
one study, plays sessions at several sizes, fetches the masks of all slides, and compares the
ranks that it was shown with those that follow from these masks.

    python examples/benchmarks/many_over_http.py SLIDE TRUTH --weights WEIGHTS --patch 224
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from many_slides import (
    Base,
    Slides,
    options_of,
    process_status,
    read_base,
    times_of,
    write_store,
)

from slideloop.cli.served import ServerProcess
from slideloop.evaluation.client import WAIT_S, Client
from slideloop.features.encoders import Encoder, load_encoder
from slideloop.features.indexing import indexing_key
from slideloop.features.store import find_store
from slideloop.features.workspace import PatchOptions, Workspace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slideloop.features.normalisation import Normalisation
    from slideloop.features.sources import SlidePatches

PATCH = 256
TISSUE = (190, 140, 180)
SAME = 1e-6
"""Distances that differ by less may be of either order, since JSON has them rounded."""

NUMBERED = b"slide 0000"


class Files:
    """Slide files of one colour, with the made features in the workspace.

    Parameters
    ----------
    base : Base
    workspace : Workspace
        Whose normalisation is fixed already.
    folder : Path
        For the files.
    side : int
        Patches along each side of a slide.
    """

    def __init__(self, base: Base, workspace: Workspace, folder: Path, side: int) -> None:
        self.slides = Slides(base, folder, side * side)
        self._workspace, self._folder, self._side = workspace, folder, side
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, number: int) -> Path:
        """Return the file of a slide."""
        return self._folder / f"slide-{number:04}.tif"

    def make(self, number: int, encoder: Encoder, normalisation: Normalisation) -> None:
        """Write a slide's file and features, unless they are there."""
        path = self.path(number)
        if not path.exists():
            path.write_bytes(self._file.replace(NUMBERED, f"slide {number:04}".encode()))
        source = self._source(number)
        key = indexing_key(source, encoder, normalisation)
        if find_store(self._workspace.features, key.identity, "pooled"):
            return
        more = {
            **key.frozen,
            "details": source.details,
            "verdicts": {"background": 0, "structureless": 0, "both": 0},
            "n_grid": source.n_cells,
        }
        pooled = self.slides.pooled(number)
        write_store(self._workspace.features, key.identity, more, self.cells, pooled)

    @cached_property
    def cells(self) -> NDArray[np.int32]:
        """Return column and row of each patch in index order, the same for all slides."""
        source = self._source(0)
        return np.array([source.cell(place) for place in source.order().tolist()], np.int32)

    def _source(self, number: int) -> SlidePatches:
        [source] = self._workspace.open_slides([self.path(number)], PatchOptions(patch=PATCH))
        return source

    @cached_property
    def _file(self) -> bytes:
        """Content of a slide of one colour that says its number."""
        import tifffile

        shape = (self._side * PATCH, self._side * PATCH, 3)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "slide.tif"
            tifffile.imwrite(
                path, self._tiles(), shape=shape, dtype=np.uint8, tile=(PATCH, PATCH),
                photometric="rgb", compression="zlib", description=NUMBERED.decode(),
                metadata=None, resolution=(20000, 20000), resolutionunit="CENTIMETER",
            )  # fmt: skip
            return path.read_bytes()

    def _tiles(self) -> Iterator[NDArray[np.uint8]]:
        tile = np.full((PATCH, PATCH, 3), TISSUE, np.uint8)
        return (tile for _ in range(self._side**2))


class Expert:
    """One study on the server, and a simulated expert who knows every patch's class."""

    def __init__(self, client: Client, files: Files, strategy: str) -> None:
        self.client, self.files = client, files
        self.classes = list(files.slides.base.classes)
        self.cells = files.cells
        self.slides: list[str] = []
        self.study = ""
        self._strategy = strategy
        self._place = {(int(x), int(y)): place for place, (x, y) in enumerate(self.cells)}
        self.shown: dict[str, Any] = {}

    def add_slide(self) -> float:
        """Open the next slide and put it into the study; return the seconds of both."""
        begun = time.perf_counter()
        body = {"path": str(self.files.path(len(self.slides)))}
        opened = self.client.request("POST", "/slides", body)
        if opened.get("job"):
            raise RuntimeError(f"The server found no features of {body['path']}.")
        slide = opened["slide"]["id"]
        if self.study:
            self.client.request("POST", f"/studies/{self.study}/slides", {"slide": slide})
        else:
            fields = {"mode": "classes", "classes": self.classes, "strategy": self._strategy}
            body = {"slides": [slide], "rounds": 5, "k": 5, "seed": 1, **fields}
            self.study = self.client.request("POST", "/studies", body)["id"]
        self.slides.append(slide)
        return time.perf_counter() - begun

    def play(self, n_sessions: int, rng: np.random.Generator) -> list[float]:
        """Play sessions; seconds from each round's last answer to the next patches."""
        seconds: list[float] = []
        for session in range(n_sessions):
            wanted = session % len(self.classes)
            number = int(rng.integers(len(self.slides)))
            place = int(rng.choice(np.flatnonzero(self.files.slides.label(number) == wanted)))
            column, row = self.cells[place].tolist()
            self.client.request(
                "POST",
                f"/studies/{self.study}/queries",
                {
                    "slide": self.slides[number],
                    "label": self.classes[wanted],
                    **{"x": column * PATCH, "y": row * PATCH, "width": PATCH, "height": PATCH},
                },
            )
            found = self.client.round(self.study)
            while found["state"] == "labelling":
                self.shown = found
                labels = [
                    {"patch": patch["id"], "label": self._class_of(patch)}
                    for patch in found["patches"]
                ]
                body = {"round_id": found["round_id"], "labels": labels}
                self.client.request("POST", f"/studies/{self.study}/labels", body)
                begun = time.perf_counter()
                found = self.client.round(self.study)
                if found["state"] == "labelling":  # a session's last round only trains
                    seconds.append(time.perf_counter() - begun)
        return seconds

    def _class_of(self, patch: dict[str, Any]) -> str:
        number = self.slides.index(patch["slide"])
        place = self._place[patch["x"] // PATCH, patch["y"] // PATCH]
        return self.classes[int(self.files.slides.label(number)[place])]

    def masks(self, model_round: int | None = None) -> list[dict[str, Any]]:
        """Fetch the prediction of every slide."""
        path = f"/studies/{self.study}/prediction"
        query = {"format": "arrays", "wait": WAIT_S, "model_round": model_round}
        return [self.client.get(path, slide=slide, **query) for slide in self.slides]

    def misplaced(self) -> int:
        """Return how many patches of the round last shown have another rank than masks say."""
        begun = self.shown
        wanted = self.classes.index(begun["query"]["label"])
        others: list[NDArray[np.float64]] = []
        for mask in self.masks(begun["model_round"]):
            label, of_label = np.array(mask["label"]), np.array(mask["probability"])
            probability = np.where(label == wanted, of_label, 1 - of_label)
            others.append(1 - probability[~np.array(mask["given"], bool)])
        # What was labelled since is given by now, and was in the pool then.
        labelled = [patch["distance"] for patch in begun["patches"]]
        distance = np.sort(np.concatenate([*others, np.array(labelled)]))
        low = np.searchsorted(distance, np.array(labelled) - SAME)
        high = np.searchsorted(distance, np.array(labelled) + SAME)
        ranks = np.array([patch["rank"] for patch in begun["patches"]])
        return int(((ranks < low) | (ranks >= high)).sum())


def run(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Make the slides, play, and return what was measured."""
    with ExitStack() as exits:
        base = read_base(options, root, exits)
        workspace = Workspace(root)
        exits.callback(workspace.close)
        encoder = load_encoder("resnet18", options.weights, options.device)
        normalisation = workspace.normalisation("sample", [])
        side = round(options.patches**0.5)
        files = Files(base, workspace, root / "files", side)
        for number in range(max(options.sizes)):
            files.make(number, encoder, normalisation)
            if number % 10 == 9:
                print(f"{number + 1} slides are there", file=sys.stderr)
        del encoder
        arguments = ["--workspace", str(root), "--slides-root", str(root / "files")]
        arguments += ["--weights", options.weights, "--device", options.device]
        arguments += ["--store", "pooled", "--patch", str(PATCH)]
        server = exits.enter_context(ServerProcess(arguments, root / "server.log"))
        expert = Expert(Client(server.url()), files, options.strategy)
        return measure(expert, server.pid, options)


def measure(expert: Expert, pid: int, options: argparse.Namespace) -> dict[str, Any]:
    """Play at each size, then fetch all masks."""
    rng = np.random.default_rng(0)
    added: list[float] = []
    rounds: dict[int, Any] = {}
    for size in options.sizes:
        added += [expert.add_slide() for _ in range(size - len(expert.slides))]
        first, *others = expert.play(options.sessions, rng)
        rounds[size] = {
            "first_s": round(first, 4),
            **times_of(others),
            "own_memory_mib": process_status("RssAnon", pid) // 1024,
            "resident_mib": process_status("VmRSS", pid) // 1024,
        }
        print(f"{size} slides: {rounds[size]}", file=sys.stderr)
    begun = time.perf_counter()
    body = {"slides": expert.slides}
    job = expert.client.request("POST", f"/studies/{expert.study}/predictions", body)["job"]
    expert.client.finished(job)
    predicted_s = time.perf_counter() - begun
    masks = expert.masks()
    return {
        "n_patches": sum(mask["n"] for mask in masks),
        "classes": expert.classes,
        "rounds": rounds,
        "add_slide_s": {"second_to_eleventh": times_of(added[1:11]), "last": times_of(added[-10:])},
        "predict_all_s": round(predicted_s, 3),
        "fetch_all_s": round(time.perf_counter() - begun - predicted_s, 3),
        "n_shown_with_another_rank": expert.misplaced(),
        "n_shown": len(expert.shown["patches"]),
    }


def main() -> None:
    """Print what was measured."""
    options = options_of(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(options, (options.keep or Path(folder)).resolve()), indent=2))


if __name__ == "__main__":
    main()
