"""`POST /imports` where there is no QuPath: what is refused before anything is started."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.groovy.conftest import Site, indexed_site, site
from tests.unit.qupath.projects import entry, write_project

from slideloop.qupath.project_file import ProjectFile

__all__ = ["indexed_site", "site"]


@pytest.fixture(scope="module")
def study(indexed_site: Site) -> str:
    """One that has learnt."""
    indexed_site.served.start()
    return indexed_site.learnt()


@pytest.fixture
def project(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectFile]:
    """A project with the slide, and no QuPath."""
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(site.root / "no-qupath"))
    folder = site.root / "project"
    yield write_project(folder, entry(1, "small.tif", (site.root / "small.tif").as_uri()))
    shutil.rmtree(folder)


def ask(site: Site, project: ProjectFile | Path, study: str, **more: Any) -> dict[str, Any]:
    file = project.file if isinstance(project, ProjectFile) else project
    return site.served.api("POST", "/imports", project=str(file), study=study, **more)


def test_without_qupath_it_says_what_to_do(site: Site, project: ProjectFile, study: str) -> None:
    refused = ask(site, project, study)
    assert (refused["status"], refused["code"]) == (422, "qupath_unusable")
    assert "PAQUO_QUPATH_DIR" in refused["hint"]
    assert site.served.api("GET", "/info")["qupath"] == {"found": False, "version": None}


def test_a_project_outside_of_the_servers_folders_is_not_there(
    site: Site, project: ProjectFile, study: str, tmp_path: Path
) -> None:
    outside = write_project(tmp_path, entry(1, "small.tif"))
    for file in (outside.file, project.folder, project.folder / "none.qpproj"):
        refused = ask(site, file, study)
        assert (refused["status"], refused["code"]) == (404, "file_not_found")


def test_another_file_is_no_project(site: Site, project: ProjectFile, study: str) -> None:
    assert project
    refused = ask(site, site.root / "small.tif", study)
    assert (refused["status"], refused["code"]) == (422, "project_unusable")


def test_there_is_no_mask_before_anything_was_learnt(site: Site, project: ProjectFile) -> None:
    refused = ask(site, project, site.study(query=False))
    assert refused["status"] == 409
    assert refused["code"] == "not_trained"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"slides": ["nothing"]}, 404),
        ({"classes": ["Stroma"]}, 422),
        ({"as": "cells"}, 422),
        ({"kind": "tiles"}, 422),
        ({"replace": "yes"}, 422),
    ],
)
def test_what_is_not_there_cannot_be_imported(
    site: Site, project: ProjectFile, study: str, more: dict[str, Any], status: int
) -> None:
    assert ask(site, project, study, **more)["status"] == status


def test_an_unknown_study_is_said(site: Site, project: ProjectFile) -> None:
    refused = ask(site, project, "nothing")
    assert (refused["status"], refused["code"]) == (404, "unknown_study")
