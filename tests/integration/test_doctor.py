"""`slideloop doctor` as a command: what it says of a real server, of none, and how fast."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.command_line import QUICK, Outcome, left_in, slideloop
from tests.served_group import ServerGroup

NOBODY = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Served:
    """A server that asks for its workspace's token, with one slide indexed."""

    url: str
    workspace: Path
    slide: Path

    def doctor(self, *options: Any) -> Outcome:
        return slideloop("doctor", "--url", self.url, "--workspace", self.workspace, *options)

    @property
    def token(self) -> str:
        return (self.workspace / "token").read_text().strip()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, small_slides: Path) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("doctor")
    slide = folder / "small.tif"
    shutil.copy(small_slides / "small.tif", slide)
    workspace = folder / "workspace"
    arguments = ("--workspace", workspace, "--slides-root", folder, "--require-token", *QUICK)
    server = ServerGroup(arguments, folder / "server.log")
    try:
        server.start()
        server.wait_until_ready()
        served = Served(server.url, workspace, slide)
        _post(served, "/slides", {"path": str(slide)})
        yield served
    finally:
        server.kill()


def _post(served: Served, path: str, body: dict[str, Any]) -> None:
    from slideloop.evaluation.client import Client

    client = Client(served.url, served.token)
    client.finished(client.request("POST", path, body)["job"])


def checks(outcome: Outcome) -> dict[str, dict[str, str]]:
    return {check["check"]: check for check in json.loads(outcome.out)["checks"]}


@pytest.mark.slow
def test_of_a_server_in_order_every_check_is_made_and_none_is_a_problem(served: Served):
    outcome = served.doctor("--slide", served.slide, *QUICK, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    found = checks(outcome)
    assert found.keys() == {
        *("server", "token", "workspace", "disk", "device", "weights", "qupath", "slide", "mpp")
    }
    assert json.loads(outcome.out)["works"]
    assert "by content, 118 of 118 patches indexed" in found["slide"]["found"]
    assert found["device"]["found"].endswith("says the server.")


@pytest.mark.slow
def test_a_slide_of_the_same_size_and_another_content_is_a_problem(
    served: Served, small_slides: Path
):
    before = served.slide.read_bytes()
    try:
        shutil.copy(small_slides / "other.tif", served.slide)
        outcome = served.doctor("--slide", served.slide, *QUICK, "--json")
    finally:
        served.slide.write_bytes(before)
    assert outcome.code == 3
    assert checks(outcome)["slide"]["state"] == "problem"


@pytest.mark.slow
def test_a_wrong_token_is_a_problem_and_no_token_is_ever_shown(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    wrong = "not-the-token-of-this-server"
    for token, code in ((wrong, 3), (served.token, 0)):
        monkeypatch.setenv("SLIDELOOP_TOKEN", token)
        outcome = served.doctor(*QUICK)
        assert outcome.code == code
        assert token not in outcome.out + outcome.err


@pytest.mark.slow
def test_it_changes_nothing(served: Served):
    before = {name: (served.workspace / name).stat() for name in left_in(served.workspace)}
    served.doctor("--slide", served.slide, *QUICK)
    after = {name: (served.workspace / name).stat() for name in left_in(served.workspace)}
    assert after.keys() == before.keys()
    for name, stat in before.items():
        if not name.endswith(("-shm", "-wal")):
            assert (after[name].st_size, after[name].st_mtime_ns) == (
                stat.st_size,
                stat.st_mtime_ns,
            )


def test_without_a_server_it_says_so_and_looks_at_the_rest(tmp_path: Path):
    outcome = slideloop("doctor", "--url", NOBODY, "--workspace", tmp_path / "w", *QUICK)
    assert outcome.code == 3
    lines = outcome.out.splitlines()
    assert lines[0] == f"problem  server     Nothing listens at {NOBODY}."
    start = "Start it with: slideloop serve --port 9, or have QuPath start it: Connect in its menu."
    assert lines[1].strip() == start
    assert [line.split()[1] for line in lines if not line.startswith(" ")] == [
        *("server", "workspace", "disk", "device", "weights", "qupath")
    ]
    assert left_in(tmp_path) == []


def test_without_a_server_a_slide_and_a_project_are_looked_at_all_the_same(
    small_slides: Path, tmp_path: Path
):
    (tmp_path / "project.qpproj").write_text("{")
    options = ("--slide", small_slides / "small.tif", "--project", tmp_path, "--json")
    workspace = ("--workspace", tmp_path / "w")
    found = checks(slideloop("doctor", "--url", NOBODY, *workspace, *QUICK, *options))
    assert found["slide"]["state"] == "ok"
    assert found["project"]["state"] == "problem"


def test_what_is_no_address_is_wrong_use():
    outcome = slideloop("doctor", "--url", "ftp://here")
    assert (outcome.code, outcome.out) == (2, "")


def test_without_a_server_it_answers_within_a_second_and_loads_no_torch(tmp_path: Path):
    program = (
        "import sys\nfrom slideloop.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    command = [sys.executable, "-c", program, "doctor", "--url", NOBODY]
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        done = subprocess.run(
            [*command, "--workspace", str(tmp_path)], capture_output=True, text=True, check=False
        )
        seconds.append(time.monotonic() - start)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (3, "False False"), done.stderr
    assert min(seconds) < 1
