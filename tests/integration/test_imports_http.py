"""`POST /imports` where there is no QuPath: what is refused before anything is started."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.groovy.served import Served
from tests.integration.kill_nine import places
from tests.services import quick_settings
from tests.unit.qupath.projects import entry, write_project

from slideloop.evaluation.generated import Scene
from slideloop.qupath.project_file import ProjectFile
from slideloop.studies.service import open_service

CLASSES = ["Tumor", "Other"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, small_slides: Path) -> Path:
    """The folder that the server reads."""
    folder = tmp_path_factory.mktemp("root")
    shutil.copyfile(small_slides / "small.tif", folder / "small.tif")
    return folder


@pytest.fixture(scope="module")
def served(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server over it."""
    service = open_service(quick_settings(tmp_path_factory.mktemp("workspace")))
    served = Served(service, root)
    served.start()
    yield served
    served.stop()
    service.close()


@pytest.fixture(scope="module")
def slide(served: Served, root: Path) -> str:
    opened = served.api("POST", "/slides", path=str(root / "small.tif"))
    job = served.api("GET", f"/jobs/{opened['job']['id']}?wait=60")
    assert job["state"] == "done", job
    return opened["slide"]["id"]


def _study(served: Served, slide: str) -> str:
    return served.api(
        "POST", "/studies", name="s", mode="classes", classes=CLASSES, slides=[slide],
        strategy="random", engine="linear", rounds=1, k=4, event_id=str(uuid.uuid4()),
    )["id"]  # fmt: skip


@pytest.fixture(scope="module")
def study(served: Served, slide: str) -> str:
    """One that has learnt."""
    made = _study(served, slide)
    rectangle = places(Scene(0, 1536, 1024))["Tumor"][0]
    served.api.query(made, slide, rectangle, CLASSES[0])
    found = served.api("GET", f"/studies/{made}/round?wait=30")
    for number, patch in enumerate(found["patches"]):
        path = f"/studies/{made}/labels/{patch['id']}"
        served.api("PUT", path, label=CLASSES[number % 2], round_id=found["round_id"])
    assert served.api("GET", f"/studies/{made}/round?wait=30")["state"] == "session_over"
    return made


@pytest.fixture
def project(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProjectFile]:
    """A project with the slide, and no QuPath."""
    monkeypatch.setenv("PAQUO_QUPATH_DIR", str(root / "no-qupath"))
    folder = root / "project"
    yield write_project(folder, entry(1, "small.tif", (root / "small.tif").as_uri()))
    shutil.rmtree(folder)


def ask(served: Served, project: ProjectFile | Path, study: str, **more: Any) -> dict[str, Any]:
    file = project.file if isinstance(project, ProjectFile) else project
    return served.api("POST", "/imports", project=str(file), study=study, **more)


def test_without_qupath_it_says_what_to_do(
    served: Served, project: ProjectFile, study: str
) -> None:
    refused = ask(served, project, study)
    assert (refused["status"], refused["code"]) == (422, "qupath_unusable")
    assert "PAQUO_QUPATH_DIR" in refused["hint"]
    assert served.api("GET", "/info")["qupath"] == {"found": False, "version": None}


def test_a_project_outside_of_the_servers_folders_is_not_there(
    served: Served, project: ProjectFile, study: str, tmp_path: Path
) -> None:
    outside = write_project(tmp_path, entry(1, "small.tif"))
    for file in (outside.file, project.folder, project.folder / "none.qpproj"):
        refused = ask(served, file, study)
        assert (refused["status"], refused["code"]) == (404, "file_not_found")


def test_another_file_is_no_project(
    served: Served, project: ProjectFile, study: str, root: Path
) -> None:
    assert project
    refused = ask(served, root / "small.tif", study)
    assert (refused["status"], refused["code"]) == (422, "project_unusable")


def test_there_is_no_mask_before_anything_was_learnt(
    served: Served, project: ProjectFile, slide: str
) -> None:
    refused = ask(served, project, _study(served, slide))
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
    served: Served, project: ProjectFile, study: str, more: dict[str, Any], status: int
) -> None:
    assert ask(served, project, study, **more)["status"] == status


def test_an_unknown_study_is_said(served: Served, project: ProjectFile) -> None:
    refused = ask(served, project, "nothing")
    assert (refused["status"], refused["code"]) == (404, "unknown_study")
