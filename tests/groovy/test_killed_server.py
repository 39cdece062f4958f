"""The server is killed in the middle of a round, as by a power cut, and comes back otherwise."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.command_line import QUICK
from tests.groovy.conftest import CLASSES
from tests.groovy.driven import Driven
from tests.groovy.jvm import GROOVY_VERSIONS
from tests.groovy.served import Api
from tests.integration.kill_nine import places
from tests.served_group import ServerGroup

from slideloop.evaluation.generated import Scene

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="process groups and SIGKILL"),
]

TUMOUR, NORMAL = CLASSES
TOKENS = ("the-first-token-of-all", "the-other-token-of-all")


class Killed:
    """`slideloop serve` with a token in a file, which changes when it is killed.

    Parameters
    ----------
    folder : Path
        For workspace, token and log.
    slides : Path
        With `small.tif`.
    """

    def __init__(self, folder: Path, slides: Path) -> None:
        self._token_file, self._slide = folder / "token", slides / "small.tif"
        arguments = ("--workspace", folder / "workspace", "--slides-root", slides, *QUICK)
        token = ("--require-token", "--token-file", self._token_file)
        self._group = ServerGroup((*arguments, *token), folder / "server.log")
        self.url = self._group.url
        self.api = Api(self.url)
        self.token = TOKENS[0]

    def start(self) -> None:
        """Start it with the present token."""
        self._token_file.write_text(self.token)
        self.api.token = self.token
        self._group.start()
        self._group.wait_until_ready()

    def kill(self) -> None:
        """Kill it; it will come back with the other token."""
        self._group.kill()
        self.token = TOKENS[1 - TOKENS.index(self.token)]

    def study(self) -> str:
        """Make a study with its first round."""
        slide = self.api("POST", "/slides", path=str(self._slide))["slide"]["id"]
        while self.api("GET", f"/slides/{slide}")["state"] == "indexing":
            time.sleep(0.1)
        body = {"slides": [slide], "classes": CLASSES, "rounds": 2, "k": 4, "mode": "classes"}
        study = self.api("POST", "/studies", **body)["id"]
        self.api.query(study, slide, places(Scene(0, 1536, 1024))["Tumor"][0], TUMOUR)
        assert self.api("GET", f"/studies/{study}/round?wait=30")["state"] == "labelling"
        return study


@pytest.fixture
def killed(tmp_path: Path, small_slides: Path) -> Iterator[Killed]:
    server = Killed(tmp_path, small_slides)
    server.start()
    yield server
    server.kill()


# Starting servers takes long, and what crosses the wire does not depend on Groovy.
@pytest.mark.parametrize("bare_groovy", GROOVY_VERSIONS[-1:], indirect=True)
def test_no_label_is_lost_or_doubled_over_kill_nine_and_another_token(
    jvm: Driven, killed: Killed, tmp_path: Path
) -> None:
    study = killed.study()
    jvm.connect(killed.url, tmp_path / "outbox", killed.token)
    jvm.open(study)
    answers = (TUMOUR, NORMAL, NORMAL, TUMOUR)
    patches = jvm.label(*answers[:2])
    killed.kill()
    patches += jvm.label(answers[2])
    assert jvm.wait(lambda view: view["problem"])["problem"]["code"] == "unreachable"
    killed.start()
    jvm.wait(lambda view: view["problem"] and view["problem"]["code"] == "unauthorized")
    patches += jvm.label(answers[3])
    jvm.do("token", token=killed.token)
    jvm.wait(lambda view: view["round"] == 2, state="labelling", waiting=0)
    jvm.do("end")
    assert killed.api.labels(study) == [*zip(patches, answers, strict=True)]
