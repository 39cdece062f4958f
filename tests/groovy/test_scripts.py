"""The scripts that are run from QuPath: each compiles, and gives a command that there is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.groovy.jvm import LIB, Groovy

SCRIPTS = sorted(LIB.parent.glob("*.groovy"))
HEADLESS = "slideloop_project"
"""Runs without windows, and so is no command."""
COMMANDS = set(re.findall(r"new Command\('(\w+)'", (LIB / "slideloop/Commands.groovy").read_text()))


def test_every_script_compiles(bare_groovy: Groovy, tmp_path: Path) -> None:
    sources = tmp_path / "scripts"
    sources.mkdir()
    for script in SCRIPTS:
        shutil.copyfile(script, sources / script.name)
    assert bare_groovy.compile(("plain", sources, tmp_path / "classes")) == ""
    assert len(list((tmp_path / "classes").glob("*.class"))) == len(SCRIPTS)


def test_there_is_one_script_for_each_command_and_one_for_the_start() -> None:
    given = {}
    for script in (each for each in SCRIPTS if each.stem != HEADLESS):
        (call,) = re.findall(r"\.(start\(lib\)|run\(lib, '\w+'\))\n", script.read_text("utf-8"))
        given[script.stem] = call
    assert given.pop("startup") == "start(lib)"
    assert given == {name: f"run(lib, '{name}')" for name in COMMANDS}


def test_every_command_does_something() -> None:
    cases = re.findall(r"case '(\w+)':", (LIB / "slideloop/Commands.groovy").read_text("utf-8"))
    assert sorted(cases) == sorted(COMMANDS)
