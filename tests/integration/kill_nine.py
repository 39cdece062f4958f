"""Kill the whole process group of the server, again and again, while labels are posted.

What must hold after every kill: each acknowledged label is in the journal exactly once and as it
was sent, none is doubled by a retry, nothing that was once read has changed, and the studies go
on. Run the long form with `python -m tests.integration.kill_nine --rounds 200`; `make test` runs
a short one.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import shapely
from tests.command_line import QUICK, slideloop
from tests.experts import CLASSES, Expert, Memory, Sender
from tests.served_group import ServerGroup
from tests.witness import Witness

from slideloop.evaluation.generated import Scene, truth_geojson, write_slide

PATCH = 96
LONGEST_LIFE = 2.0
"""How long a server may live, in times of what its start takes: on a slow machine longer."""

SHARE_KILLED_AT_START = 0.1
SETTLED_S = 60.0
"""How long a study may take to its next training once nothing is killed any more."""

STUDIES = (
    {"engine": "linear", "rounds": 3, "k": 5},
    {"engine": "linear", "rounds": 2, "k": 3, "strategy": "random"},
    {"engine": "faithful", "rounds": 2, "k": 5, "training": {"epochs": 2}},
)
"""What the experts' studies are like, one each."""


@dataclass
class Outcome:
    """What came of all rounds."""

    rounds: int = 0
    killed_at_start: int = 0
    acknowledged: int = 0
    labels: int = 0
    retried: int = 0
    answers_lost: int = 0
    studies: int = 0
    trainings: int = 0
    rounds_with_training: int = 0
    trainings_begun: int = 0
    trainings_by_kind: list[int] = field(default_factory=list)
    """Trainings that ended, by the place in STUDIES."""

    training_s: list[float] = field(default_factory=list)
    events: int = 0
    start_s: list[float] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it with the start-ups as three figures."""
        starts = sorted(self.start_s)
        times = {
            "median": starts[len(starts) // 2],
            "first": self.start_s[0],
            "longest": starts[-1],
        }
        figures = {name: value for name, value in vars(self).items() if not name.endswith("_s")}
        figures["training_s"] = {"longest": max(self.training_s, default=0.0)}
        return {**figures, "start_s": {name: round(value, 2) for name, value in times.items()}}


def places(scene: Scene) -> dict[str, list[tuple[int, int, int, int]]]:
    """Return rectangles of a patch's size on tissue, by the class they are queried for."""
    features = truth_geojson(scene)["features"]
    names = dict(zip(CLASSES, ("Tumor", "Stroma"), strict=True))
    found: dict[str, list[tuple[int, int, int, int]]] = {}
    for label, name in names.items():
        (shape,) = (
            shapely.geometry.shape(feature["geometry"])
            for feature in features
            if feature["properties"]["classification"]["name"] == name
        )
        inner = shape.buffer(-PATCH / 4)
        parts = [part for part in getattr(inner, "geoms", [inner]) if not part.is_empty]
        points = [part.representative_point() for part in parts]
        half = PATCH // 2
        found[label] = [(int(p.x) - half, int(p.y) - half, PATCH, PATCH) for p in points]
    return found


def index(sender: Sender, slide: Path) -> str:
    """Open a slide, wait for its index, and return its id."""
    opened = sender.post("/slides", {"path": str(slide)})
    while (found := sender.get(f"/slides/{opened['slide']['id']}"))["state"] == "indexing":
        time.sleep(0.2)
    assert found["state"] == "ready", found
    return found["id"]


