"""How long a label takes to be answered while trainings run: prints JSON.

Eight clients label four studies at once, two each, four more wait on the rounds; one of the
studies is of the faithful engine, whose trainings keep the processor busy. The slide is generated,
the weights are random unless told otherwise: times do not depend on what features mean.

    python examples/benchmarks/label_latency.py --seconds 180
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import tempfile
import threading
import time
import uuid
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from slideloop.cli.served import ServerProcess
from slideloop.evaluation.generated import STROMA, TUMOUR, Scene, write_slide

CLASSES = ("Tumor", "Normal")
ENGINES = ("faithful", "linear", "linear", "linear")
CLIENTS_PER_STUDY = 2
PATCH = 128
SIZE = (4096, 3072)
PERCENTILES = (50, 95, 99)


class Connection:
    """One connection that is kept open, as QuPath keeps it."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(str(urlsplit(url).netloc), timeout=120)

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request and return the JSON of a 2xx answer."""
        if body is not None and not path.startswith("/slides"):
            body = {**body, "event_id": str(uuid.uuid4())}
        content = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, f"/api/v1{path}", content, headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {answer.decode()}")
        return json.loads(answer)


@dataclass
class Record:
    """What was measured, in seconds of the monotonic clock."""

    labels: list[tuple[float, float]] = field(default_factory=list)
    """Beginning and end of each label's request."""

    trainings: list[tuple[str, float, float]] = field(default_factory=list)
    """Engine, the label that began it, the next patches."""

    health: list[float] = field(default_factory=list)
    """The same for GET /health, which touches no study: what the machine alone costs."""

    waits: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    exhausted: int = 0


class Bench:
    """Studies, their clients, and what these measured."""

    def __init__(self, url: str, slide: str, scene: Scene, pause_s: float) -> None:
        self.url, self.slide, self.pause_s = url, slide, pause_s
        self.record = Record()
        self.has_ended = threading.Event()
        self.queries = _tissue(scene)
        self.studies = [self._new_study(Connection(url), engine) for engine in ENGINES]

    def run(self, seconds: float) -> None:
        """Let all clients work for a time."""
        threads = [
            threading.Thread(target=self._guarded, args=(work, number, part), daemon=True)
            for number in range(len(ENGINES))
            for work, part in [(self._wait, 0)]
            + [(self._label, part) for part in range(CLIENTS_PER_STUDY)]
        ]
        threads.append(threading.Thread(target=self._guarded, args=(self._ask, 0, 0), daemon=True))
        for thread in threads:
            thread.start()
        self.has_ended.wait(seconds)
        self.has_ended.set()
        for thread in threads:
            thread.join(90)

    def _guarded(self, work: Any, number: int, part: int) -> None:
        try:
            work(Connection(self.url), number, part)
        except Exception as err:
            self.record.errors.append(f"{type(err).__name__}: {err}")

    def _new_study(self, ask: Connection, engine: str) -> str:
        fields = {"slides": [self.slide], "mode": "classes", "classes": CLASSES, "engine": engine}
        study = ask("POST", "/studies", fields)["id"]
        self._query(ask, study)
        return study

    def _query(self, ask: Connection, study: str) -> None:
        x, y = random.choice(self.queries)
        rectangle = {"x": x, "y": y, "width": PATCH, "height": PATCH}
        body = {"slide": self.slide, "label": random.choice(CLASSES), **rectangle}
        ask("POST", f"/studies/{study}/queries", body)

    def _wait(self, ask: Connection, number: int, part: int) -> None:
        """Wait on rounds, as a viewer of a second person does."""
        del part
        while not self.has_ended.is_set():
            begun = time.monotonic()
            found = ask("GET", f"/studies/{self.studies[number]}/round?wait=30")
            self.record.waits.append(time.monotonic() - begun)
            if found["state"] not in {"indexing", "training"}:
                self.has_ended.wait(0.25)

    def _ask(self, ask: Connection, number: int, part: int) -> None:
        """Ask for nothing, a few times a second, to compare with."""
        del number, part
        while not self.has_ended.wait(0.2):
            begun = time.monotonic()
            ask("GET", "/health")
            self.record.health.append(time.monotonic() - begun)

    def _label(self, ask: Connection, number: int, part: int) -> None:
        """Label one half of each round; the first client also starts sessions and studies."""
        while not self.has_ended.is_set():
            study = self.studies[number]
            found = ask("GET", f"/studies/{study}/round?wait=5")
            if found["state"] == "labelling":
                self._label_round(ask, number, study, found, part)
            elif part == 0 and found["state"] == "session_over":
                self._query(ask, study)
            elif part == 0 and found["state"] == "exhausted":
                self.record.exhausted += 1
                self.studies[number] = self._new_study(ask, ENGINES[number])
            else:
                self.has_ended.wait(0.05)

    def _label_round(
        self, ask: Connection, number: int, study: str, found: dict[str, Any], part: int
    ) -> None:
        shown = [patch["id"] for patch in found["patches"]]
        mine = [patch for patch in shown[part::CLIENTS_PER_STUDY] if patch not in found["labels"]]
        if not mine:
            self.has_ended.wait(0.05)
        for patch in mine:
            self.has_ended.wait(random.uniform(0.5, 1.5) * self.pause_s)
            label = CLASSES[zlib.crc32(patch.encode()) % 2]
            body = {"label": label, "round_id": found["round_id"], "reader": f"{number}/{part}"}
            begun = time.monotonic()
            answer = ask("PUT", f"/studies/{study}/labels/{patch}", body)
            ended = time.monotonic()
            self.record.labels.append((begun, ended))
            if answer["round_complete"]:
                self._watch_training(ask, number, study, begun)
            if self.has_ended.is_set():
                return

    def _watch_training(self, ask: Connection, number: int, study: str, begun: float) -> None:
        while ask("GET", f"/studies/{study}/round?wait=30")["state"] == "training":
            if self.has_ended.is_set():
                break
        self.record.trainings.append((ENGINES[number], begun, time.monotonic()))


