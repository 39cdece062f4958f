"""The scripts in a folder of the user's: written, written over, taken away."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix
from platformdirs.windows import Windows
from tests.command_line import slideloop

from slideloop import __version__
from slideloop.errors import InvalidInputError
from slideloop.qupath.script_files import (
    START,
    default_folder,
    install,
    left_in_qupath,
    source_folder,
    uninstall,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a blank and an umlaut, as users' folders have them."""
    return tmp_path / "Größe 1" / "qupath"


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_installed_is_what_is_in_the_release_and_says_which(folder: Path) -> None:
    outcome = install(folder)
    assert (outcome.before, outcome.kept) == (None, [])
    there, source = files_in(folder), source_folder()
    assert outcome.n_files == len(there) - 1  # the record
    for name in (START, "lib/slideloop/Server.groovy", "lib/slideloop/review.css"):
        assert there[name] == (source / name).read_bytes()
    assert there["lib/slideloop/installed.txt"].decode().strip() == __version__
    command = there["lib/slideloop/server.txt"].decode().splitlines()
    assert command == [sys.executable, "-m", "slideloop.cli.main", "serve"]


def test_again_it_is_the_same_and_nothing_is_kept(folder: Path) -> None:
    install(folder)
    before = files_in(folder)
    outcome = install(folder)
    assert (outcome.before, outcome.kept) == (__version__, [])
    assert files_in(folder) == before


def test_an_older_release_is_written_over_and_what_somebody_edited_is_kept(folder: Path) -> None:
    install(folder)
    record = folder / "installed.json"
    content = json.loads(record.read_bytes())
    # As an older release had it: other content, and a file that is no more.
    old = {"undo.groovy": b"// old\n", "gone.groovy": b"// gone\n", "gone too.groovy": b"// a\n"}
    for name, text in old.items():
        (folder / name).write_bytes(text)
        content["files"][name] = hashlib.sha256(text).hexdigest()
    content["version"] = "0.0.1"
    record.write_text(json.dumps(content), "utf-8")
    (folder / "query.groovy").write_bytes(b"// mine\n")
    (folder / "gone too.groovy").write_bytes(b"// mine too\n")
    (folder / "my own.groovy").write_bytes(b"// not slideloop's\n")
    outcome = install(folder)
    assert outcome.before == "0.0.1"
    assert {path.name for path in outcome.kept} == {"query.groovy.bak", "gone too.groovy.bak"}
    there = files_in(folder)
    assert there["query.groovy.bak"] == b"// mine\n"
    assert there["my own.groovy"] == b"// not slideloop's\n"
    assert there["undo.groovy"] == (source_folder() / "undo.groovy").read_bytes()
    assert not {"gone.groovy", "gone too.groovy", "undo.groovy.bak"} & there.keys()
    (folder / "query.groovy").write_bytes(b"// mine again\n")
    assert [path.name for path in install(folder).kept] == ["query.groovy.2.bak"]


def test_uninstalled_nothing_of_ours_is_left(folder: Path) -> None:
    install(folder)
    assert uninstall(folder).kept == []
    assert not folder.exists()
    with pytest.raises(InvalidInputError, match="No scripts of slideloop"):
        uninstall(folder)


def test_uninstalled_what_others_put_there_and_edited_stays(folder: Path) -> None:
    install(folder)
    (folder / "undo.groovy").write_bytes(b"// mine\n")
    (folder / "lib" / "theirs.txt").write_bytes(b"theirs")
    assert [path.name for path in uninstall(folder).kept] == ["undo.groovy.bak"]
    assert files_in(folder) == {"undo.groovy.bak": b"// mine\n", "lib/theirs.txt": b"theirs"}


def test_a_record_that_names_files_elsewhere_does_not_count_there(folder: Path) -> None:
    install(folder)
    outside = folder.parent / "outside.txt"
    outside.write_text("x", "utf-8")
    record = folder / "installed.json"
    content = json.loads(record.read_bytes())
    content["files"] |= {"../outside.txt": "0", str(outside): "0"}
    record.write_text(json.dumps(content), "utf-8")
    install(folder)
    uninstall(folder)
    assert outside.exists()


def test_the_source_is_not_written_over(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="where the scripts are taken from"):
        install(source_folder())


def test_the_command_says_the_one_preference_and_the_line_for_an_occupied_slot(
    folder: Path,
) -> None:
    outcome = slideloop("qupath", "install", "--scripts-dir", folder)
    assert outcome.code == 0, outcome.err
    assert f"\n  {folder / START}\n" in outcome.out
    line = f"getQuPath().runScript(new File('{(folder / START).as_posix()}'), null)"
    assert f"\n  {line}\n" in outcome.out
    (folder / "undo.groovy").write_bytes(b"// mine\n")
    assert "undo.groovy.bak" in slideloop("qupath", "install", "--scripts-dir", folder).out


def test_the_command_takes_away_what_the_scripts_made_in_qupath(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    slideloop("qupath", "install", "--scripts-dir", folder)
    compiled = tmp_path / "QuPath" / "v0.7" / "slideloop" / "classes"
    waiting = compiled.parent / "outbox" / "label.json"
    for path in (compiled, waiting.parent):
        path.mkdir(parents=True)
    waiting.touch()
    log = compiled.with_name("server.log")
    log.write_text("Listening")
    assert left_in_qupath(tmp_path) == [compiled, log]
    outcome = slideloop("qupath", "uninstall", "--scripts-dir", folder)
    assert outcome.code == 0, outcome.err
    assert str(compiled) in outcome.out
    assert left_in_qupath(tmp_path) == []
    assert waiting.exists()
    again = slideloop("qupath", "uninstall", "--scripts-dir", folder)
    assert again.code == 2
    assert "--scripts-dir" in again.err


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = slideloop("qupath", "install", "--scripts-dir", tmp_path / "file" / "below")
    assert outcome.code == 2
    assert "cannot be written" in outcome.err


def test_the_folder_is_the_same_for_every_release() -> None:
    assert __version__ not in str(default_folder())
    assert default_folder().name == "qupath"


@pytest.mark.parametrize(
    ("system", "start"),
    [
        (Unix, "/home/zoe/.local/share/slideloop/qupath/startup.groovy"),
        (MacOS, "/home/zoe/Library/Application Support/slideloop/qupath/startup.groovy"),
        (Windows, "/home/zoe/AppData/Local/slideloop/qupath/startup.groovy"),
    ],
)
def test_each_system_has_its_own_place_for_them(
    system: type[Unix], start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/zoe")
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("platformdirs.PlatformDirs", system)
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda _: "/home/zoe/AppData/Local")
    assert (default_folder() / START).as_posix() == start


def test_the_line_to_add_has_slashes_alone_so_that_groovy_reads_it_on_windows(
    folder: Path,
) -> None:
    outcome = slideloop("qupath", "install", "--scripts-dir", folder)
    (line,) = [each for each in outcome.out.splitlines() if "runScript" in each]
    assert line.strip() == f"getQuPath().runScript(new File('{(folder / START).as_posix()}'), null)"
