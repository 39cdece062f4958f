"""What the doctor says of a QuPath project and of QuPath."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slideloop.diagnosis.project import check_project, check_qupath


def test_a_real_project_is_read_with_the_version_that_wrote_it(shared_data: Path):
    folder = shared_data / "qupath_projects" / "v0.6.0-rc3"
    finding = check_project(folder)
    assert finding.state == "ok"
    assert finding.found.endswith("107 images, written by QuPath 0.6.0-rc3.")
    assert check_project(folder / "project.qpproj") == finding


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.qpproj", None, "There is no project"),
        ("a.json", "{}", "is not a .qpproj file"),
        ("a.qpproj", "", "is damaged"),
        ("a.qpproj", "[" * 100_000, "is damaged"),
        ("a.qpproj", "[]", "lists no images"),
        ("a.qpproj", '{"images": 3}', "lists no images"),
    ],
    ids=["missing", "another ending", "empty", "deep", "a list", "no images"],
)
def test_what_is_no_project_is_a_problem(
    tmp_path: Path, name: str, content: str | None, words: str
):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    finding = check_project(path)
    assert finding.state == "problem"
    assert words in finding.found


def test_a_folder_without_a_project_is_a_problem(tmp_path: Path):
    assert check_project(tmp_path).state == "problem"


def test_a_project_without_a_version_is_read_all_the_same(tmp_path: Path):
    (tmp_path / "project.qpproj").write_text(json.dumps({"images": []}))
    assert "unknown version" in check_project(tmp_path).found


@pytest.mark.parametrize(
    ("version", "state"), [("0.4.4", "problem"), ("0.5.1", "ok"), ("0.7.0", "ok")]
)
def test_a_qupath_too_old_for_the_scripts_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, state: str
):
    (tmp_path / "lib" / "app").mkdir(parents=True)
    (tmp_path / "lib" / "app" / f"qupath-app-{version}.jar").touch()
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path))
    finding = check_qupath()
    assert (finding.state, version in finding.found) == (state, True)


def test_a_variable_that_names_no_qupath_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(tmp_path))
    assert check_qupath().state == "problem"
