"""A server that the scripts start on the user's computer, and how a slide is opened there."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.command_line import QUICK
from tests.groovy.driven import Driven, ProblemError

COMMAND = [sys.executable, "-m", "slideloop.cli.main", "serve"]


@pytest.fixture
def url() -> str:
    """An address at which nothing answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def _serve(jvm: Driven, url: str, command: list[str], folder: Path) -> Any:
    return jvm.do("serve", url=url, command=command, log=str(folder / "ü #1" / "server.log"))


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM")
def test_a_server_is_started_answers_and_is_ended(jvm: Driven, url: str, tmp_path: Path) -> None:
    command = [*COMMAND, "--workspace", str(tmp_path / "w"), *QUICK]
    pid = _serve(jvm, url, command, tmp_path)
    try:
        with urllib.request.urlopen(f"{url}/api/v1/folders", timeout=20) as answer:
            # It reads its own folder and nothing else, until a folder is allowed.
            assert json.load(answer) == {"folders": [str(tmp_path / "ü #1")], "may_add": True}
        # A second one is not started beside it: the one that answers is taken.
        assert _serve(jvm, url, [sys.executable, "-c", "pass"], tmp_path) is None
    finally:
        os.kill(pid, signal.SIGTERM)


def test_one_that_ends_at_once_is_told_by_its_own_words(
    jvm: Driven, url: str, tmp_path: Path
) -> None:
    with pytest.raises(ProblemError, match="There is no folder") as caught:
        _serve(jvm, url, [*COMMAND, "--slides-root", str(tmp_path / "nowhere")], tmp_path)
    assert caught.value.code == "server_not_started"
    log = tmp_path / "ü #1" / "server.log"
    assert str(log) in str(caught.value)
    with pytest.raises(ProblemError, match="it said nothing"):
        _serve(jvm, url, [sys.executable, "-c", "pass"], tmp_path)
    assert "There is no folder" in log.with_name("server.log.before").read_text()


def test_a_program_that_is_gone_is_told_with_the_way_out(
    jvm: Driven, url: str, tmp_path: Path
) -> None:
    with pytest.raises(ProblemError, match="slideloop qupath install"):
        _serve(jvm, url, [str(tmp_path / "python"), "-m", "x"], tmp_path)


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("http://127.0.0.1:8765", True),
        ("http://localhost:8765/", True),
        ("https://127.0.0.1:8765", False),
        ("http://127.0.0.1", False),
        ("http://[::1]:8765", False),
        ("http://slides.example:8765", False),
        ("http://127.0.0.1:8765/below", False),
    ],
)
def test_one_is_started_for_addresses_of_this_computer_alone(
    jvm: Driven, url: str, may: bool
) -> None:
    assert jvm.do("may serve", url=url) is may


GRID = {"patch_px": 96, "stride_px": 96, "mpp": None, "patch_px0": 96.0}
SLIDE = {"grid": GRID, "mpp": 0.25, "filter": "tissue", "normalisation": "sample"}
OPTIONS = {"patch_px": 96, "stride_px": 96, "filter": "tissue", "normalisation": "sample"}


@pytest.mark.parametrize(
    ("slide", "mpp", "target"),
    [
        (SLIDE, 0.25, None),
        (SLIDE, 0.27, None),
        (SLIDE, 0.5, 0.25),
        (SLIDE, None, 0.25),
        ({**SLIDE, "grid": {**GRID, "mpp": 1.0}}, 0.5, 1.0),
        ({**SLIDE, "grid": {**GRID, "mpp": 1.0}}, None, 1.0),
        ({**SLIDE, "mpp": None}, 0.5, None),
    ],
)
def test_patches_of_another_image_are_as_large_in_um(
    jvm: Driven, slide: dict[str, Any], mpp: float | None, target: float | None
) -> None:
    expected = OPTIONS if target is None else {**OPTIONS, "target_mpp": target}
    assert jvm.do("like", slide=slide, mpp=mpp) == expected


@pytest.mark.parametrize(
    ("text", "mpp"),
    [
        ("0.25", 0.25),
        (" 0,5 ", 0.5),
        ("", None),
        ("half", None),
        ("0", None),
        ("20", None),
        ("NaN", None),
    ],
)
def test_the_size_of_a_pixel_is_read_as_people_write_it(
    jvm: Driven, text: str, mpp: float | None
) -> None:
    assert jvm.do("pixel", text=text) == mpp
