"""The server as it runs: waitress in front of the app, and the command that starts it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from tests.command_line import QUICK, slideloop
from tests.services import quick_settings

from slideloop.api.app import ServeOptions, create_app
from slideloop.api.paths import Roots
from slideloop.api.schemas import MAX_PATH
from slideloop.api.serving import bind, front
from slideloop.api.waiting import SEATS
from slideloop.errors import InvalidInputError
from slideloop.evaluation.generated import Scene, write_slide
from slideloop.studies.service import open_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slideloop.studies.service import Service

API = "/api/v1"
REQUEST_ID = re.compile(r"[0-9a-f]{32}")
START_S = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = open_service(quick_settings(tmp_path_factory.mktemp("workspace")))
    yield service
    service.close()


# The server in front ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port(service: Service, small_slides: Path) -> Iterator[int]:
    """The port of a real server."""
    taken = bind("127.0.0.1", 0)
    port = taken.getsockname()[1]
    server = front(create_app(service, ServeOptions(port, Roots([small_slides]))), taken)
    thread = threading.Thread(target=_run, args=(server,), daemon=True)
    thread.start()
    yield port
    server.is_over = True
    server.pull_trigger()
    thread.join(10)
    server.task_dispatcher.shutdown()
    server.close()


def _run(server: Any) -> None:
    """Serve until told otherwise, which `run` cannot be from another thread."""
    while not getattr(server, "is_over", False):
        server.asyncore.loop(
            timeout=0.1, map=server._map, use_poll=hasattr(select, "poll"), count=1
        )


def _send(port: int, raw: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Send bytes as they are; return status, headers and the JSON of the answer."""
    with socket.create_connection(("127.0.0.1", port), 20) as there:
        there.sendall(raw)
        with there.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            lines = iter(stream.readline, b"\r\n")
            pairs = (line.decode().strip().split(": ", 1) for line in lines)
            headers = {name.lower(): value for name, value in pairs}
            body = stream.read(int(headers["content-length"]))
    return status, headers, json.loads(body)


def _head(port: int, *lines: str, first: str = f"POST {API}/slides HTTP/1.1") -> bytes:
    fixed = (first, f"Host: 127.0.0.1:{port}", "Content-Type: application/json")
    return "\r\n".join((*fixed, *lines, "", "")).encode()


def test_a_body_in_chunks_is_read(port: int) -> None:
    body = b'{"path": "/a"}'
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    status, _, answer = _send(port, _head(port, "Transfer-Encoding: chunked") + chunks)
    assert (status, answer["code"]) == (404, "file_not_found")


def test_a_body_above_the_limit_in_chunks_is_refused(port: int) -> None:
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    raw = _head(port, "Transfer-Encoding: chunked") + chunk * 16 + b"1\r\n \r\n0\r\n\r\n"
    status, headers, answer = _send(port, raw)
    assert (status, answer["code"]) == (413, "too_large")
    assert headers["x-request-id"] == answer["request_id"]


def test_a_body_far_above_the_limit_is_refused_before_it_is_sent(port: int) -> None:
    status, headers, answer = _send(port, _head(port, "Content-Length: 99999999999"))
    assert (status, answer["code"]) == (413, "too_large")
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == answer["request_id"]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Transfer-Encoding: gzip",), 501),
        (("Content-Length: x",), 400),
        (("Content-Length: -1",), 400),
        (("Content-Length: 1", "Content-Length: 2"), 400),
        (("X: " + "x" * 2**17,), 431),
        (("Bad Name: x",), 400),
    ],
)
def test_what_is_no_request_is_a_problem(port: int, lines: tuple[str, ...], status: int) -> None:
    answered, headers, answer = _send(port, _head(port, *lines))
    assert answered == answer["status"] == status
    assert headers["content-type"] == "application/problem+json"
    assert REQUEST_ID.fullmatch(answer["request_id"])


