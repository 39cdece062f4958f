"""The library compiles with every Groovy, type-checked: a misspelt method is found here."""

from __future__ import annotations

import subprocess

from tests.groovy.jvm import LIB, PROGRAMS, Groovy


def test_the_library_compiles_type_checked_and_a_slip_does_not(compiled: str) -> None:
    assert compiled == ""


def test_the_library_is_loaded_from_source_as_scripts_do(bare_groovy: Groovy) -> None:
    program = ("groovy.ui.GroovyMain", PROGRAMS / "load.groovy", LIB)
    command = [*bare_groovy.command(), *map(str, program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.returncode) == ("Server http://[::1]:8765", 0), done.stderr
