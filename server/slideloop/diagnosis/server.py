"""Whether the server answers, is ours, is of this version, and takes the token.

Owns the questions to the server, all of them GET, and their short time limits. The token goes to
a slideloop server that asks for one, to nobody else, and is never shown.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import socket
import stat
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from slideloop import __version__
from slideloop.diagnosis.finding import Finding
from slideloop.errors import InvalidInputError
from slideloop.settings import TOKEN_VARIABLE

CONNECT_S = 0.4
"""Seconds until a server that says nothing at all counts as not there."""

ANSWER_S = 3.0
"""Seconds for each answer of a server that took the connection."""

_MOST_BYTES = 8 * 2**20
_API = "/api/v1"
_TOKEN = re.compile(r"[\x21-\x7e]{1,512}")


@dataclass
class Server:
    """What was learnt of a server.

    Attributes
    ----------
    url : str
    is_here : bool
        Whether it runs on this machine, so that what is found here holds for it too.
    info : dict or None
        Its `/info`; None if it could not be asked.
    slides : list of dict or None
        The slides it lists; None if it could not be asked.
    findings : list of Finding
    """

    url: str
    is_here: bool
    info: dict[str, Any] | None = None
    slides: list[dict[str, Any]] | None = None
    findings: list[Finding] = field(default_factory=list)

    def note(self, *finding: Any) -> None:
        """Add a finding: check, state, what was found, what to do."""
        self.findings.append(Finding(*finding))


@dataclass(frozen=True)
class Token:
    """A token and where it is from."""

    value: str = field(repr=False)
    source: str
    is_for_all: bool
    """Whether it may go to another machine: the workspace's is for its own server only."""


class _NoAnswerError(Exception):
    """A question that was not answered, with the state of things and the way out."""

    def __init__(self, found: str, todo: str) -> None:
        super().__init__(found)
        self.found, self.todo = found, todo


@dataclass(frozen=True)
class _Reply:
    status: int
    body: Any
    """The JSON of the body; None if it is none."""

    @property
    def problem(self) -> dict[str, Any] | None:
        """Our own form of an error, or None."""
        body = self.body
        is_ours = isinstance(body, dict) and isinstance(body.get("code"), str)
        return body if is_ours and self.status >= 400 else None


def ask_server(url: str, workspace: Path) -> Server:
    """Ask a server who it is and what it has.

    Parameters
    ----------
    url : str
        Such as `http://127.0.0.1:8765`.
    workspace : Path
        Where its token may lie.

    Returns
    -------
    Server
        After `CONNECT_S` at the latest if it is down.

    Raises
    ------
    InvalidInputError
        If `url` is none.
    """
    parts = _parts(url)
    server = Server(f"{parts.scheme}://{parts.netloc}", _is_loopback(str(parts.hostname)))
    try:
        _require_listener(parts)
        health = _get(parts, f"{_API}/health")
        if health.problem is not None:
            raise _refused(server.url, health.problem)
        if health.status != 200 or health.body != {"status": "ok"}:
            raise _NoAnswerError(
                f"What answers at {server.url} is not slideloop (status {health.status}).",
                "Another program has the port: give the server's address with --url, or start it "
                "on another port with: slideloop serve --port N.",
            )
        _learn(parts, server, workspace)
    except _NoAnswerError as err:
        server.note("server", "problem", err.found, err.todo)
    return server


def _learn(parts: SplitResult, server: Server, workspace: Path) -> None:
    """Ask who it is and which slides it lists, with the token where it wants one."""
    reply = _get(parts, f"{_API}/info")
    token = None
    if reply.status == 401 and reply.problem is not None:
        token = _find_token(server, workspace)
        if token is None:
            server.note("server", "ok", f"slideloop answers at {server.url}.")
            return
        reply = _get(parts, f"{_API}/info", token)
    if reply.status == 401 and token is not None:
        server.note("server", "ok", f"slideloop answers at {server.url}.")
        found = f"The server refuses the token from {token.source}."
        server.note("token", "problem", found, _where_a_token_is(server))
        return
    if reply.problem is not None:
        raise _refused(server.url, reply.problem)
    if reply.status != 200 or not isinstance(reply.body, dict) or "version" not in reply.body:
        raise _NoAnswerError(
            f"What answers at {server.url} does not say what it is (status {reply.status}).",
            "Give the address of a slideloop server with --url.",
        )
    server.info = reply.body
    _note_version(server, str(reply.body["version"]))
    if token is not None:
        server.note("token", "ok", f"The server takes the token from {token.source}.")
    else:
        server.note("token", "ok", "The server wants no token.")
    slides = _get(parts, f"{_API}/slides", token)
    if slides.status == 200 and isinstance(slides.body, list):
        server.slides = slides.body


def _note_version(server: Server, version: str) -> None:
    found = f"slideloop {version} answers at {server.url}."
    if version == __version__:
        server.note("server", "ok", found)
    else:
        todo = "Stop the server and start it again, so that both are of one version."
        server.note("server", "warning", f"{found[:-1]}; this is {__version__}.", todo)


