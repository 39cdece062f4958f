"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Attributes
    ----------
    check : str
        What was looked at, in one word.
    state : {"ok", "warning", "problem"}
        A warning may be as the user wants it; a problem keeps something from working.
    found : str
        One sentence with the facts.
    todo : str
        What the user can do; empty where nothing is to be done.
    """

    check: str
    state: State
    found: str
    todo: str = ""


def size(n_bytes: float) -> str:
    """Say a number of bytes with a unit that leaves one to three digits before the point."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