@pytest.mark.parametrize(("length", "status"), [(MAX_PATH, 404), (MAX_PATH + 1, 422)])
def test_the_longest_path_fits_into_a_url(port: int, length: int, status: int) -> None:
    path = quote("/" + "\U0001f52c" * (length - 1))
    assert _send(port, _head(port, first=f"GET {API}/slides?path={path} HTTP/1.1"))[0] == status


def test_a_name_in_the_request_line_does_not_replace_the_host(port: int) -> None:
    first = f"GET http://127.0.0.1:{port}{API}/health HTTP/1.1"
    raw = f"{first}\r\nHost: evil.example\r\n\r\n".encode()
    status, _, answer = _send(port, raw)
    assert (status, answer["code"]) == (403, "forbidden_host")


def test_two_hosts_are_refused(port: int) -> None:
    raw = _head(port, "Host: evil.example", first=f"GET {API}/health HTTP/1.1")
    assert _send(port, raw)[0] in (400, 403)


def test_the_server_takes_no_word_of_a_proxy(port: int) -> None:
    first = f"GET {API}/health HTTP/1.1"
    raw = f"{first}\r\nHost: evil.example\r\nX-Forwarded-Host: 127.0.0.1:{port}\r\n\r\n".encode()
    assert _send(port, raw)[0] == 403


