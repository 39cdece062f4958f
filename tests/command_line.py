"""The command line as tests call it: in this process, where only its words and files matter."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from slideloop.cli.main import main

QUICK = ("--weights", "random", "--encoder", "squeezenet1_1", "--patch", "96")
"""Options with which a small generated slide is indexed in two seconds."""

_NOTES = ("WARNING: random weights.", "Custom weights:", "Indexing ", "Playing ")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: its exit code and what it said."""

    code: int
    out: str
    err: str

    def complaints(self) -> list[str]:
        """Lines on stderr beside progress and the note on weights."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        return [line for line in lines if not line.startswith(_NOTES)]


def slideloop(*arguments: Any) -> Outcome:
    """Run a command in this process; whatever it does not turn into an exit code comes through."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["slideloop", *map(str, arguments)]
    with (
        patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def left_in(folder: Path) -> list[str]:
    """Everything below a folder, by relative name; empty if there is no such folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
