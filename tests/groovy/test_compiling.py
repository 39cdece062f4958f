"""The library compiles with every Groovy, type-checked: a misspelt method is found here."""

from __future__ import annotations

from pathlib import Path

from tests.groovy.jvm import Groovy


def test_the_library_compiles_type_checked(compiled: str) -> None:
    assert compiled == ""


def test_a_misspelt_method_is_refused(bare_groovy: Groovy, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "Slip.groovy").write_text("class Slip { int size(String s) { s.lenght() } }")
    complaints = bare_groovy.compile(tmp_path, "typed", "", source)
    assert "lenght" in complaints