def _find_token(server: Server, workspace: Path) -> Token | None:
    """Find the token that a server wants; note it where there is none that may be sent."""
    token = read_token(workspace)
    if token is not None and not _TOKEN.fullmatch(token.value):
        found = f"What {token.source} holds is no token."
        server.note("token", "problem", found, _where_a_token_is(server))
        return None
    if token is not None and (server.is_here or token.is_for_all):
        return token
    server.note("token", "problem", "The server wants a token.", _where_a_token_is(server))
    return None


def _where_a_token_is(server: Server) -> str:
    place = "in the file token of its workspace, or the one given to it with --token-file"
    where = f"on that machine {place}" if not server.is_here else place
    return f"Set {TOKEN_VARIABLE} to the server's token: {where}."


def read_token(workspace: Path) -> Token | None:
    """Read the token from `SLIDELOOP_TOKEN`, else from the workspace; None if there is none."""
    value = os.environ.get(TOKEN_VARIABLE, "").strip()
    if value:
        return Token(value, TOKEN_VARIABLE, is_for_all=True)
    path = workspace / "token"
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return Token(value, str(path), is_for_all=False) if value else None


def token_file_findings(workspace: Path) -> list[Finding]:
    """Say whether the workspace's token can be read by others than its owner."""
    path = workspace / "token"
    try:
        mode = path.stat().st_mode
    except OSError:
        return []
    if os.name != "posix" or not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return []
    found = f"{path} can be read by other users (mode {stat.S_IMODE(mode):o})."
    return [Finding("token", "warning", found, f"Keep it to yourself: chmod 600 {path}")]


def _parts(url: str) -> SplitResult:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or "@" in parts.netloc or not url.isascii() or not url.isprintable():
        raise InvalidInputError(
            f"{url!r} is not the address of a server.",
            hint="Give one such as --url http://127.0.0.1:8765.",
        )
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _address(parts: SplitResult) -> tuple[str, int]:
    return str(parts.hostname), parts.port or (443 if parts.scheme == "https" else 80)


def _require_listener(parts: SplitResult) -> None:
    """Knock; looking up a name may take long, so a thread does it that is not waited for."""
    said: list[OSError | None] = []

    def knock() -> None:
        try:
            socket.create_connection(_address(parts), CONNECT_S).close()
        except OSError as err:
            said.append(err)
        else:
            said.append(None)

    thread = threading.Thread(target=knock, daemon=True)
    thread.start()
    thread.join(CONNECT_S)
    url, host = f"{parts.scheme}://{parts.netloc}", parts.hostname
    start = f"Start it with: slideloop serve --port {_address(parts)[1]}"
    if not said or isinstance(said[0], TimeoutError):
        found = f"{url} does not answer within {CONNECT_S:g} s."
        raise _NoAnswerError(found, f"{start}. Look also at the address, network and firewall.")
    if isinstance(said[0], socket.gaierror):
        raise _NoAnswerError(f"No machine named {host} is known.", "Correct --url.")
    if isinstance(said[0], ConnectionRefusedError):
        here = ", or have QuPath start it: Connect in its menu" if _is_loopback(str(host)) else ""
        raise _NoAnswerError(f"Nothing listens at {url}.", f"{start}{here}.")
    if said[0] is not None:
        reason = said[0].strerror or said[0]
        raise _NoAnswerError(f"{url} cannot be reached ({reason}).", f"{start}.")


def _get(parts: SplitResult, path: str, token: Token | None = None) -> _Reply:
    """Ask for a path; neither proxies nor redirections are followed."""
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    connection = kinds[parts.scheme](*_address(parts), timeout=ANSWER_S)
    headers = {"Accept": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.value}"
    url = f"{parts.scheme}://{parts.netloc}"
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        content = response.read(_MOST_BYTES)
    except TimeoutError as err:
        raise _NoAnswerError(
            f"{url} took the connection but did not answer within {ANSWER_S:g} s.",
            "Look at what the server says on its terminal; stop it and start it again.",
        ) from err
    except (OSError, http.client.HTTPException, ValueError) as err:
        raise _NoAnswerError(
            f"What listens at {url} does not answer as a web server ({type(err).__name__}).",
            "Another program has the port: give the server's address with --url.",
        ) from err
    finally:
        connection.close()
    try:
        return _Reply(response.status, json.loads(content))
    except (ValueError, RecursionError):
        return _Reply(response.status, None)


def _refused(url: str, problem: dict[str, Any]) -> _NoAnswerError:
    detail = str(problem.get("detail") or problem.get("title") or problem["code"])
    return _NoAnswerError(f"{url} refuses: {printable(detail)}", printable(problem.get("hint", "")))


def printable(text: object) -> str:
    """Return text of the server's that can do no harm on a terminal."""
    return "".join(char if char.isprintable() else "?" for char in str(text))[:500]
