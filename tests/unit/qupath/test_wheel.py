from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_a_wheel_holds_the_scripts_for_qupath_and_their_library(tmp_path: Path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = "slideloop/qupath/scripts/"
    with zipfile.ZipFile(wheel) as packed:
        held = {n.removeprefix(inside) for n in packed.namelist() if n.startswith(inside)}
    scripts = ROOT / "qupath_scripts"
    there = {str(p.relative_to(scripts)) for p in scripts.rglob("*") if p.is_file()}
    assert {"startup.groovy", "lib/slideloop/Server.groovy"} <= held == there
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "unpacked")
    installed = subprocess.run(
        [sys.executable, "-P", "-m", "slideloop.cli.main", "qupath", "install",
         "--scripts-dir", str(tmp_path / "scripts")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "unpacked")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    assert (tmp_path / "scripts" / "lib" / "slideloop" / "Server.groovy").is_file()
