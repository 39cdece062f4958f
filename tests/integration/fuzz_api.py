"""Schemathesis over the published description of a real server, stateful phase included.

No 5xx, every status, header and body as documented, what breaks the description refused. Run the
long form with `python -m tests.integration.fuzz_api --cases 10000`; `make test` runs a short one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.command_line import QUICK
from tests.experts import CLASSES, Memory, Sender
from tests.integration.kill_nine import index, places
from tests.served_group import ServerGroup

from slideloop.evaluation.generated import Scene, write_slide

SIZE = (1536, 1024)
ROOT = Path(__file__).parents[2]
PHASES = ("examples", "coverage", "fuzzing", "stateful")

_CONFIG = """
hooks = "tests.integration.fuzz_hooks"

[generation]
max-examples = {n}

[phases.stateful.generation]
max-examples = {n_stateful}

[checks.positive_data_acceptance]
# 422 is also for what no schema can say: a query on glass, a polygon that crosses itself.
expected-statuses = ["2xx", "404", "409", "422"]

[checks.negative_data_rejection]
# 431 is also for a value in the URL that is far longer than its field may be.
expected-statuses = ["400", "401", "403", "404", "405", "409", "413", "415", "422", "431"]
"""


@dataclass(frozen=True)
class Fuzzed:
    """What came of a run.

    Attributes
    ----------
    code : int
        Of schemathesis: 0 if every check held.
    said : str
        Its report, with a curl command for each failure.
    log : str
        What the server said.
    statuses : dict
        Answers by status.
    n_cases : dict
        Test cases by phase.
    """

    code: int
    said: str
    log: str
    statuses: dict[int, int]
    n_cases: dict[str, int]


def fuzz(folder: Path, max_examples: int, seed: int, *options: str) -> Fuzzed:
    """Start a server that has a slide and studies, and let schemathesis ask it.

    Parameters
    ----------
    folder : Path
        Where everything is put.
    max_examples : int
        Most cases per operation, and a third of the scenarios of the stateful phase.
    seed : int
    *options : str
        Further ones of `schemathesis run`.
    """
    scene = Scene(0, *SIZE)
    write_slide(scene, folder / "slide.tif")
    arguments = ("--workspace", folder / "workspace", "--slides-root", folder, *QUICK)
    server = ServerGroup(arguments, folder / "server.log")
    try:
        server.start()
        server.wait_until_ready()
        config = folder / "schemathesis.toml"
        config.write_text(_CONFIG.format(n=max_examples, n_stateful=3 * max_examples))
        sender = Sender(server.port, Memory())
        try:
            known = _known(sender, folder / "slide.tif", scene) | {"url": [server.url]}
        finally:
            sender.close()
        events = folder / "events.ndjson"
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"),
            *(f"{server.url}/api/v1/openapi.json", "--phases", ",".join(PHASES)),
            *("--seed", str(seed), "--no-color", "--generation-database", "none"),
            *("--report", "ndjson", "--report-ndjson-path", str(events), *options),
        ]
        environment = {**os.environ, "FUZZ_KNOWN": json.dumps(known), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        log = server.log.read_text(errors="replace")
        statuses, n_cases = _count(events)
        return Fuzzed(done.returncode, done.stdout + done.stderr, log, statuses, n_cases)
    finally:
        server.kill()


def _known(sender: Sender, path: Path, scene: Scene) -> dict[str, list[Any]]:
    """Make studies in several states, and return what there is by kind."""
    slide = index(sender, path)
    x, y, width, height = places(scene)["Tumor"][0]
    rectangle = {"x": x, "y": y, "width": width, "height": height}
    known: dict[str, list[Any]] = {
        "slide": [slide],
        "study": [],
        "patch": [],
        "round": [],
        "job": [_job(sender, path)],
        "path": [str(path), path.as_uri(), str(path.parent)],
        "rectangle": [rectangle, {**rectangle, "x": x + 40.5, "height": 300}],
        "model_round": ["1", "2"],
        "after": ["0", "3", "1000"],
    }
    for n_labels in (4, 4, 2, 0, None):
        fields = {"slides": [slide], "mode": "classes", "classes": CLASSES, "k": 4, "rounds": 3}
        study = sender.change("POST", "/studies", fields)["id"]
        known["study"].append(study)
        if n_labels is not None:
            _begin(sender, study, {"slide": slide, "label": "Tumor", **rectangle}, n_labels, known)
    return known


def _begin(
    sender: Sender, study: str, query: dict[str, Any], n_labels: int, known: dict[str, list[Any]]
) -> None:
    """Start a session of a study, label some of its first round, and note what it shows."""
    sender.change("POST", f"/studies/{study}/queries", query)
    found = sender.get(f"/studies/{study}/round?wait=20")
    for number, patch in enumerate(found["patches"][:n_labels]):
        body = {"label": CLASSES[number % 2], "round_id": found["round_id"]}
        sender.change("PUT", f"/studies/{study}/labels/{patch['id']}", body)
    shown = sender.get(f"/studies/{study}/round?wait=20")
    known["patch"] += [patch["id"] for patch in shown["patches"]]
    known["round"].append(shown["round_id"])


def _job(sender: Sender, path: Path) -> str:
    """Return the id of a job: the index of the same slide cut otherwise."""
    return sender.post("/slides", {"path": str(path), "patch_px": 128})["job"]["id"]


def _count(events: Path) -> tuple[dict[int, int], dict[str, int]]:
    """Count answers by status and cases by phase, in the report of events."""
    statuses: dict[int, int] = {}
    n_cases: dict[str, int] = {}
    for line in events.read_text(encoding="utf-8").splitlines():
        finished: dict[str, Any] | None = json.loads(line).get("ScenarioFinished")
        if finished is None:
            continue
        for interaction in finished["recorder"].get("interactions", {}).values():
            response = interaction.get("response")
            status = response["status_code"] if response else 0
            statuses[status] = statuses.get(status, 0) + 1
        n_new = len(finished["recorder"].get("cases", {}))
        n_cases[finished["phase"]] = n_cases.get(finished["phase"], 0) + n_new
    return statuses, n_cases


def main() -> None:
    """Fuzz until so many cases were tried, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-examples", type=int, default=200)
    given = parser.parse_args()
    n_cases, seed = 0, given.seed
    while n_cases < given.cases:
        with tempfile.TemporaryDirectory() as name:
            found = fuzz(Path(name), given.max_examples, seed, "--continue-on-failure")
        n_cases += sum(found.n_cases.values())
        print(json.dumps({"seed": seed, "cases": found.n_cases, "statuses": found.statuses}))  # noqa: T201
        if found.code != 0 or "Traceback" in found.log:
            sys.exit(found.said + found.log)
        seed += 1


if __name__ == "__main__":
    main()
