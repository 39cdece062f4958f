"""The review window in a JVM of its own, on a screen of its own, as tests drive it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from tests.groovy.driven import Driven
from tests.groovy.jvm import Groovy
from tests.groovy.screen import Screen


class Windowed(Driven):
    """One JVM with a review window.

    Parameters
    ----------
    groovy : Groovy
    screen : Screen
    slide_png : Path
        The pixels of the slide.
    slide : str
        Its id at the server.
    """

    def __init__(self, groovy: Groovy, screen: Screen, slide_png: Path, slide: str) -> None:
        self.screen = screen
        arguments = (slide_png, slide)
        super().__init__(groovy, "window", *arguments, env=screen.environment)

    def show(self, url: str, folder: Path, **settings: Any) -> None:
        """Make server, outbox, review and window, and wait until keys reach it."""
        self.connect(url, folder, **settings)
        self.see(lambda seen: seen["focused"])

    def see(self, is_so: Callable[[dict[str, Any]], bool], timeout_s: float = 20) -> dict[str, Any]:
        """Wait until what can be seen is so, and return it."""
        end = time.monotonic() + timeout_s
        while True:
            seen = self.do("seen")
            if is_so(seen):
                return seen
            assert time.monotonic() < end, seen
            time.sleep(0.02)

    def says(self, words: str, timeout_s: float = 20) -> dict[str, Any]:
        """Wait until something with these words can be read in the window."""
        return self.see(lambda seen: any(words in text for text in seen["texts"]), timeout_s)

    def look(self) -> None:
        """Look at the patch as long as somebody must before keys and clicks count."""
        self.see(lambda seen: seen["is_seen"])

    def press(self, *keys: str) -> None:
        """Press keys, looking at each patch before."""
        for key in keys:
            self.look()
            self.press_at_once(key)

    def press_at_once(self, *keys: str, delay_ms: int = 12) -> None:
        """Press keys, and wait until they have arrived."""
        n = len(self.do("seen")["presses"])
        self.screen.press(*keys, delay_ms=delay_ms)
        n_strokes = len(keys) + sum("+" in key for key in keys)  # Ctrl is a key too
        self.see(lambda seen: len(seen["presses"]) == n + n_strokes)

    def click(self, what: str, times: int = 1, **which: Any) -> None:
        """Click on a thumbnail, a row of the legend, or a button, and wait until it has arrived."""
        place = self.do(what, **which)
        n = self.do("seen")["n_clicks"]
        self.screen.click(place, times)
        self.see(lambda seen: seen["n_clicks"] == n + times)

    def picture(self, scale: int, folder: Path) -> Image.Image:
        """Return one of the three pictures as it is on the screen."""
        file = folder / f"picture-{scale}.png"
        self.do("picture", scale=scale, file=str(file))
        with Image.open(file) as picture:
            return picture.convert("RGB")