def _tissue(scene: Scene) -> list[tuple[int, int]]:
    """Return corners of patches that lie whole on tissue that is not white."""
    corners = [(x, y) for x in range(0, SIZE[0], PATCH) for y in range(0, SIZE[1], PATCH)]
    return [c for c in corners if np.isin(scene.tissue(*c, PATCH, PATCH), (STROMA, TUMOUR)).all()]


def _percentiles(seconds: list[float]) -> dict[str, float] | None:
    """Return percentiles and the longest in ms; None of nothing."""
    if not seconds:
        return None
    values = np.percentile(seconds, PERCENTILES) * 1000
    named = {f"p{p}": round(float(v), 2) for p, v in zip(PERCENTILES, values, strict=True)}
    return {"n": len(seconds), **named, "max": round(1000 * max(seconds), 2)}


def summary(record: Record, seconds: float) -> dict[str, Any]:
    """Return what is printed.

    Parameters
    ----------
    record : Record
    seconds : float
        How long the clients worked.
    """
    during = [
        end - begin
        for begin, end in record.labels
        if any(start < begin and end < stop for _, start, stop in record.trainings)
    ]
    engines = {engine: [t for t in record.trainings if t[0] == engine] for engine in set(ENGINES)}
    moments = np.arange(0, seconds, 0.05) + min((b for b, _ in record.labels), default=0.0)
    busy = np.zeros(len(moments), bool)
    for _, start, stop in record.trainings:
        busy |= (moments >= start) & (moments < stop)
    return {
        "clients": len(ENGINES) * CLIENTS_PER_STUDY,
        "waiting": len(ENGINES),
        "studies": ENGINES,
        "seconds": seconds,
        "cores": os.cpu_count(),
        "errors": record.errors,
        "label_ms": _percentiles([end - begin for begin, end in record.labels]),
        "label_ms_while_training": _percentiles(during),
        "health_ms": _percentiles(record.health),
        "share_of_time_with_training": round(float(busy.mean()), 3) if len(busy) else 0.0,
        "training_s": {
            engine: {"n": len(all_), "mean": round(float(np.mean([e - b for _, b, e in all_])), 2)}
            for engine, all_ in engines.items()
            if all_
        },
        "rounds_waited_for": len(record.waits),
        "studies_exhausted": record.exhausted,
    }


def main() -> None:
    """Start a server on a generated slide, let the clients work, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--pause", type=float, default=0.3, help="s that a client looks at a patch")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--encoder", default="resnet18")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = Scene(0, *SIZE)
        write_slide(scene, folder / "slide.tif")
        options = ["--workspace", str(folder / "workspace"), "--slides-root", name]
        options += ["--weights", given.weights, "--encoder", given.encoder, "--patch", str(PATCH)]
        with ServerProcess(options, folder / "server.log") as server:
            ask = Connection(server.url())
            opened = ask("POST", "/slides", {"path": str(folder / "slide.tif")})
            while opened.get("job") and opened["job"]["state"] in {"queued", "running"}:
                opened["job"] = ask("GET", f"/jobs/{opened['job']['id']}?wait=30")
            bench = Bench(server.url(), opened["slide"]["id"], scene, given.pause)
            bench.run(given.seconds)
            print(json.dumps(summary(bench.record, given.seconds), indent=1))


if __name__ == "__main__":
    main()
