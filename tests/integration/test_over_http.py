"""A simulated expert through a real server, against the same on the engine directly."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from tests.command_line import QUICK, slideloop

from slideloop.cli.served import ServerNotStartedError, ServerProcess
from slideloop.errors import NotTrainedError, StoreMismatchError
from slideloop.evaluation.client import Client, ServerProblemError
from slideloop.evaluation.generated import TUMOUR, Scene
from slideloop.evaluation.over_http import RemoteStudy, play_over_http, true_class
from slideloop.evaluation.simulate import Protocol, Run, cell_mask, play
from slideloop.evaluation.subjects import Subject, read_truths, slide_subject
from slideloop.features.encoders import Encoder
from slideloop.features.workspace import IndexedSlide, PatchOptions, Workspace
from slideloop.learning.engines import create_engine
from slideloop.learning.heads import TrainingSettings
from slideloop.masks.cells import to_png
from slideloop.masks.geojson import mask_features
from slideloop.studies.journal import read_journal
from slideloop.studies.ledger import open_ledger

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("small", "other")
PROTOCOL = Protocol(sessions=3, rounds=2, k=4)
FAITHFUL = Protocol(sessions=2, rounds=2, k=4, engine="faithful", training={"epochs": 2})

Shown = list[dict[str, Any]]


class Listener(Client):
    """A client that remembers the rounds that it was shown."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.rounds: dict[str, dict[str, Any]] = {}

    def round(self, study: str) -> dict[str, Any]:
        found = super().round(study)
        if found["state"] == "labelling":
            self.rounds[found["round_id"]] = found
        return found


@dataclass
class Played:
    """One run, played both ways."""

    direct: Run
    remote: Run
    client: Listener
    subject: Subject
    study: str = field(init=False)

    def __post_init__(self) -> None:
        self.study = self.remote.loop.study.id


@pytest.fixture(scope="module")
def subjects(
    tmp_path_factory: pytest.TempPathFactory, small_slides: Path, squeezenet: Encoder
) -> Iterator[dict[str, Subject]]:
    """The slides indexed in this process: the first one alone, and both together."""
    workspace = Workspace(tmp_path_factory.mktemp("direct"))
    paths = [small_slides / f"{name}.tif" for name in NAMES]
    sources = workspace.open_slides(paths, PatchOptions(patch=96))
    normalisation = workspace.normalisation("sample", sources)
    slides = [
        IndexedSlide(
            s, workspace.index(s, squeezenet, normalisation, "full"), squeezenet, normalisation
        )
        for s in sources
    ]
    truths, positive = read_truths(
        [path.with_suffix(".geojson") for path in paths],
        [(slide.width, slide.height) for slide in slides],
        "Tumor",
        None,
    )
    yield {
        "one": slide_subject(slides[:1], truths[:1], positive, "classes", squeezenet),
        "two": slide_subject(slides, truths, positive, "classes", squeezenet),
        "sought": slide_subject(slides[:1], truths[:1], positive, "relevance", squeezenet),
    }
    workspace.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, small_slides: Path) -> Iterator[ServerProcess]:
    """A server that has indexed both slides, in the same order, in a workspace of its own."""
    folder = tmp_path_factory.mktemp("served")
    arguments = ["--workspace", str(folder / "workspace"), "--slides-root", str(small_slides)]
    with ServerProcess([*arguments, *QUICK], folder / "server.log") as process:
        client = Client(process.url())
        for name in NAMES:
            opened = client.request("POST", "/slides", {"path": str(small_slides / f"{name}.tif")})
            client.finished(opened["job"])
        yield process


def play_both(
    server: ServerProcess,
    subject: Subject,
    encoder: Encoder,
    protocol: Protocol,
    strategy: str,
    seed: int = 0,
) -> Played:
    training = TrainingSettings(**protocol.training)
    engine = create_engine(protocol.engine, encoder, training)
    direct = play(subject, protocol, engine, strategy, seed)
    client = Listener(server.url())
    remote = play_over_http(client, subject, protocol, strategy, seed)
    return Played(direct, remote, client, subject)


def assert_same(played: Played) -> None:
    """Same patches, in order, round by round; same masks; same figures."""
    assert shown_to_the_client(played) == shown_directly(played)
    for number in range(len(played.subject.slides)):
        direct = cell_mask(played.direct.loop, played.subject, number)
        remote = cell_mask(played.remote.loop, played.subject, number)
        np.testing.assert_array_equal(remote.label, direct.label)
        np.testing.assert_array_equal(remote.probability, direct.probability)
    assert figures(played.remote) == figures(played.direct)
    assert played.remote.n_boundary == played.direct.n_boundary
    assert all(len(p["round_s"]) == len(q["round_s"]) for p, q in curves(played))


