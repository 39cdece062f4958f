"""QuPath as it is installed here: which ones, and how a script runs in one without windows."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "programs"
LIB = Path(__file__).parents[2] / "qupath_scripts" / "lib"
_SCRIPT_S = 280


@dataclass(frozen=True)
class QuPath:
    """One installation.

    Attributes
    ----------
    folder : Path
        As PAQUO_QUPATH_DIR names it: `bin/` and `lib/app/` are in it.
    """

    folder: Path

    @property
    def version(self) -> str:
        """Version by the name of its core jar, such as "0.7.0"."""
        (jar,) = (self.folder / "lib" / "app").glob("qupath-core-[0-9]*.jar")
        return jar.stem.removeprefix("qupath-core-")

    def run(self, program: str, home: Path, **settings: Any) -> dict[str, Any]:
        """Run a program of `programs/` without windows; return what it found.

        Parameters
        ----------
        program : str
        home : Path
            Where preferences go, and what the program is told and tells.
        **settings
            For the program, beside the library's folder.
        """
        told, out = home / "settings.json", home / "found.json"
        told.write_text(json.dumps({"lib": str(LIB), "out": str(out), **settings}), "utf-8")
        done = self.script(PROGRAMS / f"{program}.groovy", home, told)
        assert out.is_file(), done.stdout[-6000:] + done.stderr[-2000:]
        return json.loads(out.read_text("utf-8"))

    def script(self, script: Path, home: Path, *arguments: Any) -> subprocess.CompletedProcess[str]:
        """Run a script without windows; QuPath ends with 0 also where it threw.

        Parameters
        ----------
        script, home : Path
            `home` is where preferences go.
        *arguments
            For the script.
        """
        command = [self.folder / "bin" / "QuPath", "script", script]
        command += [part for each in arguments for part in ("--args", each)]
        return subprocess.run(
            [*map(str, command)],
            env={**os.environ, "QP_HOME": str(home), "HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=_SCRIPT_S,
            check=False,
        )


def installations() -> list[QuPath]:
    """Return those that PAQUO_QUPATH_DIR names, separated as a PATH is."""
    named = os.environ.get("PAQUO_QUPATH_DIR", "")
    return [QuPath(Path(folder)) for folder in named.split(os.pathsep) if folder]
