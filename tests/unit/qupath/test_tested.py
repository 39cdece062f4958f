"""A record of what was tried in QuPath is written when it is deserved, and goes stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.qupath.tested import NAME, Run, changed, write

VERSIONS = ("0.5.1", "0.6.0", "0.7.0")
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    (tmp_path / "startup.groovy").write_text("start(lib)\n")
    (tmp_path / "lib" / "App.groovy").write_text("class App {}\n")
    write(tmp_path, VERSIONS, "2026-01-02")
    return tmp_path


def play(run: Run, outcome: str = "passed", versions: tuple[str, ...] = VERSIONS) -> Run:
    for version in versions:
        run.saw("test_a.py", version, f"test_it[{version}]", outcome)
    return run


def test_a_record_holds_while_no_file_changes(scripts: Path):
    assert changed(scripts) == []
    record = json.loads((scripts / NAME).read_text())
    assert (record["date"], record["qupath"]) == ("2026-01-02", list(VERSIONS))
    assert list(record["scripts"]) == ["lib/App.groovy", "startup.groovy"]


def test_changed_new_and_lost_files_are_named(scripts: Path):
    (scripts / "lib" / "App.groovy").write_text("class App { int n }\n")
    (scripts / "lib" / "New.groovy").write_text("class New {}\n")
    (scripts / "startup.groovy").unlink()
    assert changed(scripts) == ["lib/App.groovy", "lib/New.groovy", "startup.groovy"]


def test_a_run_that_passed_in_each_line_deserves_a_record():
    run = play(Run(["test_a.py"]))
    assert (run.objections, run.versions) == ([], list(VERSIONS))


@pytest.mark.parametrize("outcome", ["failed", "skipped"])
def test_a_test_that_did_not_pass_forbids_it(outcome: str):
    run = play(Run(["test_a.py"]))
    run.saw("test_a.py", "0.7.0", "test_other[0.7.0]", outcome)
    assert run.objections == [f"test_other[0.7.0] {outcome}"]


def test_so_do_a_line_a_module_and_a_test_that_were_not_run():
    run = play(Run(["test_a.py", "test_b.py"]), versions=("0.6.0", "0.7.0"))
    run.left_out(0)
    assert run.objections == ["no QuPath 0.5", "test_b.py was not run"]
    run.left_out(2)
    assert run.objections[0] == "2 tests were left out"


def test_so_does_a_version_in_which_fewer_tests_were_run():
    run = play(Run(["test_a.py"]))
    run.saw("test_a.py", "0.7.0", "test_more[0.7.0]", "passed")
    assert run.objections == ["not the same tests in each"]


def test_the_scripts_are_those_that_were_tried_and_the_readme_says_in_what():
    scripts = CHECKOUT / "qupath_scripts"
    assert changed(scripts) == [], "run tests/qupath with each QuPath in PAQUO_QUPATH_DIR"
    record = json.loads((scripts / NAME).read_text())
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in readme.splitlines() if line.startswith("| 0.")]
    assert rows == record["qupath"]
    assert f"tried on {record['date']}" in readme