def curves(played: Played) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    return zip(played.remote.curve, played.direct.curve, strict=True)


KEPT = ("id", "rank", "distance", "probability", "reason")


def shown_directly(played: Played) -> list[Shown]:
    events = played.direct.loop.journal.events
    rounds = [e.data["patches"] for e in events if e.type == "round_shown" and e.data["patches"]]
    return [[{key: patch[key] for key in KEPT} for patch in patches] for patches in rounds]


def shown_to_the_client(played: Played) -> list[Shown]:
    rounds = [shown["patches"] for shown in played.client.rounds.values()]
    return [[{key: patch[key] for key in KEPT} for patch in patches] for patches in rounds]


def figures(run: Run) -> list[dict[str, Any]]:
    """Return the curve without its clock."""
    return [{k: v for k, v in point.items() if k != "round_s"} for point in run.curve]


# Proof -------------------------------------------------------------------------------------


def test_the_server_knows_the_slides_by_the_same_ids(server: ServerProcess, subjects: Any):
    found = {slide["id"] for slide in Client(server.url()).get("/slides")}
    assert {record["id"] for record in subjects["two"].records} <= found


@pytest.mark.parametrize(
    "strategy", ["cnfp", "hybrid", "entropy", "random", "front_mid_end", "top_k"]
)
def test_linear_over_http_is_linear_on_the_engine(
    strategy: str, server: ServerProcess, subjects: dict[str, Subject], squeezenet: Encoder
):
    played = play_both(server, subjects["one"], squeezenet, PROTOCOL, strategy, seed=1)
    assert len(shown_directly(played)) == 6
    assert played.direct.curve[-1]["f1"] is not None
    assert_same(played)


@pytest.mark.parametrize("strategy", ["cnfp", "random"])
def test_faithful_over_http_is_faithful_on_the_engine(
    strategy: str, server: ServerProcess, subjects: dict[str, Subject], squeezenet: Encoder
):
    played = play_both(server, subjects["one"], squeezenet, FAITHFUL, strategy)
    assert played.direct.curve[-1]["f1"] is not None
    assert_same(played)


def test_relevance_over_http_is_relevance_on_the_engine(
    server: ServerProcess, subjects: dict[str, Subject], squeezenet: Encoder
):
    protocol = Protocol(
        sessions=2, rounds=2, k=5, mode="relevance", refine_over="round", session_start="pretrained"
    )
    assert_same(play_both(server, subjects["sought"], squeezenet, protocol, "cnfp"))


def test_two_slides_over_http_are_two_slides_on_the_engine(
    server: ServerProcess, subjects: dict[str, Subject], squeezenet: Encoder
):
    played = play_both(server, subjects["two"], squeezenet, PROTOCOL, "cnfp")
    slides = {p["slide"] for shown in played.client.rounds.values() for p in shown["patches"]}
    assert slides == {record["id"] for record in subjects["two"].records}
    assert_same(played)


def test_a_pool_played_to_its_end_is_exhausted_both_ways(
    server: ServerProcess, subjects: dict[str, Subject], squeezenet: Encoder
):
    protocol = Protocol(sessions=3, rounds=1, k=200)
    played = play_both(server, subjects["one"], squeezenet, protocol, "cnfp")
    assert len(played.direct.curve) < 3
    assert_same(played)


@pytest.fixture(scope="module")
def linear(server: ServerProcess, subjects: dict[str, Subject], squeezenet: Encoder) -> Played:
    return play_both(server, subjects["one"], squeezenet, PROTOCOL, "cnfp", seed=2)


def test_the_servers_picture_is_that_of_the_engines_mask(linear: Played):
    expected = cell_mask(linear.direct.loop, linear.subject, 0)
    slide = linear.subject.records[0]["id"]
    path = f"/studies/{linear.study}/prediction"
    assert linear.client.fetch(path, slide=slide, format="png") == to_png(expected, "Tumor")


@pytest.mark.parametrize("kind", ["detections", "annotations", "tiles"])
def test_the_servers_objects_are_those_of_the_engines_mask(kind: Any, linear: Played):
    expected = mask_features(
        cell_mask(linear.direct.loop, linear.subject, 0), linear.study, ["Tumor"], kind
    )
    slide = linear.subject.records[0]["id"]
    path = f"/studies/{linear.study}/prediction"
    found = linear.client.get(path, slide=slide, format="geojson", **{"as": kind})
    assert found["features"]
    assert found == json.loads(json.dumps(expected))


