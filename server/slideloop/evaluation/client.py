"""A client of the HTTP API (interfaces.md), with nothing but the standard library.

Owns how a request is sent, sent again, and refused. Knows nothing of what is played through it.
"""

from __future__ import annotations

import http.client
import json
import time
import uuid
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from slideloop.errors import InvalidInputError, SlideloopError

if TYPE_CHECKING:
    from collections.abc import Callable

API = "/api/v1"
WAIT_S = 30
"""Seconds that the server is asked to wait for what is under way."""

_LONGEST_PAUSE_S = 2.0
_UNFINISHED = ("queued", "running")
_UNDER_WAY = ("indexing", "training")


class ServerProblemError(SlideloopError):
    """What the server refused, as it said it: code, status, hint and all.

    Attributes
    ----------
    request_id : str or None
        Under which the server's log has it.
    """

    def __init__(self, problem: dict[str, Any], status: int) -> None:
        message = problem.get("detail") or problem.get("title") or f"Status {status}."
        super().__init__(str(message), hint=str(problem.get("hint") or ""))
        self.code = str(problem.get("code", "unexpected_answer"))
        self.http_status = status
        self.retry = problem.get("retry") is True
        self.request_id: str | None = problem.get("request_id")


class ServerUnreachableError(SlideloopError):
    """A server that does not answer."""

    code = "server_unreachable"
    http_status = 503
    retry = True


class Client:
    """Requests to one server, each sent again until it is answered.

    A connection that is lost leaves open whether the request arrived, so the same bytes are sent
    again, with the same event id: the server does it once and gives the first answer again.

    Parameters
    ----------
    url : str
        Such as `http://127.0.0.1:8765`, without the API's own path.
    token : str, optional
        Where the server wants one.
    patience_s : float
        How long a request is sent again after its first failure.
    timeout_s : float
        How long an answer may take, beside the waiting that was asked for.

    Raises
    ------
    InvalidInputError
        If `url` is none of a server.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience_s: float = 30.0,
        timeout_s: float = 60.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInputError(
                f"{url!r} is no address of a server.", hint="Give one like http://127.0.0.1:8765."
            )
        self.url = url.rstrip("/")
        self._token, self._patience_s, self._timeout_s = token, patience_s, timeout_s
        self._opener = _opener(parts.hostname)

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: Any
    ) -> Any:
        """Send a request and return the JSON of its answer.

        Parameters
        ----------
        method, path : str
            The path from the API's own on, such as `/studies`.
        body : dict, optional
            JSON-ready. What changes a study gets an `event_id` unless it has one.
        **query
            Parameters of the query; those that are None are left out.

        Raises
        ------
        ServerProblemError
            If the server refuses it.
        ServerUnreachableError
            If it does not answer for as long as the client is patient.
        """
        answer = self._send(method, path, body, query)
        try:
            return json.loads(answer) if answer else None
        except ValueError as err:
            raise self._not_ours(200) from err

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON found at a path; raises as `request` does."""
        return self.request("GET", path, **query)

    def fetch(self, path: str, **query: Any) -> bytes:
        """Return the bytes found at a path: a picture, a journal; raises as `request` does."""
        return self._send("GET", path, None, query)

    def finished(
        self, job: dict[str, Any], report: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Wait for the end of a job and return it.

        Parameters
        ----------
        job : dict
        report : callable, optional
            Called about once a second with the job as it is.

        Raises
        ------
        ServerProblemError
            If the job was not done to its end.
        """
        while job["state"] in _UNFINISHED:
            job = self.get(f"/jobs/{job['id']}", wait=1 if report else WAIT_S)
            if report:
                report(job)
        if job["state"] != "done":
            said = {"detail": f"The job {job['kind']} is {job['state']}.", "code": job["state"]}
            problem: dict[str, Any] = job.get("error") or said
            raise ServerProblemError(problem, int(problem.get("status", 409)))
        return job

    def round(self, study: str) -> dict[str, Any]:
        """Return a study's round once it is under way no more: its patches, or its end.

        Raises
        ------
        ServerProblemError
            If it does not get on: what is noted of a round under way is what holds it up.
        """
        while True:
            found = self.get(f"/studies/{study}/round", wait=WAIT_S)
            if found["state"] not in _UNDER_WAY:
                return found
            for note in found["notes"]:
                raise ServerProblemError({"code": note["code"], "detail": note["text"]}, 409)

    # Sending -------------------------------------------------------------------------------

    def _send(
        self, method: str, path: str, body: dict[str, Any] | None, query: dict[str, Any]
    ) -> bytes:
        request = self._request(method, path, body, query)
        timeout = self._timeout_s + float(query.get("wait") or 0)
        deadline, pause = None, 0.1
        while True:
            try:
                with self._opener.open(request, timeout=timeout) as answer:
                    return answer.read()
            except HTTPError as err:
                failure: SlideloopError = self._problem(err)
                wanted = _seconds(err.headers.get("Retry-After")) or pause
            except (OSError, http.client.HTTPException) as err:
                failure = self._unreachable(err)
                wanted = pause
            now = time.monotonic()
            deadline = deadline or now + self._patience_s
            if not failure.retry or now + wanted > deadline:
                raise failure
            time.sleep(wanted)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None, query: dict[str, Any]
    ) -> Request:
        headers = {"Accept": "application/json, */*;q=0.5"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            if path.startswith(("/studies", "/imports")):
                body = {"event_id": str(uuid.uuid4()), **body}
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        given = {name: value for name, value in query.items() if value is not None}
        url = f"{self.url}{API}{quote(path)}" + (
            f"?{urlencode(given, doseq=True)}" if given else ""
        )
        return Request(url, data=data, headers=headers, method=method)

    def _problem(self, err: HTTPError) -> ServerProblemError:
        try:
            with err:
                problem = json.loads(err.read())
        except (ValueError, OSError, http.client.HTTPException):
            problem = None
        if not isinstance(problem, dict) or "code" not in problem:
            return self._not_ours(err.code)
        return ServerProblemError(problem, err.code)

    def _not_ours(self, status: int) -> ServerProblemError:
        problem = {
            "detail": f"What answers at {self.url} with status {status} is no slideloop.",
            "hint": "Check the address and the port.",
        }
        return ServerProblemError(problem, status)

    def _unreachable(self, err: Exception) -> ServerUnreachableError:
        reason = getattr(err, "reason", None) or err
        return ServerUnreachableError(
            f"The server at {self.url} does not answer ({reason}).",
            hint="Start it with `slideloop serve`, or correct the address.",
        )


def _opener(host: str) -> OpenerDirector:
    """Return what opens addresses; a proxy is not asked for what is on this machine."""
    is_here = host == "localhost" or host.startswith("127.") or host == "::1"
    return build_opener(ProxyHandler({})) if is_here else build_opener()


def _seconds(text: str | None) -> float | None:
    """Read a Retry-After header given in seconds."""
    return float(text) if text and text.isascii() and text.isdigit() else None
