"""The client against a small server of the test's own."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from slideloop.errors import InvalidInputError
from slideloop.evaluation.client import Client, ServerProblemError, ServerUnreachableError

Reply = Callable[["Handler"], None]

STALE = {
    "type": "about:blank",
    "title": "Conflict",
    "status": 409,
    "code": "stale_round",
    "detail": "The round 7 is not open any more.",
    "hint": "Ask for the current round.",
    "retry": False,
    "request_id": "r-1",
}
BUSY = {**STALE, "status": 503, "code": "busy", "detail": "No room.", "hint": "", "retry": True}


class Handler(BaseHTTPRequestHandler):
    """Answers by the next reply of the server's list, and remembers what it was asked."""

    server: Any

    def take(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, body, dict(self.headers)))
        self.server.replies.pop(0)(self)

    def do_GET(self) -> None:
        self.take()

    def do_POST(self) -> None:
        self.take()

    def do_PUT(self) -> None:
        self.take()

    def log_message(self, format: str, *arguments: Any) -> None: ...


class Served:
    """A server that gives one reply after the other."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self.asked: list[tuple[str, str, Any, dict[str, str]]] = server.asked

    def bodies(self) -> list[Any]:
        return [body for _, _, body, _ in self.asked]


@contextmanager
def replying(*replies: Reply) -> Iterator[Served]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.replies = [], list(replies)  # pyright: ignore
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield Served(server)
        finally:
            server.shutdown()
            thread.join()


def answer(value: Any, status: int = 200, **headers: str) -> Reply:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()

    def reply(handler: Handler) -> None:
        handler.send_response(status)
        for name, text in headers.items():
            handler.send_header(name.replace("_", "-"), text)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return reply


def hang_up(handler: Handler) -> None:
    """Close the connection without a word, the request read."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def break_off(handler: Handler) -> None:
    """Close the connection in the middle of the answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100")
    handler.end_headers()
    handler.wfile.write(b'{"state"')
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def test_an_answer_comes_back_as_json():
    with replying(answer({"status": "ok"})) as server:
        assert Client(server.url).get("/health") == {"status": "ok"}
        method, path, body, headers = server.asked[0]
    assert (method, path, body) == ("GET", "/api/v1/health", None)
    assert "Authorization" not in headers


def test_the_query_is_encoded_and_left_out_where_it_is_none():
    with replying(answer({})) as server:
        Client(server.url).get("/studies/a b/prediction", slide="ü&#", model_round=None, wait=3)
        assert server.asked[0][1] == "/api/v1/studies/a%20b/prediction?slide=%C3%BC%26%23&wait=3"


def test_the_token_goes_along():
    with replying(answer({})) as server:
        Client(server.url, "secret").get("/info")
        assert server.asked[0][3]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("lose", [hang_up, break_off])
def test_a_lost_connection_is_retried_with_the_same_event_id(lose: Reply):
    with replying(lose, lose, answer({"remaining": 4})) as server:
        found = Client(server.url).request("PUT", "/studies/s/labels/p", {"label": "Tumor"})
        first, *others = server.bodies()
    assert found == {"remaining": 4}
    assert len(first["event_id"]) == 36
    assert others == [first, first]


def test_two_requests_have_two_event_ids():
    with replying(answer({}), answer({})) as server:
        client = Client(server.url)
        for _ in range(2):
            client.request("POST", "/studies/s/queries", {"label": "Tumor"})
        first, second = (body["event_id"] for body in server.bodies())
    assert first != second


def test_an_event_id_of_the_callers_own_stays():
    with replying(answer({})) as server:
        Client(server.url).request("POST", "/studies", {"event_id": "mine"})
        assert server.bodies() == [{"event_id": "mine"}]


def test_what_changes_no_study_has_no_event_id():
    with replying(answer({}, 202)) as server:
        Client(server.url).request("POST", "/slides", {"path": "a.svs"})
        assert server.bodies() == [{"path": "a.svs"}]


def test_a_server_that_comes_back_in_time_is_not_missed():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    found: list[Any] = []
    client = Client(f"http://127.0.0.1:{port}", patience_s=20)
    thread = threading.Thread(target=lambda: found.append(client.get("/health")))
    thread.start()
    time.sleep(0.3)
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.asked, server.replies = [], [answer({"status": "ok"})]  # pyright: ignore
        server.handle_request()
        thread.join()
    assert found == [{"status": "ok"}]


def test_a_server_that_is_not_there_is_named_after_the_patience():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(ServerUnreachableError, match=url):
        Client(url, patience_s=0.5).get("/health")
    assert time.monotonic() - start < 10


def test_a_silent_server_is_given_up():
    def say_nothing(handler: Handler) -> None:
        time.sleep(0.6)

    with (
        replying(say_nothing) as server,
        pytest.raises(ServerUnreachableError, match="timed out"),
    ):
        Client(server.url, patience_s=0, timeout_s=0.2).get("/health")


def test_waiting_that_was_asked_for_is_no_silence():
    def think(handler: Handler) -> None:
        time.sleep(0.6)
        answer({"state": "done"})(handler)

    with replying(think) as server:
        client = Client(server.url, patience_s=0, timeout_s=0.2)
        assert client.get("/jobs/j", wait=2) == {"state": "done"}


def test_a_refusal_is_raised_with_code_and_hint():
    with replying(answer(STALE, 409)) as server, pytest.raises(ServerProblemError) as raised:
        Client(server.url).request("PUT", "/studies/s/labels/p", {"label": "Tumor"})
    problem = raised.value
    assert (problem.code, problem.http_status, problem.retry) == ("stale_round", 409, False)
    assert problem.message == "The round 7 is not open any more."
    assert problem.hint == "Ask for the current round."
    assert problem.request_id == "r-1"
    assert len(server.asked) == 1


def test_a_busy_server_is_asked_again_when_it_said():
    start = time.monotonic()
    with replying(answer(BUSY, 503, Retry_After="1"), answer({"remaining": 4})) as server:
        found = Client(server.url).request("POST", "/studies/s/labels", {"labels": []})
        first, second = server.bodies()
    assert found == {"remaining": 4}
    assert time.monotonic() - start >= 1
    assert first == second


def test_a_server_that_stays_busy_is_given_up_with_its_own_words():
    replies = [answer(BUSY, 503, Retry_After="1")] * 3
    with replying(*replies) as server, pytest.raises(ServerProblemError, match="No room") as raised:
        Client(server.url, patience_s=1.5).get("/health")
    assert raised.value.code == "busy"
    assert len(server.asked) == 2


def test_a_busy_server_that_wants_too_long_is_not_waited_for():
    with (
        replying(answer(BUSY, 503, Retry_After="3600")) as server,
        pytest.raises(ServerProblemError, match="No room"),
    ):
        Client(server.url).get("/health")


@pytest.mark.parametrize("reply", [answer(b"<html>", 502), answer(b"hello"), answer([1], 500)])
def test_another_service_is_told_apart(reply: Reply):
    with replying(reply) as server, pytest.raises(ServerProblemError, match="no slideloop"):
        Client(server.url).get("/health")


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "ftp://host", "http://", ""])
def test_what_is_no_address_is_refused(url: str):
    with pytest.raises(InvalidInputError, match="address"):
        Client(url)


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with replying(answer({"status": "ok"})) as server:
        assert Client(server.url, patience_s=0).get("/health") == {"status": "ok"}


def test_bytes_come_back_as_they_are():
    with replying(answer(b"\x89PNG\r\n")) as server:
        assert Client(server.url).fetch("/studies/s/prediction", format="png") == b"\x89PNG\r\n"


def job(state: str, progress: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"id": "j", "kind": "index", "state": state, "progress": progress, **more}


def test_a_job_is_followed_to_its_end():
    replies = [answer(job("running", 0.5)), answer(job("done", 1.0, result={"slide": "s"}))]
    seen: list[float] = []
    with replying(*replies) as server:
        done = Client(server.url).finished(job("queued"), lambda j: seen.append(j["progress"]))
    assert done["result"] == {"slide": "s"}
    assert seen == [0.5, 1.0]


def test_a_job_that_failed_raises_its_own_problem():
    failed = job("failed", error={**STALE, "code": "unreadable_slide", "detail": "Cut off."})
    with pytest.raises(ServerProblemError, match="Cut off") as raised:
        Client("http://127.0.0.1:1").finished(failed)
    assert raised.value.code == "unreadable_slide"


def test_a_job_that_was_cancelled_is_not_taken_for_done():
    with pytest.raises(ServerProblemError, match="cancelled"):
        Client("http://127.0.0.1:1").finished(job("cancelled", error=None))


def test_a_round_is_waited_for_while_it_is_under_way():
    states = ("indexing", "training", "labelling")
    rounds = [{"state": state, "notes": []} for state in states]
    with replying(*map(answer, rounds)) as server:
        assert Client(server.url).round("s") == rounds[-1]
        assert {path for _, path, _, _ in server.asked} == {"/api/v1/studies/s/round?wait=30"}


def test_a_round_that_does_not_get_on_says_why():
    note = {"code": "store_damaged", "text": "pooled.npy is cut off. Index the slide again."}
    with (
        replying(answer({"state": "training", "notes": [note]})) as server,
        pytest.raises(ServerProblemError, match="cut off") as raised,
    ):
        Client(server.url).round("s")
    assert raised.value.code == "store_damaged"
