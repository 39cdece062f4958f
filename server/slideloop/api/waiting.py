"""How many requests may wait, and for how long.

Owns the numbers of the server's threads: a waiting request holds one, and the others must stay
free for labels.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS = 48
"""Requests that are served at once."""

SEATS = 16
"""Of which so many may wait."""

LONGEST_WAIT_S = 60.0


class WaitingRoom:
    """A room with so many seats; who finds none is answered at once.

    Parameters
    ----------
    seats : int
        Requests that may wait at the same time.
    """

    def __init__(self, seats: int = SEATS) -> None:
        self._free = threading.BoundedSemaphore(seats)

    @contextmanager
    def seat(self, wait_s: float) -> Iterator[float]:
        """Take a seat for as long as the block runs, if the request would wait at all.

        Yields
        ------
        float
            Seconds to wait: `wait_s` between 0 and 60, or 0 when no seat is free.
        """
        wait_s = min(max(wait_s, 0.0), LONGEST_WAIT_S)
        if wait_s == 0 or not self._free.acquire(blocking=False):
            yield 0.0
            return
        try:
            yield wait_s
        finally:
            self._free.release()
