"""The library compiles with every Groovy, type-checked: a misspelt method is found here."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.groovy.jvm import LIB, PROGRAMS, Groovy


def test_the_library_compiles_type_checked_and_a_slip_does_not(compiled: str) -> None:
    assert compiled == ""


def test_the_library_is_loaded_from_source_as_scripts_do(
    bare_groovy: Groovy, tmp_path: Path
) -> None:
    # Alone, a class may lack what it finds when all are compiled at once: a nested class, say.
    program = ("groovy.ui.GroovyMain", PROGRAMS / "load.groovy", LIB, tmp_path, "ReviewWindow")
    command = [*bare_groovy.command(), *map(str, program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.stdout, done.returncode) == ("Server http://[::1]:8765 closed\n", 0), done.stderr
    assert "slideloop" not in done.stderr