def test_while_all_seats_are_taken_others_are_served_at_once(
    port: int, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, waits = threading.Event(), []

    def wait(id: str, wait_s: float) -> dict[str, Any]:
        waits.append(wait_s)
        if wait_s > 0:
            over.wait(20)
        return {"id": id}

    monkeypatch.setattr(service.jobs, "wait", wait)
    statuses: list[int] = []

    def ask(path: str) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", API + path)
        statuses.append(connection.getresponse().status)
        connection.close()

    waiting = [threading.Thread(target=ask, args=("/jobs/x?wait=60",)) for _ in range(SEATS)]
    for thread in waiting:
        thread.start()
    try:
        while len(waits) < SEATS:
            assert not over.wait(0.01)
        ask("/jobs/x?wait=60")
        ask("/health")
        assert waits == [60.0] * SEATS + [0.0]
        assert statuses == [200, 200]
    finally:
        over.set()
        for thread in waiting:
            thread.join()


def test_a_port_in_use_is_said(port: int) -> None:
    with pytest.raises(InvalidInputError, match=f"Port {port} of 127.0.0.1 is in use"):
        bind("127.0.0.1", port)


def test_an_address_of_another_machine_is_said() -> None:
    for host in ("203.0.113.1", "no.such.host.invalid"):
        with pytest.raises(InvalidInputError, match="cannot listen"):
            bind(host, 0)


# The command -----------------------------------------------------------------------------------


@contextmanager
def _served(*arguments: Any) -> Iterator[tuple[subprocess.Popen[str], str, list[str]]]:
    """Start `slideloop serve` on a free port; give the process, its address, its lines so far."""
    command = [sys.executable, "-m", "slideloop.cli.main", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*command, *QUICK, *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    guard = threading.Timer(START_S, process.kill)
    guard.start()
    try:
        said: list[str] = []
        for line in process.stderr:
            said.append(line.rstrip())
            if line.startswith("Listening on "):
                break
        else:
            raise AssertionError("\n".join(said))
        yield process, said[-1].removeprefix("Listening on "), said
    finally:
        guard.cancel()
        process.kill()
        process.communicate()


def _get(url: str, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    asked = urllib.request.Request(url + API + path, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as err:
        with err:
            return err.code, json.load(err)


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, small_slides: Path) -> None:
    with _served("--workspace", tmp_path / "w", "--slides-root", small_slides) as served:
        process, url, said = served
        assert _get(url, "/health") == (200, {"status": "ok"})
        assert any(str(small_slides) in line for line in said)
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert re.search(r"INFO slideloop\.api: [0-9a-f]{32} GET /api/v1/health 200 \d+ ms", rest)
    assert rest.rstrip().endswith("Stopped; everything that was answered is kept.")


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no Ctrl-C to one process alone")
def test_ctrl_c_stops_it_too(tmp_path: Path) -> None:
    with _served("--workspace", tmp_path / "w") as (process, _, said):
        assert any("the current folder" in line for line in said)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_only_a_server_on_this_machine_without_folders_may_be_given_one(
    tmp_path: Path, small_slides: Path
) -> None:
    here = ("--workspace", tmp_path)
    with _served(*here) as (_, url, _said):
        assert _get(url, "/folders")[1]["may_add"] is True
    with _served(*here, "--slides-root", small_slides) as (_, url, _said):
        assert _get(url, "/folders")[1] == {"folders": [str(small_slides)], "may_add": False}
    with _served(*here, "--host", "0.0.0.0") as (_, url, _said):
        token = {"Authorization": f"Bearer {(tmp_path / 'token').read_text().strip()}"}
        assert _get(url, "/folders", **token)[1]["may_add"] is False


def test_a_token_is_made_and_asked_for(tmp_path: Path) -> None:
    with _served("--workspace", tmp_path, "--require-token") as (_, url, said):
        token = (tmp_path / "token").read_text().strip()
        assert not any(token in line for line in said)
        assert any(str(tmp_path / "token") in line for line in said)
        assert _get(url, "/health")[0] == 200
        assert _get(url, "/info")[0] == 401
        assert _get(url, "/info", Authorization=f"Bearer {token}")[0] == 200
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def test_another_address_than_loopback_needs_the_token_and_an_allowed_host(tmp_path: Path) -> None:
    arguments = ("--workspace", tmp_path, "--host", "0.0.0.0", "--allowed-host", "slides.example")
    with _served(*arguments) as (_, url, _):
        assert url.startswith("http://127.0.0.1:")
        token = {"Authorization": f"Bearer {(tmp_path / 'token').read_text().strip()}"}
        assert _get(url, "/info")[0] == 401
        assert _get(url, "/info", **token)[0] == 200
        assert _get(url, "/info", Host="slides.example", **token)[0] == 200
        assert _get(url, "/info", Host="other.example", **token)[1]["code"] == "forbidden_host"


def test_a_second_server_on_the_workspace_is_refused(tmp_path: Path) -> None:
    with _served("--workspace", tmp_path):
        outcome = slideloop("serve", "--port", 0, "--workspace", tmp_path, *QUICK)
    assert outcome.code == 2
    assert str(tmp_path) in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--slides-root", "none"), "none"),
        (("--map", "slides"), "--map"),
        (("--token-file", "none"), "token"),
        (("--port", "70000"), "port"),
        (("--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("--workspace", "w", "--encoder", "none"), "encoder"),
    ],
)
def test_wrong_use_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = slideloop("serve", *QUICK, "--workspace", tmp_path / "w", "--port", 0, *arguments)
    assert outcome.code == 2
    assert word in outcome.err
    assert len(outcome.complaints()) == 1


def test_a_port_in_use_is_said_before_anything_is_loaded(tmp_path: Path, port: int) -> None:
    outcome = slideloop("serve", "--port", port, "--workspace", tmp_path / "w", *QUICK)
    assert outcome.code == 2
    assert f"Port {port}" in outcome.err
    assert not (tmp_path / "w" / "slideloop.db").exists()


def test_it_stops_soon_though_somebody_waits(tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    write_slide(Scene(0, 4096, 4096), slides / "large.tif")
    with _served("--workspace", tmp_path / "w", "--slides-root", slides) as (process, url, _):
        body = json.dumps({"path": str(slides / "large.tif")}).encode()
        asked = urllib.request.Request(
            f"{url}{API}/slides", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            job = json.load(answer)["job"]["id"]
        answers: list[Any] = []
        waiting = threading.Thread(
            target=lambda: answers.append(_get(url, f"/jobs/{job}?wait=60")), daemon=True
        )
        waiting.start()
        time.sleep(0.5)  # the request is there by then; a wait cannot be seen from outside
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
        waiting.join(10)
    assert process.returncode == 0
    assert "Traceback" not in rest
    assert [(status, job["state"]) for status, job in answers] == [(200, "interrupted")]
