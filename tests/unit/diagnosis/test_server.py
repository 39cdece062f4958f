"""What the doctor says of whatever may listen, or not, at the server's address."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slideloop import __version__
from slideloop.diagnosis.finding import Finding
from slideloop.diagnosis.server import Server, ask_server, token_file_findings
from slideloop.errors import InvalidInputError

TOKEN = "a-token-of-twenty-four-b"
UNAUTHORIZED = {"code": "unauthorized", "title": "Unauthorized", "detail": "No token.", "hint": ""}

Answer = Callable[[str, str | None], tuple[int, Any]]
"""From path and Authorization header to status and body."""


class Stand:
    """Programs that stand where a server may stand."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, answer: Answer) -> str:
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                authorization = self.headers.get("Authorization")
                asked.append((self.path, authorization))
                status, body = answer(self.path, authorization)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def stand() -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(stack)


def serving(version: str = __version__, token: str | None = None) -> Answer:
    """Answer as slideloop of a version does."""

    def answer(path: str, authorization: str | None) -> tuple[int, Any]:
        if path == "/api/v1/health":
            return 200, {"status": "ok"}
        if token is not None and authorization != f"Bearer {token}":
            return 401, UNAUTHORIZED
        if path == "/api/v1/info":
            return 200, {"version": version, "device": "cpu"}
        return 200, [{"id": "s"}]

    return answer


def said(server: Server) -> dict[str, Finding]:
    """Findings by check, of which each has one."""
    checks = {finding.check: finding for finding in server.findings}
    assert len(checks) == len(server.findings)
    return checks


