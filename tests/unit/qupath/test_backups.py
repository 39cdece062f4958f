"""What an import replaces, and its way back; and who else may be at work."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from tests.unit.qupath.projects import WHOLE, entry, write_project

from slideloop.errors import ProjectError, ProjectOpenError
from slideloop.qupath.backups import Backup, changes, digest, prune, restore
from slideloop.qupath.checking import check_images
from slideloop.qupath.guard import (
    HEARTBEAT,
    RECENT_S,
    hold_project,
    opened_by,
    require_closed,
    require_older,
    require_unopened,
    unsaved_in,
)
from slideloop.qupath.installation import QuPath
from slideloop.qupath.project_file import DATA, ProjectFile


@pytest.fixture
def project(tmp_path: Path) -> ProjectFile:
    made = write_project(tmp_path / "project", entry(1, "a.svs"), entry(2, "b.svs"))
    long_ago = time.time() - 2 * RECENT_S
    for file in (made.file, *(image.data for image in made.images)):
        os.utime(file, (long_ago, long_ago))
    return made


def put(project: ProjectFile, content: bytes) -> None:
    """Import another data file into the first image."""
    backup = Backup(project, "import")
    work = backup.folder.parent / "work-test"
    work.mkdir()
    (work / DATA).write_bytes(content)
    image = project.images[0]
    backup.publish(image, digest(image.data), work)
    work.rmdir()


def put_back(project: ProjectFile, number: int = 0) -> Path:
    """Take the newest import of an image back; return where the copy of what was there is."""
    backup = Backup(project, "restore")
    try:
        restore(project.images[number], changes(project), backup)
    finally:
        backup.drop_if_empty()
    return backup.folder


def test_imports_are_taken_back_one_after_the_other(project: ProjectFile) -> None:
    image = project.images[0]
    put(project, b"one")
    put(project, b"two")
    put_back(project)
    assert image.data.read_bytes() == b"one"
    put_back(project)
    assert image.data.read_bytes() == WHOLE
    with pytest.raises(ProjectError, match="as it was before"):
        put_back(project)


def test_what_is_put_back_was_copied_before(project: ProjectFile) -> None:
    put(project, b"one")
    folder = put_back(project)
    assert (folder / "data" / "1" / DATA).read_bytes() == b"one"


def test_an_image_without_data_is_without_it_again(project: ProjectFile) -> None:
    image = project.images[0]
    image.data.unlink()
    put(project, b"one")
    put_back(project)
    assert not image.data.exists()


def test_what_was_saved_since_is_not_put_back(project: ProjectFile) -> None:
    put(project, b"one")
    project.images[0].data.write_bytes(b"by hand")
    with pytest.raises(ProjectError, match="was saved since"):
        put_back(project)
    with pytest.raises(ProjectError, match="No import"):
        put_back(project, 1)


def test_a_change_that_was_noted_and_never_made_is_none(project: ProjectFile) -> None:
    put(project, b"one")
    project.images[0].data.write_bytes(WHOLE)
    with pytest.raises(ProjectError, match="as it was before"):
        put_back(project)


def test_only_the_newest_copies_are_kept(project: ProjectFile) -> None:
    for content in (b"one", b"two", b"three"):
        put(project, content)
    prune(project, 2)
    assert len(changes(project)) == 2
    put_back(project)
    assert project.images[0].data.read_bytes() == b"two"


def test_the_parts_of_one_import_keep_their_copies_together(project: ProjectFile) -> None:
    folder: Path | None = None
    for image in project.images:
        backup = Backup(project, "import", folder)
        folder = backup.folder
        work = folder.parent / f"work-{image.id}"
        work.mkdir()
        (work / DATA).write_bytes(b"new")
        backup.publish(image, digest(image.data), work)
        backup.report({"qupath": "0.6.0"}, [{"entry": image.id}])
        work.rmdir()
        prune(project, 1)
    assert folder is not None
    assert {each.image for each in changes(project)} == {"1", "2"}
    report = json.loads((folder / "report.json").read_bytes())
    assert report["rows"] == [{"entry": "1"}, {"entry": "2"}]
    for number in range(2):
        put_back(project, number)
    assert {image.data.read_bytes() for image in project.images} == {WHOLE}


def test_check_tells_what_became_of_an_import(project: ProjectFile) -> None:
    def said() -> object:
        return check_images(project, None, lambda _: None)[0]["imported"]

    assert said() is None
    put(project, b"one")
    assert said() == "as_imported"
    project.images[0].data.write_bytes(b"by hand")
    assert said() == "changed_since"
    project.images[0].data.write_bytes(b"one")
    put_back(project)
    assert said() is None


def test_a_project_that_was_saved_just_now_may_be_open(project: ProjectFile) -> None:
    require_closed(project)
    project.images[1].data.touch()
    with pytest.raises(ProjectOpenError, match=r"b\.svs was saved"):
        require_closed(project)
    project.file.touch()
    with pytest.raises(ProjectOpenError, match="The project was saved"):
        require_closed(project)


def test_our_own_last_write_does_not_count(project: ProjectFile) -> None:
    put(project, b"one")
    require_closed(project)
    project.images[0].data.write_bytes(b"by hand")
    with pytest.raises(ProjectOpenError):
        require_closed(project)


def test_a_project_that_qupath_says_it_has_open_is_refused(project: ProjectFile) -> None:
    require_unopened(project)
    beat = project.folder / f"{HEARTBEAT}1.json"
    beat.write_text('{"user": "größe", "host": "lab", "pid": 1}', "utf-8")
    assert opened_by(project) == "größe on lab"
    with pytest.raises(ProjectOpenError, match="größe on lab"):
        require_unopened(project)
    assert unsaved_in(project) == set()
    beat.write_text('{"host": "lab", "unsaved": ["2"]}', "utf-8")
    rows = check_images(project, None, lambda _: None)
    assert [row["is_unsaved"] for row in rows] == [False, True]
    for broken in ("{", "[]", '{"unsaved": 1}'):
        beat.write_text(broken, "utf-8")
        assert opened_by(project) == "somebody"
        assert unsaved_in(project) == set()
    long_ago = time.time() - 200
    os.utime(beat, (long_ago, long_ago))
    require_unopened(project)


def test_two_imports_at_a_time_are_refused(project: ProjectFile) -> None:
    with hold_project(project), pytest.raises(ProjectOpenError), hold_project(project):
        pass


@pytest.mark.parametrize(
    ("written", "here", "is_refused"),
    [("0.7.0", "0.6.0", True), ("0.6.2", "0.6.0", False), ("0.5.1", "0.7.0", False),
     ("0.6.0-rc3", "0.6.0", False), (None, "0.6.0", False)],
)  # fmt: skip
def test_a_project_of_a_newer_qupath_is_refused(
    tmp_path: Path, written: str | None, here: str, is_refused: bool
) -> None:
    project = write_project(tmp_path, entry(1, "a.svs"), version=written)
    qupath = QuPath(tmp_path, here)
    if is_refused:
        with pytest.raises(ProjectError, match=r"0\.7\.0"):
            require_older(project, qupath)
    else:
        require_older(project, qupath)
