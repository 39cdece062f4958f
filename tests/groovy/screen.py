"""A screen of its own for windows, and the keyboard and mouse before it."""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.groovy.jvm import LackingError

_PROGRAMS = {"Xvfb": "xvfb", "xdotool": "xdotool"}


class Screen:
    """A virtual X display, with real key and button events.

    Parameters
    ----------
    width, height : int
        Pixels.

    Raises
    ------
    LackingError
        Without Xvfb or xdotool.
    """

    def __init__(self, width: int, height: int) -> None:
        for program, package in _PROGRAMS.items():
            if shutil.which(program) is None:
                raise LackingError(f"there is no {program} on the PATH: install {package}")
        reading, writing = os.pipe()
        size = ("-screen", "0", f"{width}x{height}x24")
        # The X server chooses a number that is free, and says which.
        command = ["Xvfb", "-displayfd", str(writing), *size, "-nolisten", "tcp"]
        self._server = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
        os.close(writing)
        with os.fdopen(reading) as said:
            number = said.readline().strip()
        if not number:
            raise LackingError("Xvfb does not start")
        self.environment = {**os.environ, "DISPLAY": f":{number}"}

    def close(self) -> None:
        """Take the screen away."""
        self._server.terminate()
        self._server.wait()

    def press(self, *keys: str, delay_ms: int = 12) -> None:
        """Press and let go one key after the other, named as X names them."""
        self._do("key", "--delay", str(delay_ms), *keys)

    def hold(self, key: str) -> None:
        """Press a key and keep it down: it repeats."""
        self._do("keydown", key)

    def let_go(self, key: str) -> None:
        """Let go of a key."""
        self._do("keyup", key)

    def click(self, place: tuple[float, float], times: int = 1) -> None:
        """Move the mouse there and press its left button, the second time soon after the first."""
        x, y = (str(round(side)) for side in place)
        self._do("mousemove", x, y, "click", "--repeat", str(times), "--delay", "20", "1")

    def _do(self, *words: str) -> None:
        subprocess.run(["xdotool", *words], env=self.environment, check=True, timeout=20)
