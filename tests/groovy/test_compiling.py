"""The library compiles with every Groovy, type-checked: a misspelt method is found here."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.groovy.jvm import LIB, PROGRAMS, Groovy


def test_the_library_compiles_type_checked(compiled: str) -> None:
    assert compiled == ""


def test_a_misspelt_method_is_refused(bare_groovy: Groovy, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "Slip.groovy").write_text("class Slip { int size(String s) { s.lenght() } }")
    complaints = bare_groovy.compile(tmp_path, "typed", "", source)
    assert "lenght" in complaints


def test_the_library_is_loaded_from_source_as_scripts_do(bare_groovy: Groovy) -> None:
    command = [*bare_groovy.command(), str(PROGRAMS / "load.groovy"), str(LIB)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.returncode) == ("Server http://[::1]:8765", 0), done.stderr
