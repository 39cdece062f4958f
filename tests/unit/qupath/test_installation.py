"""Where QuPath is found, in the layouts of its installers."""

from __future__ import annotations

from pathlib import Path

import pytest

from slideloop.qupath.installation import VARIABLE, QuPath, find_qupath, look_into


def install(folder: Path, jars: str, *names: str) -> Path:
    """Lay empty jars where an installer puts them."""
    (folder / jars).mkdir(parents=True)
    for name in (*names, "slf4j-api-2.0.9.jar"):
        (folder / jars / name).touch()
    return folder


@pytest.mark.parametrize(
    ("name", "jars"),
    [
        ("QuPath", "lib/app"),
        ("QuPath-0.5.1", "app"),
        ("QuPath-0.5.1-x64.app", "Contents/app"),
    ],
    ids=["linux", "windows", "macos"],
)
def test_the_layout_of_each_installer_is_known(tmp_path: Path, name: str, jars: str):
    folder = install(tmp_path / name, jars, "qupath-app-0.5.1.jar", "qupath-core-0.5.1.jar")
    assert look_into(folder) == QuPath(folder, "0.5.1")


def test_an_archive_unpacked_into_a_folder_of_its_name_is_found_inside(tmp_path: Path):
    folder = tmp_path / "QuPath-v0.6.0-Linux"
    install(folder, "QuPath/lib/app", "qupath-gui-fx-0.6.0.jar")
    assert find_qupath({}, [tmp_path]) == QuPath(folder / "QuPath", "0.6.0")


def test_the_newest_is_taken_by_number_not_by_name(tmp_path: Path):
    for version in ("0.9.0", "0.10.0", "0.5.1"):
        install(tmp_path / f"QuPath-{version}", "lib/app", f"qupath-app-{version}.jar")
    found = find_qupath({}, [tmp_path])
    assert found is not None
    assert (found.version, found.number) == ("0.10.0", (0, 10, 0))


def test_a_release_candidate_keeps_its_suffix(tmp_path: Path):
    install(tmp_path / "qupath", "lib/app", "qupath-app-0.6.0-rc3.jar")
    found = find_qupath({}, [tmp_path])
    assert found is not None
    assert (found.version, found.number) == ("0.6.0-rc3", (0, 6, 0))


def test_without_a_number_in_its_jars_the_folder_tells_the_version(tmp_path: Path):
    folder = install(tmp_path / "QuPath-0.5.1", "app", "qupath.jar")
    assert look_into(folder) == QuPath(folder, "0.5.1")


def test_the_variable_wins_over_the_usual_places(tmp_path: Path):
    install(tmp_path / "usual" / "QuPath-0.7.0", "app", "qupath-app-0.7.0.jar")
    named = install(tmp_path / "mine", "lib/app", "qupath-app-0.5.1.jar")
    assert find_qupath({VARIABLE: str(named)}, [tmp_path / "usual"]) == QuPath(named, "0.5.1")


def test_where_the_variable_names_something_else_no_other_one_is_taken(tmp_path: Path):
    install(tmp_path / "QuPath-0.7.0", "app", "qupath-app-0.7.0.jar")
    assert find_qupath({VARIABLE: str(tmp_path / "none")}, [tmp_path]) is None


def test_a_folder_of_qupaths_settings_is_no_qupath(tmp_path: Path):
    (tmp_path / "QuPath" / "v0.6" / "scripts").mkdir(parents=True)
    assert find_qupath({}, [tmp_path, tmp_path / "missing"]) is None