class Trial:
    """A server, experts who label at it, and a witness.

    Parameters
    ----------
    folder : Path
        Where slide, workspace and log are put.
    seed : int
        Of the moments of the kills and of the experts' choices; the scheduler has a say too.
    size : tuple of int
        Width and height of the slide in pixels.
    """

    def __init__(self, folder: Path, seed: int = 0, size: tuple[int, int] = (1536, 1024)) -> None:
        self._workspace, self._slide = folder / "workspace", folder / "slide.tif"
        self._scene, self._seed, self._dice = Scene(0, *size), seed, random.Random(seed)
        arguments = ("--workspace", self._workspace, "--slides-root", folder, *QUICK)
        self.server = ServerGroup(arguments, folder / "server.log")
        self.memory, self.outcome = Memory(), Outcome()
        self.sender = Sender(self.server.port, self.memory)
        self.witness = Witness(self.sender, self.memory)
        self.experts: list[Expert] = []

    def begin(self) -> None:
        """Start the server, index the slide, and let the experts begin."""
        write_slide(self._scene, self._slide)
        self._start()
        slide = index(self.sender, self._slide)
        queries = places(self._scene)
        for number, settings in enumerate(STUDIES):
            seed = 100 * self._seed + number
            self.experts.append(
                Expert(self.server.port, self.memory, slide, queries, settings, seed)
            )
        for expert in self.experts:
            expert.start()

    def kill_and_look(self) -> None:
        """Kill the server at a random moment, start it again, and see what became of it all."""
        time.sleep(self._dice.uniform(0.05, LONGEST_LIFE * self.outcome.start_s[-1]))
        self.server.kill()
        if self._dice.random() < SHARE_KILLED_AT_START:
            self.server.start()
            time.sleep(self._dice.uniform(0, self.outcome.start_s[0]))
            self.server.kill()
            self.outcome.killed_at_start += 1
        self._start()
        n_trained = self.witness.counts["training_done"]
        self.witness.look([expert.studies[-1] for expert in self.experts if expert.studies])
        self.outcome.rounds += 1
        self.outcome.rounds_with_training += self.witness.counts["training_done"] > n_trained
        self._require_no_failure()

    def end(self) -> Outcome:
        """Let every expert see another training, then end all in order and check everything."""
        for expert in self.experts:
            self._wait_for_training(expert)
        for expert in self.experts:
            expert.tell_to_stop()
        for expert in self.experts:
            expert.join(60)
            assert not expert.is_alive(), f"{expert.name} waits for an answer."
        self._require_no_failure()
        studies = [study for expert in self.experts for study in expert.studies]
        self.witness.look(studies)
        self._verify(studies)
        assert self.server.stop() == 0
        return self._finished(studies)

    def abandon(self) -> None:
        """Leave nothing running, whatever happened."""
        for expert in self.experts:
            expert.tell_to_stop()
            expert.sender.give_up.set()
        self.server.kill()
        for expert in self.experts:
            expert.join(10)
        self.sender.close()

    def _start(self) -> None:
        self.server.start()
        self.outcome.start_s.append(self.server.wait_until_ready())

    def _require_no_failure(self) -> None:
        assert not self.memory.failures, self.memory.failures

    def _wait_for_training(self, expert: Expert) -> None:
        before = self.witness.counts["training_done"]
        deadline = time.monotonic() + SETTLED_S
        while self.witness.counts["training_done"] == before:
            assert time.monotonic() < deadline, f"{expert.name} sees no more training."
            self._require_no_failure()
            time.sleep(0.2)
            self.witness.look(expert.studies[-2:])

    def _verify(self, studies: list[str]) -> None:
        """Verify by the command line what the newest receipts say, while the server runs."""
        notes = self.memory.notes()
        for study in studies:
            newest = max(notes[study], key=lambda note: note.seq)
            receipt = f"{newest.seq}:{newest.hash}"
            said = slideloop(
                "study", "verify", study, "--workspace", self._workspace, "--expect", receipt
            )
            assert said.code == 0, f"{study}: {said.err}{said.out}"

    def _finished(self, studies: list[str]) -> Outcome:
        outcome, notes = self.outcome, self.memory.acknowledged
        outcome.acknowledged = len(notes)
        outcome.labels = sum(len(note.labels) for note in notes)
        outcome.retried = sum(note.n_sent > 1 for note in notes)
        outcome.answers_lost = self.memory.n_lost
        outcome.studies = len(studies)
        outcome.events = self.witness.counts.total()
        outcome.trainings = self.witness.counts["training_done"]
        outcome.trainings_begun = self.witness.counts["training_started"]
        for expert in self.experts:
            done = [
                event["data"]
                for study in expert.studies
                for event in self.witness.events(study)
                if event["type"] == "training_done"
            ]
            outcome.trainings_by_kind.append(len(done))
            outcome.training_s += [data["seconds"] for data in done]
        return outcome


def main() -> None:
    """Run the long form and print what came of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), given.seed, (3072, 2048))
        try:
            trial.begin()
            for number in range(1, given.rounds + 1):
                trial.kill_and_look()
                if number % 10 == 0:
                    print(f"{number} rounds, {len(trial.memory.acknowledged)} acknowledged")  # noqa: T201
            print(json.dumps(trial.end().as_dict(), indent=1))  # noqa: T201
        finally:
            trial.abandon()


if __name__ == "__main__":
    main()
