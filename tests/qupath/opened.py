"""A QuPath with its windows on a screen of its own, driven by keys, judged by its state."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.groovy.jvm import LackingError
from tests.groovy.screen import Screen
from tests.qupath.installed import LIB, PROGRAMS, QuPath

STARTUP = LIB.parent / "startup.groovy"
_START_S, _ANSWER_S = 240, 90
_QUIET = {
    "showLicenseMessage": "false",
    "showStartupMessage": "false",
    "showExtensionManagerOnStartup": "false",
    "autoUpdateCheck": "NONE",
    "imageTypeSetting": "AUTO_ESTIMATE",
}


class Desk:
    """A screen with a window manager, which gives windows the focus.

    Raises
    ------
    LackingError
    """

    def __init__(self) -> None:
        if shutil.which("openbox") is None:
            raise LackingError("there is no openbox on the PATH: install openbox")
        self.screen = Screen(1600, 1000)
        command = ["openbox"]
        self._manager = subprocess.Popen(
            command, env=self.screen.environment, stderr=subprocess.DEVNULL
        )

    def close(self) -> None:
        """Take it away."""
        self._manager.terminate()
        self._manager.wait()
        self.screen.close()


class Opened:
    """One running QuPath with our start-up script.

    Parameters
    ----------
    qupath : QuPath
    desk : Desk
    home : Path
        Its user directory and preferences; kept over a restart.
    url : str
        Of the server.
    startup : Path
        Our start-up script.
    **environment : str
        Further variables of its environment.
    """

    def __init__(
        self,
        qupath: QuPath,
        desk: Desk,
        home: Path,
        url: str,
        startup: Path = STARTUP,
        **environment: str,
    ) -> None:
        self._qupath, self._desk, self._home = qupath, desk, home
        self._environment = {"TESTED_STARTUP": str(startup), **environment}
        self._options = f"-Duser.home={home} -Djava.util.prefs.userRoot={home}/prefs"
        user = home / "user"
        for folder in (user, home / "prefs"):
            folder.mkdir(exist_ok=True)
        self._preset(
            **_QUIET,
            userPath=str(user),
            startupScriptPath=str(PROGRAMS / "window.groovy"),
            slideloopUrl=url,
        )
        try:
            self.start()
        except BaseException:
            self.kill()
            raise

    def start(self) -> None:
        """Start it, and wait until the menu is there."""
        self._answers: queue.Queue[str] = queue.Queue()
        self._log: list[str] = []
        environment = {
            **self._desk.screen.environment,
            "HOME": str(self._home),
            "QP_HOME": str(self._home),
            "JAVA_TOOL_OPTIONS": self._options,
            **self._environment,
        }
        self._process = subprocess.Popen(
            [str(self._qupath.folder / "bin" / "QuPath")],
            env=environment,
            cwd=self._home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self.wait("app?.connection != null", _START_S)

    def do(self, code: str, **given: Any) -> Any:
        """Run Groovy code in the thread of the window, and return its value.

        Parameters
        ----------
        code : str
            It sees `gui` (QuPath's), `app` (ours, or null) and the map `given`.
        **given
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"code": code, "given": given}) + "\n")
        self._process.stdin.flush()
        try:
            answer = json.loads(self._answers.get(timeout=_START_S))
        except queue.Empty:
            raise AssertionError("".join(self._log[-60:])) from None
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def wait(self, code: str, timeout_s: float = _ANSWER_S) -> Any:
        """Wait until code has a true value, and return it."""
        return self.until(code, bool, timeout_s)

    def until(self, code: str, is_so: Callable[[Any], bool], timeout_s: float = _ANSWER_S) -> Any:
        """Wait until the value of code is as it should be, and return it."""
        end = time.monotonic() + timeout_s
        while True:
            value = self.do(code)
            if is_so(value):
                return value
            assert time.monotonic() < end, f"{code}: {value}\n{''.join(self._log[-80:])}"
            time.sleep(0.1)

    def press(self, *keys: str) -> None:
        """Press keys, as X names them, whichever window has the focus."""
        self._desk.screen.press(*keys)

    def focus(self, title: str) -> None:
        """Wait for a window whose title begins so, and give it the focus."""
        windows = "javafx.stage.Window.windows.find { it instanceof javafx.stage.Stage && "
        window = windows + f"it.title?.startsWith('{title}') && it.showing }}"
        self.wait(f"{window} != null")
        self.do(f"{window}.with {{ toFront(); requestFocus() }}; 1")
        self.wait(f"{window}.focused")

    def quit(self) -> None:
        """End it as its user does, whatever is not saved."""
        self.do("Thread.start { System.exit(0) }; 1")
        self._process.wait(_ANSWER_S)
        self._clear()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._process.kill()
        self._process.wait()
        self._clear()

    def _clear(self) -> None:
        self._listening.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _preset(self, **values: str) -> None:
        node = f"io.github.qupath/{self._qupath.version.rsplit('.', 1)[0]}"
        java = self._qupath.folder / "lib" / "runtime" / "bin" / "java"
        jars = f"{self._qupath.folder / 'lib' / 'app'}/*"
        program = ("groovy.ui.GroovyMain", str(PROGRAMS / "preset.groovy"), node)
        subprocess.run(
            [
                str(java),
                "-cp",
                jars,
                *program,
                *(f"{key}={value}" for key, value in values.items()),
            ],
            env={**os.environ, "JAVA_TOOL_OPTIONS": self._options},
            check=True,
            timeout=_ANSWER_S,
            capture_output=True,
        )

    def _listen(self) -> None:
        answers, log = self._answers, self._log
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("ANSWER "):
                answers.put(line.removeprefix("ANSWER "))
            else:
                log.append(line)
