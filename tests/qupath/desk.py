"""A QuPath with its windows, on a screen of its own, as tests drive it: by Groovy and by keys."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.groovy.screen import Screen
from tests.qupath.installed import LIB, PROGRAMS, QuPath

_START_S, _WAIT_S, _END_S = 240.0, 60.0, 20.0


class Desk:
    """One running QuPath with slideloop's menu, connected to a server.

    Parameters
    ----------
    qupath : QuPath
    home : Path
        Where its preferences and user directory are.
    url : str
        Of the server.
    """

    def __init__(self, qupath: QuPath, home: Path, url: str) -> None:
        self.screen = Screen(1600, 1000)
        self._helpers: list[subprocess.Popen[bytes]] = []
        environment = {**self.screen.environment, "HOME": str(home), "QP_HOME": str(home)}
        if shutil.which("openbox"):
            # Without a window manager no window is in front of another.
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._helpers.append(subprocess.Popen(["openbox"], env=environment, **quiet))
        port, settings = home / "port", home / "driven.json"
        told = {"url": url, "port": str(port), "user": str(home / "user")}
        told["startup"] = str(LIB.parent / "startup.groovy")
        (home / "user").mkdir()
        settings.write_text(json.dumps(told), "utf-8")
        options = {
            "qupath.startup.script": PROGRAMS / "driven.groovy",
            "slideloop.driven": settings,
            "java.util.prefs.userRoot": home,
            "user.home": home,
        }
        environment["JAVA_TOOL_OPTIONS"] = " ".join(f"-D{name}={v}" for name, v in options.items())
        self.log = home / "qupath.log"
        with self.log.open("wb") as log:
            command = [str(qupath.folder / "bin" / "QuPath"), "--quiet"]
            both = {"stdout": log, "stderr": subprocess.STDOUT}
            self._child = subprocess.Popen(command, env=environment, **both)
        self._wait(port.is_file, "QuPath starts", _START_S)
        self._socket = socket.create_connection(("127.0.0.1", int(port.read_text())))
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self.wait("gui.stage.properties['slideloop']?.connection != null", _START_S)

    def __call__(self, code: str, *, fx: bool = True) -> Any:
        """Evaluate Groovy, in the JavaFX thread unless told otherwise; return its result."""
        self._socket.sendall((json.dumps({"code": code, "fx": fx}) + "\n").encode())
        said = json.loads(self._lines.readline())
        assert "error" not in said, f"{said['error']}\n{code}"
        return said["result"]

    def wait(self, code: str, timeout_s: float = _WAIT_S) -> Any:
        """Evaluate Groovy until its result is true; return it."""
        found: list[Any] = [None]

        def is_so() -> bool:
            found[0] = self(code)
            return bool(found[0])

        self._wait(is_so, code, timeout_s)
        return found[0]

    def texts(self, title: str) -> list[str]:
        """Return what can be read in the window with these words in its title; empty if none is."""
        return self(f"kept.texts(kept.window('{title}'))")

    def reads(self, title: str, words: str, timeout_s: float = _WAIT_S) -> str:
        """Wait until something with these words can be read in a window; return all of it."""
        seen = [""]

        def is_so() -> bool:
            seen[0] = "\n".join(self.texts(title)).replace("\u00a0", " ")
            return words in seen[0]

        self._wait(is_so, lambda: f"'{words}' in: {seen[0]}", timeout_s)
        return seen[0]

    def press(self, title: str, *keys: str) -> None:
        """Press real keys when a window has the focus."""
        self.wait(f"kept.window('{title}')?.focused")
        self.screen.press(*keys)

    def gone(self, title: str) -> None:
        """Wait until no such window is there."""
        self.wait(f"kept.window('{title}') == null")

    def shoot(self, file: Path) -> None:
        """Keep what is on the screen as a picture, where ImageMagick is."""
        if shutil.which("import"):
            command = ["import", "-window", "root", str(file)]
            subprocess.run(command, env=self.screen.environment, check=False)

    def close(self) -> None:
        """End it all."""
        self._socket.close()
        for child in [self._child, *self._helpers]:
            child.terminate()
            try:
                child.wait(_END_S)
            except subprocess.TimeoutExpired:
                child.kill()
        self.screen.close()

    def _wait(self, is_so: Callable[[], bool], what: Any, timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() > end or self._child.poll() is not None:
                picture = self.log.with_name("failed.png")
                self.shoot(picture)
                said = what() if callable(what) else what
                tail = self.log.read_text("utf-8", "replace")[-3000:]
                raise AssertionError(f"Not in {timeout_s:g} s: {said}\n{tail}\n{picture}")
            time.sleep(0.1)
