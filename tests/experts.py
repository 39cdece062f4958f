"""Experts who label through HTTP and do not give up: what the server acknowledged is remembered.

Each has a thread. A request whose answer was lost is sent again, the same bytes with the same event
id, until it is answered; an answer other than 2xx ends the expert, and the test.
"""

from __future__ import annotations

import collections
import http.client
import json
import random
import threading
import time
import uuid
import zlib
from dataclasses import dataclass, field
from typing import Any

CLASSES = ("Tumor", "Normal")
API = "/api/v1"

_SETTLED_S = 60.0
"""How long a server may take to a round's next patches, from its latest start on."""


class RefusedError(AssertionError):
    """An answer that no expert should get."""


@dataclass(frozen=True)
class Acknowledged:
    """A change of a study that the server answered with 2xx."""

    study: str
    event_id: str
    kind: str
    labels: tuple[tuple[str, str], ...]
    """Pairs of patch and label, of a label request."""

    seq: int
    hash: str
    n_sent: int


@dataclass
class Memory:
    """What all experts together were told, safe from several threads."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    sent: set[str] = field(default_factory=set)
    """Event ids that were ever used."""

    failures: list[str] = field(default_factory=list)
    n_lost: int = 0
    """Answers that never came."""

    lock: threading.Lock = field(default_factory=threading.Lock)

    def notes(self) -> dict[str, list[Acknowledged]]:
        """Return by study what was acknowledged up to now."""
        found: dict[str, list[Acknowledged]] = collections.defaultdict(list)
        with self.lock:
            for note in self.acknowledged:
                found[note.study].append(note)
        return found


class Sender:
    """One connection at a time to a server that comes and goes."""

    def __init__(self, port: int, memory: Memory) -> None:
        self._port, self._memory = port, memory
        self._connection: http.client.HTTPConnection | None = None
        self.give_up = threading.Event()
        self.lost_at = 0.0
        """When an answer was last lost, on the monotonic clock."""

    def get(self, path: str) -> Any:
        """Return the JSON at a path."""
        return json.loads(self._until_answered("GET", path, None)[0])

    def lines(self, path: str) -> list[bytes]:
        """Return the lines at a path."""
        return self._until_answered("GET", path, None)[0].splitlines()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Send what changes no study."""
        return json.loads(self._until_answered("POST", path, body)[0])

    def change(
        self,
        method: str,
        path: str,
        body: dict[str, Any],
        labels: tuple[tuple[str, str], ...] = (),
    ) -> Any:
        """Send a change until it is answered, and remember the receipt."""
        event_id = str(uuid.uuid4())
        with self._memory.lock:
            self._memory.sent.add(event_id)
        content, n_sent = self._until_answered(method, path, body | {"event_id": event_id})
        answer = json.loads(content)
        seq, head = answer["journal"]["seq"], answer["journal"]["hash"]
        _, noun, *rest = path.split("/")
        study, kind = (rest[0], rest[1]) if rest else (answer["id"], noun)
        note = Acknowledged(study, event_id, kind, labels, seq, head, n_sent)
        with self._memory.lock:
            self._memory.acknowledged.append(note)
        return answer

    def _until_answered(self, method: str, path: str, body: Any) -> tuple[bytes, int]:
        content = None if body is None else json.dumps(body).encode()
        n_sent = 0
        while True:
            try:
                status, answer = self._once(method, path, content)
                n_sent += 1
            except (OSError, http.client.HTTPException) as err:
                self.lost_at = time.monotonic()
                if not isinstance(err, ConnectionRefusedError):
                    n_sent += 1
                    with self._memory.lock:
                        self._memory.n_lost += 1
                if self.give_up.is_set():
                    raise
                time.sleep(0.05)
                continue
            if 200 <= status < 300:
                return answer, n_sent
            said = answer.decode(errors="replace")
            raise RefusedError(f"{method} {path} {body} (sent {n_sent} times): {status} {said}")

    def _once(self, method: str, path: str, content: bytes | None) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=90)
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            self._connection.request(method, API + path, content, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Expert(threading.Thread):
    """Labels study after study by the patches' ids, until told to stop.

    Parameters
    ----------
    port : int
    memory : Memory
    slide : str
        Id of an indexed slide.
    queries : dict of str to list
        Rectangles on tissue by class.
    settings : dict
        Of the studies: engine, training and so on.
    seed : int
    undo_share : float
        How many of the labels are followed by an undo.
    """

    def __init__(
        self,
        port: int,
        memory: Memory,
        slide: str,
        queries: dict[str, list[tuple[int, int, int, int]]],
        settings: dict[str, Any],
        seed: int,
        undo_share: float = 0.03,
    ) -> None:
        super().__init__(daemon=True, name=f"expert-{seed}")
        self.sender = Sender(port, memory)
        self.studies: list[str] = []
        self._memory, self._slide, self._queries = memory, slide, queries
        self._settings, self._undo_share = settings, undo_share
        self._random = random.Random(seed)
        self._is_told_to_stop = threading.Event()

    def tell_to_stop(self) -> None:
        """Let it stop when what it has begun is answered."""
        self._is_told_to_stop.set()

    def run(self) -> None:
        try:
            while not self._is_told_to_stop.is_set():
                self._label_a_study()
        except Exception as err:
            with self._memory.lock:
                self._memory.failures.append(f"{self.name}: {type(err).__name__}: {err}")
        finally:
            self.sender.close()

    def _label_a_study(self) -> None:
        body = {"slides": [self._slide], "mode": "classes", "classes": CLASSES} | self._settings
        study = self.sender.change("POST", "/studies", body)["id"]
        self.studies.append(study)
        self._query(study)
        begun = time.monotonic()
        while not self._is_told_to_stop.is_set():
            found = self.sender.get(f"/studies/{study}/round?wait=1")
            if found["notes"] and found["state"] in {"indexing", "training"}:
                raise RefusedError(f"The study does not get on: {found['notes']}")
            if found["state"] == "labelling":
                self._label_a_round(study, found)
                begun = time.monotonic()
            elif found["state"] == "session_over":
                self._query(study)
            elif found["state"] == "exhausted":
                return
            elif time.monotonic() - max(begun, self.sender.lost_at) > _SETTLED_S:
                raise RefusedError(f"The study is {found['state']} for more than {_SETTLED_S} s.")

    def _query(self, study: str) -> None:
        label = self._random.choice(CLASSES)
        x, y, width, height = self._random.choice(self._queries[label])
        rectangle = {"x": x, "y": y, "width": width, "height": height}
        body = {"slide": self._slide, "label": label, **rectangle}
        self.sender.change("POST", f"/studies/{study}/queries", body)

    def _label_a_round(self, study: str, found: dict[str, Any]) -> None:
        round_id = found["round_id"]
        left = [p["id"] for p in found["patches"] if p["id"] not in found["labels"]]
        if self._random.random() < 0.3:
            self._label(study, round_id, [(patch, self._judge(patch)) for patch in left])
            return
        for patch in left:
            self._label(study, round_id, [(patch, self._judge(patch))])
            if self._random.random() < self._undo_share:
                self.sender.change("POST", f"/studies/{study}/undo", {"scope": "last"})
                return
            if self._is_told_to_stop.is_set():
                return

    def _label(self, study: str, round_id: str, labels: list[tuple[str, str]]) -> None:
        path = f"/studies/{study}/labels"
        if len(labels) == 1 and self._random.random() < 0.8:
            ((patch, label),) = labels
            body = {"label": label, "round_id": round_id, "reader": self.name}
            self.sender.change("PUT", f"{path}/{patch}", body, tuple(labels))
            return
        given = [{"patch": patch, "label": label} for patch, label in labels]
        body = {"round_id": round_id, "labels": given, "reader": self.name}
        self.sender.change("POST", path, body, tuple(labels))

    def _judge(self, patch: str) -> str:
        """Both classes in every round, at times neither."""
        if self._random.random() < 0.05:
            return self._random.choice(("unsure", "exclude"))
        return CLASSES[zlib.crc32(patch.encode()) % 2]
