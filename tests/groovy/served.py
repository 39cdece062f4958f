"""Servers that the Groovy tests talk to: a real one that comes and goes, and things in its way."""

from __future__ import annotations

import json
import select
import socket
import threading
import urllib.error
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from slideloop.api.app import ServeOptions, create_app
from slideloop.api.paths import Roots
from slideloop.api.serving import bind, front
from slideloop.studies.service import Service

API = "/api/v1"


class Api:
    """Another client of the server, for what the review does not do itself."""

    def __init__(self, url: str) -> None:
        self._url = url + API
        self.token: str | None = None

    def __call__(self, method: str, path: str, /, **body: Any) -> Any:
        """Send a request; return the JSON of the answer, a refusal's too."""
        data = json.dumps(body).encode() if method != "GET" else None
        request = urllib.request.Request(self._url + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refusal:
            return json.load(refusal)

    def events(self, study: str, *types: str) -> list[dict[str, Any]]:
        """Return the study's events of some types from its journal."""
        request = urllib.request.Request(f"{self._url}/studies/{study}/journal")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            events = [json.loads(line) for line in answer.read().decode().splitlines()]
        return [event for event in events if event["type"] in types]

    def labels(self, study: str) -> list[tuple[str, str]]:
        """Return all labels ever taken, (patch, label), in order."""
        events = self.events(study, "label")
        return [(event["data"]["patch"], event["data"]["label"]) for event in events]

    def query(self, study: str, slide: str, rectangle: tuple[float, ...], label: str) -> Any:
        """Start a session."""
        names = ("x", "y", "width", "height")
        sides = dict(zip(names, rectangle, strict=True))
        event_id = str(uuid.uuid4())
        path = f"/studies/{study}/queries"
        return self("POST", path, slide=slide, label=label, event_id=event_id, **sides)


class Served:
    """The real server over one service, on one port through all its stops and starts."""

    def __init__(self, service: Service, root: Path) -> None:
        self._service, self._roots = service, Roots([root])
        with bind("127.0.0.1", 0) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = Api(self.url)
        self._server: Any = None

    def start(self, token: str | None = None) -> None:
        """Listen, if it does not yet."""
        self.stop()
        self.api.token = token
        taken = bind("127.0.0.1", self.port)
        app = create_app(self._service, ServeOptions(self.port, self._roots, token))
        self._server = front(app, taken)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Break all connections off, and listen no more."""
        if self._server is None:
            return
        self._is_over.set()
        self._server.pull_trigger()
        self._thread.join(10)
        self._server.task_dispatcher.shutdown()
        self._server.asyncore.close_all(self._server._map, ignore_all=True)
        self._server = None

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._server.asyncore.loop(
                timeout=0.1, map=self._server._map, use_poll=hasattr(select, "poll"), count=1
            )


class Between:
    """A relay to a server that can lose answers: the request arrives, its answer does not."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.n_to_lose = 0
        self.n_lost = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self._port)) as there,
        ):
            is_change = False
            while True:
                ready, _, _ = select.select([client, there], [], [])
                for end in ready:
                    data = end.recv(65536)
                    if not data:
                        return
                    if end is client:
                        # The server checks by what name it was asked.
                        is_change = is_change or not data.startswith(b"GET")
                        there.sendall(data.replace(b":%d" % self.port, b":%d" % self._port))
                    elif is_change and self.n_to_lose:
                        self.n_to_lose -= 1
                        self.n_lost += 1
                        return
                    else:
                        client.sendall(data)
