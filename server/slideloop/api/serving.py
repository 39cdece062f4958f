"""The server in front of the app: its socket, its threads, its limits, and its log.

Owns waitress. What waitress refuses by itself, before the app sees a request, is said as
problem+json too.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import select
import socket
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import ErrorTask

from slideloop.api.problems import PROBLEM_TYPE, escaped, problem_of_http
from slideloop.api.schemas import MAX_BODY_BYTES
from slideloop.api.waiting import THREADS
from slideloop.errors import InvalidInputError

if TYPE_CHECKING:
    from flask import Flask

MOST_CONNECTIONS = 256
IDLE_S = 120
"""Seconds after which a connection that asks for nothing is closed."""

GRACE_S = 2
"""Seconds that answers under way have when the server ends."""

MOST_HEADER_BYTES = 128 * 2**10
"""Above the longest path that the description allows: a character takes 12 bytes in a URL."""

_BODY_MARGIN = 64 * 2**10
"""Above the limit of the app, so that the app is who refuses."""

_log = logging.getLogger("slideloop.api")


class _ProblemTask(ErrorTask):
    """What waitress refuses, in our form."""

    def execute(self) -> None:
        refused: Any = self.request
        request_id, status = uuid.uuid4().hex, int(refused.error.code)
        answer = problem_of_http(status, request_id)
        body = json.dumps(answer).encode()
        _log.info("%s refused before it was a request: %d", request_id, status)
        self.status = f"{status} {answer['title']}"
        self.response_headers = [
            ("Content-Type", PROBLEM_TYPE),
            ("X-Request-Id", request_id),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):
    error_task_class = _ProblemTask


def bind(host: str, port: int) -> socket.socket:
    """Take a port, without listening on it yet.

    Parameters
    ----------
    host : str
        Name or address.
    port : int
        0: a free one, which the socket then names.

    Raises
    ------
    InvalidInputError
        If it is in use, or the address is none of this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as err:
        raise InvalidInputError(
            f"The server cannot listen on {host!r}: no such address.", hint="Correct --host."
        ) from err
    try:
        if os.name == "nt":  # there the other option would let two servers share a port
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
    except OSError as err:
        taken.close()
        raise _not_bound(host, port, err) from err
    return taken


def _not_bound(host: str, port: int, err: OSError) -> InvalidInputError:
    if err.errno == errno.EADDRINUSE:
        return InvalidInputError(
            f"Port {port} of {host} is in use; perhaps slideloop runs already.",
            hint="Choose another with --port, or --port 0 for a free one.",
        )
    return InvalidInputError(
        f"The server cannot listen on port {port} of {host}: {err.strerror or err}.",
        hint="Choose another --port or --host.",
    )


def front(app: Flask, taken: socket.socket) -> Any:
    """Put waitress before an app; clients are heard from now on, and served by `run`.

    Parameters
    ----------
    app : Flask
    taken : socket
        As `bind` gives it.

    Returns
    -------
    waitress server
        For `run`.
    """
    server: Any = create_server(
        app,
        sockets=[taken],
        threads=THREADS,
        connection_limit=MOST_CONNECTIONS,
        channel_timeout=IDLE_S,
        max_request_header_size=MOST_HEADER_BYTES,
        max_request_body_size=MAX_BODY_BYTES + _BODY_MARGIN,
        asyncore_use_poll=hasattr(select, "poll"),
        clear_untrusted_proxy_headers=True,
        ident="slideloop",
    )
    server.channel_class = _Channel
    return server


def run(server: Any) -> None:
    """Serve until KeyboardInterrupt; what is being answered then may take a moment more.

    Requests that wait are not waited for: the process ends with their threads, which is why
    nothing closes what they hold.
    """
    with suppress(KeyboardInterrupt):
        _loop(server)
    server.accepting = False
    end = time.monotonic() + GRACE_S
    while time.monotonic() < end and any(
        channel.requests or channel.total_outbufs_len
        for channel in list(server.active_channels.values())
    ):
        _loop(server, timeout=0.05, count=1)
    server.task_dispatcher.set_thread_count(0)


def _loop(server: Any, **given: Any) -> None:
    """Let waitress read and write; its own `run` would not go on after an interrupt."""
    options = {"timeout": server.adj.asyncore_loop_timeout, **given}
    server.asyncore.loop(map=server._map, use_poll=server.adj.asyncore_use_poll, **options)


class OneLine(logging.Formatter):
    """A format of log lines in which nothing that a client sent can look like another line.

    The lines of a traceback follow the record's own, each behind a bar.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines."""
        first, *others = super().format(record).split("\n")
        return "\n".join([escaped(first), *(f"  | {escaped(line)}" for line in others)])
