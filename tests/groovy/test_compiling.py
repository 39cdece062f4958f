"""The library compiles with every Groovy, type-checked: a misspelt method is found here."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.groovy.jvm import LIB, PROGRAMS, Groovy


def test_the_library_compiles_type_checked_and_a_slip_does_not(compiled: str) -> None:
    assert compiled == ""


def test_every_class_can_be_loaded(groovy: Groovy) -> None:
    # A compiler may write what the machine then refuses: Groovy 4.0 does with some closures.
    command = groovy.command(groovy.classes, groovy.stubs)
    done = subprocess.run(
        [*command, "verify", str(groovy.classes / "slideloop")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200


def test_the_library_is_loaded_from_source_as_scripts_do(
    bare_groovy: Groovy, tmp_path: Path
) -> None:
    # Alone, a class may lack what it finds when all are compiled at once: a nested class, say.
    program = ("groovy.ui.GroovyMain", PROGRAMS / "load.groovy", LIB, tmp_path, "ReviewWindow")
    command = [*bare_groovy.command(), *map(str, program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.stdout, done.returncode) == ("Server http://[::1]:8765 closed\n", 0), done.stderr
    assert "slideloop" not in done.stderr
