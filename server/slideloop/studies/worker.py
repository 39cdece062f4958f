"""The one thread in which the server computes, and what goes first in it.

Owns the order of the work. One thread, since each training and each index uses all processors by
itself; what is urgent runs inside what is long, wherever that breathes. Knows nothing of studies.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import sys
import threading
from collections.abc import Callable, Hashable
from contextlib import suppress

SHOW, TRAIN, PREDICT, INDEX, REST = range(5)
"""Priorities, the most urgent first; REST: of an index that has given way to the next one."""

NICENESS = 10
"""Of the worker's thread; 0 is usual, 19 the most patient."""

_log = logging.getLogger(__name__)


class Worker:
    """A queue of tasks and the thread that runs them; `close` it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: list[tuple[int, int, Hashable, Callable[[], None]]] = []
        self._queued: set[Hashable] = set()
        self._count = itertools.count()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="slideloop-work", daemon=True)
        self._thread.start()

    @property
    def closing(self) -> bool:
        """Whether the work is to end: a running task stops at its next step."""
        return self._closing

    def submit(self, priority: int, key: Hashable, function: Callable[[], None]) -> None:
        """Queue a task, from any thread; nothing happens once the worker is closing.

        Parameters
        ----------
        priority : int
            Lower ones go first; of equals, the earlier one.
        key : Hashable
            Name of the task: one that waits already is not queued a second time.
        function : callable
            What it raises is logged.
        """
        with self._changed:
            if self._closing or key in self._queued:
                return
            heapq.heappush(self._queue, (priority, next(self._count), key, function))
            self._queued.add(key)
            self._changed.notify_all()

    def breathe(self, below: int) -> None:
        """Run what waits and is more urgent, before this returns.

        Called by a task between its steps; in any other thread it does nothing.

        Parameters
        ----------
        below : int
            Priority of the caller: tasks of a lower number run.
        """
        if threading.current_thread() is not self._thread:
            return
        while (task := self._next(below)) is not None:
            _do(*task)

    def close(self) -> None:
        """Drop what waits, and wait for the running task; a second time does nothing."""
        with self._changed:
            self._closing = True
            self._queue.clear()
            self._queued.clear()
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        _step_back()
        while True:
            with self._changed:
                while not (self._queue or self._closing):
                    self._changed.wait()
                if self._closing:
                    return
            self.breathe(REST + 1)

    def _next(self, below: int) -> tuple[Hashable, Callable[[], None]] | None:
        with self._changed:
            if self._closing or not self._queue or self._queue[0][0] >= below:
                return None
            _, _, key, function = heapq.heappop(self._queue)
            self._queued.discard(key)
            return key, function


def _step_back() -> None:
    """Let requests go first on the processor, where a thread can have a priority of its own.

    Threads that PyTorch starts from this one inherit it.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _do(key: Hashable, function: Callable[[], None]) -> None:
    try:
        function()
    except Exception:
        _log.exception("The task %s failed.", key)
