"""What a project's own file says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.unit.qupath.projects import WHOLE, entry, write_project

from slideloop.errors import ProjectError
from slideloop.qupath.project_file import (
    SUMMARY,
    ProjectFile,
    copy_project,
    local_path,
    read_project,
)

SHARED = Path(__file__).parents[4] / "shared" / "data" / "qupath_projects" / "v0.6.0-rc3"


def test_images_are_read_with_what_alters_them(tmp_path: Path) -> None:
    plain = entry(1, "größe 检查.svs", "file:/slides/a%20b%23.svs")
    turned = entry(7, "turned")
    turned["serverBuilder"] = {
        "builderType": "rotated",
        "rotation": "ROTATE_180",
        "builder": plain["serverBuilder"],
    }
    project = write_project(tmp_path, plain, turned)
    first, second = project.images
    assert (first.id, first.name, first.wrappers) == ("1", "größe 检查.svs", ())
    assert (first.width, first.height, first.is_rgb) == (1536, 1024, True)
    assert first.path == Path("/slides/a b#.svs")
    assert (second.id, second.wrappers, second.width) == ("7", ("rotated",), 1536)
    assert second.folder == tmp_path / "data" / "7"
    assert (project.version, project.classes) == ("0.6.0", ("Tumor", "Tumor: In situ"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/data/qupath_projects is not here")
def test_a_project_of_another_machine_is_read() -> None:
    project = read_project(SHARED)
    assert (project.version, len(project.images)) == ("0.6.0-rc3", 107)
    first = project.images[0]
    assert (first.width, first.height, first.args) == (44424, 56017, ("--series", "0"))
    assert not any(image.path and image.path.exists() for image in project.images)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:/slides/a.svs", "/slides/a.svs"),
        ("file:///slides/%C3%BC.svs", "/slides/ü.svs"),
        ("file://localhost/slides/a.svs", "/slides/a.svs"),
        ("file://host/share/a.svs", None),
        ("https://example.org/a.svs", None),
        ("omero:1", None),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths of other systems")
def test_a_uri_names_a_file_of_this_machine_or_none(uri: str, path: str | None) -> None:
    assert local_path(uri) == (None if path is None else Path(path))


def test_a_data_file_that_was_cut_off_is_told(tmp_path: Path) -> None:
    image, *_ = write_project(tmp_path, entry(1, "a.svs")).images
    assert not image.is_cut_off()
    for content in (b"", WHOLE[:3], WHOLE[:-1], b"x" + WHOLE[1:]):
        image.data.write_bytes(content)
        assert image.is_cut_off()
    image.data.unlink()
    assert not image.is_cut_off()


def test_objects_are_counted_without_the_root(tmp_path: Path) -> None:
    image, *_ = write_project(tmp_path, entry(1, "a.svs")).images
    assert image.n_objects() is None
    counts = {"nObjects": 97, "objectTypeCounts": {"Root objects": 1, "Detections": 96}}
    (image.folder / SUMMARY).write_text(json.dumps({"hierarchy": counts}), "utf-8")
    assert image.n_objects() == 96


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "damaged"),
        ("[]", "no QuPath project"),
        ('{"images": 3}', "lists no images"),
        ('{"images": [{"entryID": 1}]}', "cannot be understood"),
        ('{"images": [{"entryID": "../x", "serverBuilder": {"uri": "a"}, "imageName": ""}]}',
         "cannot be understood"),
    ],
)  # fmt: skip
def test_what_is_no_project_is_said(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "project.qpproj").write_text(content, "utf-8")
    with pytest.raises(ProjectError, match=words):
        read_project(tmp_path)


def test_a_folder_without_a_project_is_said(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="There is no project"):
        read_project(tmp_path)


def moved_project(folder: Path, old: str, uri: str) -> ProjectFile:
    """A project that was saved as `old`, with one image that was at `uri`."""
    write_project(folder, entry(1, "a.svs", uri), entry(2, "other", "https://example.org/a.svs"))
    file = folder / "project.qpproj"
    content = json.loads(file.read_bytes()) | {"uri": old}
    file.write_text(json.dumps(content), "utf-8")
    return read_project(folder)


def test_an_image_that_was_moved_with_its_project_is_found(tmp_path: Path) -> None:
    here = tmp_path / "slides ü" / "a.svs"
    here.parent.mkdir()
    here.touch()
    old = "file:/Z:/Study%201/"
    project = moved_project(
        tmp_path / "project",
        f"{old}project/project.qpproj",
        f"{old}slides%20%C3%BC/a.svs",
    )
    image, other = project.images
    assert (image.path, image.is_moved) == (here, True)
    assert (other.path, other.is_moved) == (None, False)
    copy_project(project, tmp_path / "copy.qpproj")
    copied = read_project(tmp_path / "copy.qpproj").images
    assert [each.path for each in copied] == [here, None]
    assert copied[0].name == image.name
    assert project.file.read_bytes() != (tmp_path / "copy.qpproj").read_bytes()


@pytest.mark.parametrize(
    ("old", "uri"),
    [
        ("file:/Z:/elsewhere/project.qpproj", "file:/E:/slides/a.svs"),
        ("file://host/share/project/project.qpproj", "file:/slides/a.svs"),
        ("file:/Z:/project/project.qpproj", "file:/Z:/slides/gone.svs"),
    ],
)
def test_an_image_that_does_not_lie_as_it_did_is_not_guessed(
    tmp_path: Path, old: str, uri: str
) -> None:
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "a.svs").touch()
    image = moved_project(tmp_path / "project", old, uri).images[0]
    assert not image.is_moved


def test_of_a_project_that_lies_where_it_lay_the_copy_is_the_same(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project", entry(1, "a.svs"))
    copy_project(project, tmp_path / "copy.qpproj")
    assert (tmp_path / "copy.qpproj").read_bytes() == project.file.read_bytes()