@contextmanager
def silent_socket(backlog: int = 5) -> Iterator[str]:
    """Take connections and never say a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(backlog)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_of_this_version_is_in_order(stand: Stand, tmp_path: Path):
    server = ask_server(stand(serving()), tmp_path)
    assert [(f.check, f.state) for f in server.findings] == [("server", "ok"), ("token", "ok")]
    assert server.info == {"version": __version__, "device": "cpu"}
    assert server.slides == [{"id": "s"}]


def test_a_server_of_another_version_is_a_warning_with_both(stand: Stand, tmp_path: Path):
    finding = said(ask_server(stand(serving("9.8.7")), tmp_path))["server"]
    assert finding.state == "warning"
    assert "9.8.7" in finding.found
    assert __version__ in finding.found


def test_where_nothing_listens_the_way_to_start_it_is_said_at_once(tmp_path: Path):
    with silent_socket() as url:
        pass
    start = time.monotonic()
    server = ask_server(url, tmp_path)
    assert time.monotonic() - start < 0.5
    assert said(server)["server"].state == "problem"
    assert "slideloop serve --port" in said(server)["server"].todo
    assert (server.info, server.slides) == (None, None)


def test_a_machine_that_never_answers_takes_less_than_a_second(tmp_path: Path):
    with silent_socket(0) as url, ExitStack() as stack:
        # A full backlog drops further connections, as a firewall does.
        host, port = url.removeprefix("http://").split(":")
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((host, int(port)))
        start = time.monotonic()
        finding = said(ask_server(url, tmp_path))["server"]
        assert time.monotonic() - start < 0.9
    assert finding.state == "problem"
    assert "does not answer" in finding.found


def test_a_server_that_hangs_is_told_from_one_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("slideloop.diagnosis.server.ANSWER_S", 0.2)
    with silent_socket() as url:
        finding = said(ask_server(url, tmp_path))["server"]
    assert finding.state == "problem"
    assert "took the connection" in finding.found


@pytest.mark.parametrize(
    "answer",
    [
        lambda path, token: (404, b"<html>nginx"),
        lambda path, token: (200, {"status": "UP"}),
        lambda path, token: (200, b"\xff\xfe"),
        lambda path, token: (302, b""),
        lambda path, token: (401, b"Jupyter"),
    ],
    ids=["a page not found", "another health", "no text", "a redirection", "another log-in"],
)
def test_another_program_at_the_address_is_told_apart_and_gets_no_token(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer
):
    monkeypatch.setenv("SLIDELOOP_TOKEN", TOKEN)
    finding = said(ask_server(stand(answer), tmp_path))["server"]
    assert finding.state == "problem"
    assert "not slideloop" in finding.found
    assert [authorization for _, authorization in stand.asked] == [None]


def test_a_program_that_speaks_no_http_is_told_apart(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            for _ in range(2):  # the knock and the question
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n" * 2)

        threading.Thread(target=speak, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        finding = said(ask_server(url, tmp_path))["server"]
    assert finding.state == "problem"
    assert "does not answer as a web server" in finding.found


def test_the_servers_own_refusal_is_passed_on_without_control_characters(
    stand: Stand, tmp_path: Path
):
    refusal = {"code": "forbidden_host", "detail": "Not \x1b[31mthis name.", "hint": "Ask\x07."}
    finding = said(ask_server(stand(lambda path, token: (403, refusal)), tmp_path))["server"]
    assert finding.found.endswith("refuses: Not ?[31mthis name.")
    assert finding.todo == "Ask?."


def test_the_workspaces_token_opens_a_server_that_wants_one(stand: Stand, tmp_path: Path):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    server = ask_server(stand(serving(token=TOKEN)), tmp_path)
    finding = said(server)["token"]
    assert (finding.state, server.slides) == ("ok", [{"id": "s"}])
    assert str(tmp_path / "token") in finding.found


def test_a_token_is_sent_only_after_it_was_asked_for(stand: Stand, tmp_path: Path):
    (tmp_path / "token").write_text(TOKEN)
    ask_server(stand(serving()), tmp_path)
    assert {authorization for _, authorization in stand.asked} == {None}


def test_the_variables_token_wins_over_the_workspaces(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "token").write_text("another-token-of-the-workspace")
    monkeypatch.setenv("SLIDELOOP_TOKEN", TOKEN)
    finding = said(ask_server(stand(serving(token=TOKEN)), tmp_path))["token"]
    assert finding.state == "ok"
    assert "SLIDELOOP_TOKEN" in finding.found


@pytest.mark.parametrize("wrong", ["the-token-of-somebody-else", "two words", "ä\nö"])
def test_a_wrong_token_is_a_problem_and_is_never_shown(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
):
    monkeypatch.setenv("SLIDELOOP_TOKEN", wrong)
    server = ask_server(stand(serving(token=TOKEN)), tmp_path)
    finding = said(server)["token"]
    assert finding.state == "problem"
    assert "SLIDELOOP_TOKEN" in finding.todo
    assert wrong not in repr(server)


def test_without_a_token_a_server_that_wants_one_is_a_problem(stand: Stand, tmp_path: Path):
    checks = said(ask_server(stand(serving(token=TOKEN)), tmp_path))
    assert checks["server"].state == "ok"
    assert checks["token"].state == "problem"


def test_the_workspaces_token_never_leaves_this_machine(
    stand: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest: look_up("127.0.0.1", *rest)
    )  # a name of another machine, as far as anybody can tell
    url = stand(serving(token=TOKEN)).replace("127.0.0.1", "slides.example")
    (tmp_path / "token").write_text(TOKEN)
    assert said(ask_server(url, tmp_path))["token"].state == "problem"
    assert {authorization for _, authorization in stand.asked} == {None}
    monkeypatch.setenv("SLIDELOOP_TOKEN", TOKEN)
    assert said(ask_server(url, tmp_path))["token"].state == "ok"


@pytest.mark.parametrize(
    "url", ["", "ftp://here", "http://", "http://here:port", "http://u:p@here", "http://h\x00re"]
)
def test_what_is_no_address_is_refused(tmp_path: Path, url: str):
    with pytest.raises(InvalidInputError, match="address"):
        ask_server(url, tmp_path)


def test_an_address_may_lack_its_scheme(stand: Stand, tmp_path: Path):
    url = stand(serving()).removeprefix("http://")
    assert said(ask_server(url, tmp_path))["server"].state == "ok"


def test_a_name_that_nobody_knows_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    finding = said(ask_server("http://no-such-machine.invalid", tmp_path))["server"]
    assert finding.found == "No machine named no-such-machine.invalid is known."


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_a_token_that_others_can_read_is_a_warning(tmp_path: Path):
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o644)
    (finding,) = token_file_findings(tmp_path)
    assert (finding.state, finding.todo) == ("warning", f"Keep it to yourself: chmod 600 {path}")
    path.chmod(0o600)
    assert token_file_findings(tmp_path) == []