def test_the_journal_that_comes_over_http_holds(linear: Played, tmp_path: Path):
    path = tmp_path / "study.ndjson"
    path.write_bytes(linear.client.fetch(f"/studies/{linear.study}/journal"))
    journal = read_journal(path)
    assert journal.study == linear.study
    of_labels = [event.data for event in journal.events if event.type == "label"]
    assert len(of_labels) == 24
    assert {data["reader"] for data in of_labels} == {"simulated expert"}


def test_reserved_patches_are_never_shown(linear: Played):
    created = linear.direct.loop.journal.events[0].data
    kept_back = {(0, place) for place in created["reserved"][0]}
    assert len(kept_back) == 3
    cells = linear.subject.stores[0].cells
    x_y = {tuple(cells[place] * 96) for _, place in kept_back}
    seen = {(p["x"], p["y"]) for r in linear.client.rounds.values() for p in r["patches"]}
    assert seen
    assert not seen & x_y


# Refusals ----------------------------------------------------------------------------------


def test_an_untrained_study_has_no_figures(server: ServerProcess, subjects: dict[str, Subject]):
    client, subject = Client(server.url()), subjects["one"]
    body = {"slides": [subject.records[0]["id"]], "mode": "classes", "classes": ["Tumor", "Other"]}
    study = client.request("POST", "/studies", body)["id"]
    with pytest.raises(NotTrainedError):
        RemoteStudy(client, subject, study).predict(0)


def test_a_patch_off_the_truths_grid_is_refused(subjects: dict[str, Subject]):
    subject = subjects["one"]
    square = {"x": 5, "y": 96, "width": 96, "height": 96}
    with pytest.raises(StoreMismatchError, match="no cell"):
        true_class(subject, {"id": "p", "slide": subject.records[0]["id"], **square})


def test_a_slide_that_the_server_does_not_know_is_named(
    server: ServerProcess, subjects: dict[str, Subject]
):
    subject = subjects["one"]
    stranger = Subject(**{**vars(subject), "records": [{**subject.records[0], "id": "0" * 64}]})
    with pytest.raises(ServerProblemError) as raised:
        play_over_http(Client(server.url()), stranger, PROTOCOL, "cnfp", 0)
    assert raised.value.code == "unknown_slide"


# The child ---------------------------------------------------------------------------------


