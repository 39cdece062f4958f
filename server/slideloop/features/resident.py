"""Features that stay on the card: a round that searches them again need not carry them there.

Owns which stores' rows are kept and when they make way. Knows nothing of networks or rounds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARE = 0.5
"""Part of the card's memory that features may take; the rest is for networks and their steps."""

_ROWS_AT_ONCE = 4096


class Rows(Protocol):
    """What is kept of a store."""

    id: str

    def features(self) -> NDArray[np.float16]:
        """Return full features, shape (n, channels, height, width)."""
        ...


class ResidentRows:
    """Full features of stores on a device, those used last as far as they fit.

    Safe from several threads.

    Parameters
    ----------
    device : torch.device
    capacity : int
        Bytes that may be taken.
    """

    def __init__(self, device: torch.device, capacity: int) -> None:
        self._device, self._capacity = device, capacity
        self._kept: OrderedDict[str, torch.Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def of_device(cls, device: torch.device) -> ResidentRows | None:
        """Return what a card may keep; None for a processor, which reads the store's own pages."""
        if device.type != "cuda":
            return None
        total = torch.cuda.get_device_properties(device).total_memory
        return cls(device, int(SHARE * total))

    def first(self, store: Rows, n: int) -> torch.Tensor | None:
        """Return the first n rows of a store, carried over as far as they are not there yet.

        Parameters
        ----------
        store : Rows
            Rows that were there once never change; their number may grow.
        n : int
            Of the rows that the store has.

        Returns
        -------
        Tensor of float16, shape (n, channels, height, width), or None
            On the device. None if they do not fit beside nothing else.
        """
        rows = store.features()
        n_bytes = n * rows[:1].nbytes
        if n_bytes > self._capacity:
            return None
        with self._lock:
            kept = self._kept.pop(store.id, None)
            known = 0 if kept is None else len(kept)
            if kept is None or known < n:
                self._make_room(n_bytes)
                grown = torch.empty((n, *rows.shape[1:]), dtype=torch.float16, device=self._device)
                if kept is not None:
                    grown[:known] = kept
                for start in range(known, n, _ROWS_AT_ONCE):
                    end = min(n, start + _ROWS_AT_ONCE)
                    # A copy: torch warns of a store's pages, which may not be written to.
                    grown[start:end] = torch.from_numpy(np.array(rows[start:end]))
                kept = grown
            self._kept[store.id] = kept
            return kept[:n]

    def _make_room(self, n_bytes: int) -> None:
        """Let go of what was used longest ago until so many bytes are free."""
        taken = sum(tensor.nbytes for tensor in self._kept.values())
        while self._kept and taken + n_bytes > self._capacity:
            _, gone = self._kept.popitem(last=False)
            taken -= gone.nbytes
