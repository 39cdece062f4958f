"""The record of what was tried in a real QuPath: qupath_scripts/TESTED.json.

A run of all tests of this folder that passes in a QuPath of each line writes it. Owns what the
record holds and when a run deserves one; knows nothing of what the tests do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

LINES = ("0.5", "0.6", "0.7")
"""Lines of QuPath that the scripts promise to work in."""

NAME = "TESTED.json"


def hashes(scripts: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder by its path, the record itself left out."""
    files = sorted(path for path in scripts.rglob("*") if path.is_file() and path.name != NAME)
    return {
        path.relative_to(scripts).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def changed(scripts: Path) -> list[str]:
    """Return the files that are not as they were when they were tried, new and lost ones too."""
    tried = json.loads((scripts / NAME).read_text(encoding="utf-8"))["scripts"]
    now = hashes(scripts)
    return sorted(name for name in tried.keys() | now if tried.get(name) != now.get(name))


def write(scripts: Path, versions: Iterable[str], day: str) -> None:
    """Record that the files as they are were tried in some versions of QuPath on a day."""
    record = {"date": day, "qupath": sorted(versions), "scripts": hashes(scripts)}
    (scripts / NAME).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


class Run:
    """What became of the tests of this folder in one run of pytest."""

    def __init__(self, modules: Iterable[str]) -> None:
        """Start a run that has to go through some test modules."""
        self._missing = set(modules)
        self._passed: dict[str, int] = {}
        self._reasons: list[str] = []

    def saw(self, module: str, version: str | None, name: str, outcome: str) -> None:
        """Take the outcome of a test: "passed", or another, in a version of QuPath."""
        self._missing.discard(module)
        if outcome != "passed":
            self._reasons.append(f"{name} {outcome}")
        elif version:
            self._passed[version] = self._passed.get(version, 0) + 1

    def left_out(self, n: int) -> None:
        """Take it that tests were not selected."""
        if n:
            self._reasons.append(f"{n} tests were left out")

    @property
    def versions(self) -> list[str]:
        """Versions of QuPath in which something passed."""
        return sorted(self._passed)

    @property
    def objections(self) -> list[str]:
        """Why this run deserves no record; empty if it does."""
        lines = {".".join(version.split(".")[:2]) for version in self._passed}
        absent = [f"no QuPath {line}" for line in LINES if line not in lines]
        unequal = ["not the same tests in each"] if len(set(self._passed.values())) > 1 else []
        unseen = [f"{name} was not run" for name in sorted(self._missing)]
        return [*self._reasons, *absent, *unequal, *unseen]