def is_listening(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((parts.hostname or "", parts.port or 0)) == 0


def wait_until_gone(url: str, within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while is_listening(url):
        assert time.monotonic() < deadline, f"A server is left at {url}."
        time.sleep(0.1)


def test_a_server_ends_with_its_block(tmp_path: Path):
    arguments = ["--workspace", str(tmp_path / "w"), "--slides-root", str(tmp_path), *QUICK]
    with ServerProcess(arguments, tmp_path / "server.log") as process:
        url = process.url()
        assert is_listening(url)
        assert Client(url).get("/health") == {"status": "ok"}
    assert not is_listening(url)


def test_a_server_that_does_not_start_is_named_with_its_log(tmp_path: Path):
    log = tmp_path / "server.log"
    arguments = ["--workspace", str(tmp_path / "w"), "--weights", str(tmp_path / "none.pth")]
    with (
        ServerProcess(arguments, log) as process,
        pytest.raises(ServerNotStartedError, match="No weights file") as raised,
    ):
        process.url()
    assert str(log) in raised.value.hint


PARENT = """
import sys, time
from pathlib import Path
from slideloop.cli.served import ServerProcess

with ServerProcess(sys.argv[2:], Path(sys.argv[1])) as process:
    print(process.url(), flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_server_does_not_outlive_a_killed_parent(tmp_path: Path):
    arguments = ["--workspace", str(tmp_path / "w"), "--slides-root", str(tmp_path), *QUICK]
    command = [sys.executable, "-c", PARENT, str(tmp_path / "server.log"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        url = parent.stdout.readline().strip()
        assert is_listening(url)
        parent.kill()
    wait_until_gone(url)


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C goes to a whole console there")
def test_an_interrupted_demo_leaves_no_server(tmp_path: Path):
    command = [sys.executable, "-m", "slideloop.cli.main", "demo", "--out", str(tmp_path / "out")]
    quick = ["--weights", "random", "--encoder", "squeezenet1_1"]
    with subprocess.Popen([*command, *quick], stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr
        said = next(line for line in demo.stderr if "listens on" in line)
        url = said.split("listens on ")[1].strip().rstrip(".")
        assert is_listening(url)
        demo.send_signal(signal.SIGINT)
        rest = demo.stderr.read()
    assert demo.returncode == 130
    assert "Interrupted" in rest
    assert "Traceback" not in rest
    wait_until_gone(url, 1)


def test_a_demo_does_not_overwrite_the_slide_of_another_one(tmp_path: Path):
    (tmp_path / "slide.tif").write_bytes(b"of an older version")
    (tmp_path / "workspace").mkdir()
    open_ledger(tmp_path / "workspace").close()
    outcome = slideloop("demo", "--out", tmp_path, "--seed", 3, *QUICK)
    assert outcome.code == 2
    assert "belongs to an older demo" in outcome.err
    assert (tmp_path / "slide.tif").read_bytes() == b"of an older version"
    assert not list(tmp_path.glob("*new*"))


# Examples ----------------------------------------------------------------------------------


def test_the_python_example_plays_a_study(
    server: ServerProcess, small_slides: Path, tmp_path: Path
):
    files = small_slides / "small.tif", small_slides / "small.geojson"
    command = [sys.executable, EXAMPLES / "client.py", *files, "--server", server.url()]
    done = subprocess.run(
        [*command, "--out", tmp_path], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "session 3, round 3: 5 labels" in done.stdout
    assert_is_a_mask(tmp_path)


def test_the_python_example_says_what_the_server_refuses(
    server: ServerProcess, small_slides: Path, tmp_path: Path
):
    files = tmp_path / "none.tif", small_slides / "small.geojson"
    command = [sys.executable, EXAMPLES / "client.py", *files, "--server", server.url()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("file_not_found: ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_the_shell_example_asks_for_labels_and_leaves_a_mask(
    server: ServerProcess, small_slides: Path, tmp_path: Path
):
    scene = Scene(0, 1536, 1024)
    tumour = next(
        (x, y) for y in range(0, 928, 96) for x in range(0, 1440, 96) if is_tumour(scene, x, y)
    )
    command = ["sh", EXAMPLES / "session.sh", small_slides / "small.tif", *tumour, 96, 96]
    n_asked = 0
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=tmp_path,
        env={**os.environ, "SERVER": server.url()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as session:
        assert session.stdin and session.stdout and session.stderr
        while question := read_question(session.stdout):
            n_asked += 1
            x, y = (int(float(number)) for number in question)
            session.stdin.write(b"t\n" if is_tumour(scene, x, y) else b"n\n")
            session.stdin.flush()
        said = session.stderr.read().decode()
    assert session.returncode == 0, said
    assert n_asked == 10
    assert_is_a_mask(tmp_path)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_the_shell_example_says_what_the_server_refuses(
    server: ServerProcess, small_slides: Path, tmp_path: Path
):
    command = ["sh", EXAMPLES / "session.sh", small_slides / "small.tif", "9000", "0", "96", "96"]
    environment = {**os.environ, "SERVER": server.url()}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("422: ")
    assert "outside" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_examples_send_the_token(small_slides: Path, tmp_path: Path):
    workspace = tmp_path / "workspace"
    arguments = ["--workspace", str(workspace), "--slides-root", str(tmp_path), "--require-token"]
    missing = str(tmp_path / "none.tif")
    commands = [
        [sys.executable, str(EXAMPLES / "client.py"), missing, str(small_slides / "small.geojson")]
    ]
    if shutil.which("curl"):
        commands.append(["sh", str(EXAMPLES / "session.sh"), missing, "0", "0", "96", "96"])
    with ServerProcess([*arguments, *QUICK], tmp_path / "server.log") as process:
        environment = {**os.environ, "SERVER": process.url()}
        token = (workspace / "token").read_text().strip()
        commands[0] += ["--server", process.url()]
        for command in commands:
            for secret, said in (("", "token"), (token, "none.tif")):
                done = subprocess.run(
                    command,
                    env={**environment, "SLIDELOOP_TOKEN": secret},
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert done.returncode == 1
                assert said in done.stderr


def is_tumour(scene: Scene, x: int, y: int) -> bool:
    return bool((scene.tissue(x, y, 96, 96) == TUMOUR).mean() >= 0.5)


def read_question(stdout: Any) -> tuple[str, str] | None:
    """Read up to the next question and return its place; None at the end."""
    said = b""
    while not said.endswith(b"? "):
        byte = stdout.read(1)
        if not byte:
            return None
        said += byte
    found = re.search(rb"Patch at (\S+), (\S+) \(", said)
    assert found, said
    return found[1].decode(), found[2].decode()


def assert_is_a_mask(folder: Path) -> None:
    collection = json.loads((folder / "mask.geojson").read_text("utf-8"))
    assert collection["features"]
    assert (folder / "mask.png").read_bytes().startswith(b"\x89PNG")
