"""A review in a JVM of its own, as tests drive it: commands in, views out."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.groovy.jvm import Groovy

View = dict[str, Any]
_ANSWER_S, _WAIT_S = 60.0, 30.0


class ProblemError(Exception):
    """A Problem that a command ended with."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(fields.get("message"))
        self.code: str = fields["code"]
        self.fields = fields


class Driven:
    """One JVM with a server, an outbox and a review, made by `connect`.

    Parameters
    ----------
    groovy : Groovy
    program : str
        Of `programs/`; another one may show more.
    *given
        Its arguments.
    **options
        Of `Groovy.start`.
    """

    def __init__(
        self, groovy: Groovy, program: str = "driver", *given: Any, **options: Any
    ) -> None:
        self._child: subprocess.Popen[str] = groovy.start(program, *given, **options)
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._news = threading.Condition()
        self.views: list[View] = []
        self.events: list[dict[str, Any]] = []
        self.call_ms: list[float] = []
        """How long each call kept the UI thread, in ms."""

        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def view(self) -> View:
        """The newest view."""
        return self.views[-1]

    def connect(self, url: str, folder: Path, token: str | None = None, **settings: Any) -> int:
        """Make server, outbox and review; return how many lines were set aside."""
        self.views.clear()
        self.events.clear()
        return self.do("connect", url=url, folder=str(folder), token=token, **settings)

    def open(self, study: str, **expected: Any) -> View:
        """Open a study and wait for its round."""
        self.call("open", study)
        return self.wait(**{"state": "labelling", **expected})

    def call(self, name: str, *given: Any) -> None:
        """Call a method of the review in its UI thread; its view is there then."""
        self.call_ms.append(self.do(name, given=list(given)))

    def do(self, name: str, **fields: Any) -> Any:
        """Run a command and return what it found.

        Raises
        ------
        ProblemError
        """
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps({"do": name, **fields}) + "\n")
        self._child.stdin.flush()
        answer = self._answers.get(timeout=_ANSWER_S)
        assert answer["done"] == name
        if "problem" in answer:
            raise ProblemError(answer["problem"])
        return answer.get("found")

    def wait(
        self,
        is_so: Callable[[View], bool] | None = None,
        timeout_s: float = _WAIT_S,
        **expected: Any,
    ) -> View:
        """Wait for a newest view with these values of which `is_so` holds."""
        end = time.monotonic() + timeout_s
        with self._news:
            while True:
                view = self.views[-1] if self.views else {}
                fits = all(view.get(name) == value for name, value in expected.items())
                if view and fits and (is_so is None or is_so(view)):
                    return view
                left = end - time.monotonic()
                assert left > 0, f"Waited for {expected or is_so}, and last saw {view}"
                self._news.wait(left)

    def label(self, *names: str) -> list[str]:
        """Label one patch after the other; return their ids."""
        patches: list[str] = []
        for name in names:
            patches.append(self.view["patch"])
            self.call("label", name)
        return patches

    def kill(self) -> None:
        """End the JVM as a power cut does."""
        self._child.kill()
        self._end()

    def close(self) -> None:
        """End it in order."""
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
        self._end()

    def _end(self) -> None:
        self._child.wait()
        self._listener.join(10)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for text in self._child.stdout:
            line = json.loads(text)
            if "done" in line:
                self._answers.put(line)
                continue
            with self._news:
                if "view" in line:
                    self.views.append(line["view"])
                else:
                    self.events.append(line)
                self._news.notify_all()
