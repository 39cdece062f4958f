"""Which files a client may name."""

from __future__ import annotations

import os
import socket
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from slideloop.api.paths import Roots, read_mapping
from slideloop.errors import InvalidInputError, SlideNotFoundError

NAMES = [
    "plain.svs",
    "a b.svs",
    "Größe µm.svs",
    "#1.svs",
    "100%.svs",
    "%41.svs",
    "a+b?.svs",
    "日.svs",
]

posix_only = pytest.mark.skipif(os.name == "nt", reason="such names are not for Windows")


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    folder = (tmp_path / "slides").resolve()
    folder.mkdir()
    (folder / "a.svs").write_bytes(b"x")
    (tmp_path / "secret.svs").write_bytes(b"x")
    return folder


def _assert_not_found(roots: Roots, text: str) -> SlideNotFoundError:
    with pytest.raises(SlideNotFoundError) as refused:
        roots.find(text)
    assert refused.value.http_status == 404
    return refused.value


@pytest.fixture
def no_file_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object, **__: object) -> None:
        raise AssertionError("a file system was asked")

    for name in ("stat", "lstat", "readlink", "scandir", "listdir", "open", "access"):
        monkeypatch.setattr(os, name, touched)
    monkeypatch.setattr(os.path, "realpath", touched)


def test_a_file_below_a_root_is_found(slides: Path) -> None:
    assert Roots([slides]).find(str(slides / "a.svs")) == slides / "a.svs"


@posix_only
@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_taken_as_it_is_written(slides: Path, name: str) -> None:
    (slides / name).write_bytes(b"x")
    assert Roots([slides]).find(f"{slides}/{name}") == slides / name


@posix_only
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("start", ["file:", "file://", "file://localhost", "FILE://LocalHost"])
def test_a_file_uri_is_unescaped(slides: Path, name: str, start: str) -> None:
    (slides / name).write_bytes(b"x")
    uri = (slides / name).as_uri().removeprefix("file://")
    assert Roots([slides]).find(start + uri) == slides / name


def test_a_root_that_is_a_link_holds_what_lies_behind_it(slides: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(slides, target_is_directory=True)
    assert Roots([link]).find(str(link / "a.svs")) == slides / "a.svs"


def test_a_link_within_the_root_is_followed(slides: Path) -> None:
    (slides / "link.svs").symlink_to(slides / "a.svs")
    assert Roots([slides]).find(str(slides / "link.svs")) == slides / "a.svs"


def test_a_link_out_of_the_root_is_not_found(slides: Path, tmp_path: Path) -> None:
    (slides / "out.svs").symlink_to(tmp_path / "secret.svs")
    _assert_not_found(Roots([slides]), str(slides / "out.svs"))


def test_a_folder_link_out_of_the_root_is_not_found(slides: Path, tmp_path: Path) -> None:
    (slides / "out").symlink_to(tmp_path, target_is_directory=True)
    _assert_not_found(Roots([slides]), str(slides / "out" / "secret.svs"))


def test_a_link_to_itself_is_not_found(slides: Path) -> None:
    (slides / "loop.svs").symlink_to(slides / "loop.svs")
    _assert_not_found(Roots([slides]), str(slides / "loop.svs"))


@pytest.mark.parametrize(
    "way", ["../secret.svs", "x/../../secret.svs", "./../secret.svs", "..", "."]
)
def test_dots_do_not_lead_out_of_the_root(slides: Path, way: str) -> None:
    (slides / "x").mkdir()
    _assert_not_found(Roots([slides]), f"{slides}/{way}")


@pytest.mark.parametrize("way", ["%2e%2e/secret.svs", "..%2fsecret.svs", "%2E%2E%2Fsecret.svs"])
def test_escaped_dots_do_not_lead_out_of_the_root(slides: Path, way: str) -> None:
    _assert_not_found(Roots([slides]), f"{slides.as_uri()}/{way}")


def test_a_folder_beside_with_a_longer_name_is_not_below_the_root(
    slides: Path, tmp_path: Path
) -> None:
    (tmp_path / "slides-of-others").mkdir()
    (tmp_path / "slides-of-others" / "a.svs").write_bytes(b"x")
    _assert_not_found(Roots([slides]), str(tmp_path / "slides-of-others" / "a.svs"))


def test_a_nul_is_not_found(slides: Path) -> None:
    _assert_not_found(Roots([slides]), f"{slides}/a.svs\0.png")


def test_an_escaped_nul_is_not_found(slides: Path) -> None:
    _assert_not_found(Roots([slides]), f"{slides.as_uri()}/a.svs%00")


def test_an_escape_that_is_not_utf8_is_not_found(slides: Path) -> None:
    _assert_not_found(Roots([slides]), f"{slides.as_uri()}/%ff.svs")


@posix_only
def test_a_fifo_is_not_found_and_not_waited_for(slides: Path) -> None:
    os.mkfifo(slides / "pipe.svs")
    _assert_not_found(Roots([slides]), str(slides / "pipe.svs"))


@posix_only
def test_a_socket_is_not_found(slides: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(slides)
    with socket.socket(socket.AF_UNIX) as there:
        there.bind("s.svs")
        _assert_not_found(Roots([slides]), str(slides / "s.svs"))


@pytest.mark.parametrize(
    "text", ["", "a.svs", "./a.svs", "file:", "file:a.svs", "file://", "http://x/a.svs", "~/a.svs"]
)
def test_what_is_no_whole_path_is_not_found(
    slides: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(slides)
    _assert_not_found(Roots([slides]), text)


def _words(roots: Roots, *paths: Path) -> set[str]:
    """What is said of some files, but for their names."""
    return {
        str(_assert_not_found(roots, str(path))).replace(path.name, "X").replace("none", "X")
        for path in paths
    }


@posix_only
def test_nobody_learns_from_the_words_which_files_there_are(slides: Path) -> None:
    roots = Roots([slides])
    (slides / "out.svs").symlink_to(slides.parent / "secret.svs")
    (slides / "dir1").mkdir()
    outside = _words(roots, slides.parent / "secret.svs", slides.parent / "none.svs")
    inside = _words(roots, slides / "none.svs", slides / "out.svs", slides / "dir1")
    assert (len(outside), len(inside)) == (1, 1)


@posix_only
def test_the_line_to_add_is_said_where_the_client_calls_the_folder_otherwise(slides: Path) -> None:
    refused = _assert_not_found(Roots([slides]), r"Z:\case ü\a.svs")
    assert rf"--map 'Z:\case ü={slides}'" in refused.hint
    line = refused.hint.partition("--map '")[2].partition("'")[0]
    mapped = Roots([slides], [read_mapping(line)])
    assert mapped.find(r"z:\CASE ü\a.svs") == slides / "a.svs"
    missing = _assert_not_found(mapped, r"Z:\case ü\none.svs")
    assert repr(str(slides / "none.svs")) in missing.message
    assert "--map" not in missing.hint
    share = _assert_not_found(Roots([slides]), "file://host/share/a%20b/a.svs")
    assert rf"--map '\\host\share\a b={slides}'" in share.hint


@pytest.mark.usefixtures("no_file_is_touched")
@pytest.mark.parametrize(
    "text",
    [
        r"\\evil\share\a.svs",
        "//evil/share/a.svs",
        r"\/evil\share\a.svs",
        "file://evil/share/a.svs",
        "file:////evil/share/a.svs",
        "file://///evil/share/a.svs",
        "file:///%2Fevil/share/a.svs",
        r"\\evil@SSL@8443\share\a.svs",
        r"\\?\UNC\evil\share\a.svs",
        r"\\.\PhysicalDrive0",
        r"\\?\C:\slides\a.svs",
    ],
)
def test_a_share_outside_the_roots_is_refused_before_any_file_system_is_asked(text: str) -> None:
    for flavour, root in (
        (PureWindowsPath, PureWindowsPath(r"\\good\share\slides")),
        (PureWindowsPath, PureWindowsPath(r"C:\slides")),
    ):
        _assert_not_found(Roots([root], flavour=flavour), text)


@posix_only
@pytest.mark.parametrize("text", ["//evil/share/a.svs", r"\\evil\share\a.svs", "file://e/s/a.svs"])
def test_a_share_is_refused_here_too_before_any_file_system_is_asked(
    slides: Path, request: pytest.FixtureRequest, text: str
) -> None:
    roots = Roots([slides])
    request.getfixturevalue("no_file_is_touched")
    _assert_not_found(roots, text)


@posix_only
def test_two_slashes_make_a_share_even_of_a_path_below_a_root(slides: Path) -> None:
    _assert_not_found(Roots([slides]), f"/{slides}/a.svs")


@pytest.mark.parametrize(
    "text",
    [
        r"\\good\share\slides\x\a.svs",
        "//GOOD/Share/slides/x/a.svs",
        "file://good/share/slides/x/a.svs",
        "file:////good/share/slides/x/a.svs",
    ],
)
def test_a_share_below_a_root_is_taken(text: str) -> None:
    roots = Roots([PureWindowsPath(r"\\good\share\slides")], flavour=PureWindowsPath)
    expected = PureWindowsPath(r"\\good\share\slides\x\a.svs")
    assert roots.translated(text) == expected


@pytest.mark.parametrize(
    "text", [r"\\good\share\slides\..\other\a.svs", "file://good/share/slides/%2e%2e/other/a.svs"]
)
def test_dots_do_not_lead_to_another_folder_of_a_share(text: str) -> None:
    roots = Roots([PureWindowsPath(r"\\good\share\slides")], flavour=PureWindowsPath)
    with pytest.raises(SlideNotFoundError):
        roots.translated(text)


@pytest.mark.parametrize(
    "text",
    [
        r"C:\slides\a b.svs",
        "C:/slides/a b.svs",
        "file:/C:/slides/a%20b.svs",
        "file:///C:/slides/a%20b.svs",
        "file://localhost/C:/slides/a%20b.svs",
    ],
)
def test_a_drive_is_read_in_every_way_it_is_written(text: str) -> None:
    roots = Roots([PureWindowsPath(r"C:\slides")], flavour=PureWindowsPath)
    assert roots.translated(text) == PureWindowsPath(r"C:\slides\a b.svs")


@pytest.mark.parametrize(
    "text", [r"C:\slides\NUL", r"C:\slides\con.svs", r"C:\slides\a.svs:stream", r"C:a.svs", r"\a"]
)
def test_devices_streams_and_half_paths_of_windows_are_not_found(text: str) -> None:
    roots = Roots([PureWindowsPath(r"C:\slides")], flavour=PureWindowsPath)
    with pytest.raises(SlideNotFoundError):
        roots.translated(text)


@posix_only
@pytest.mark.parametrize(
    ("client", "text"),
    [
        (r"Z:\scans", r"Z:\scans\x\a.svs"),
        (r"Z:\scans", r"z:\SCANS\x\a.svs"),
        (r"Z:\scans", "file:/Z:/scans/x/a.svs"),
        (r"Z:\scans" + "\\", r"Z:\scans\x\a.svs"),
        ("Z:/", r"Z:\x\a.svs"),
        (r"\\host\share", r"\\HOST\Share\x\a.svs"),
        (r"\\host\share", "file://host/share/x/a.svs"),
        ("//host/share", "file:////host/share/x/a.svs"),
        ("/Volumes/scans", "/Volumes/scans/x/a.svs"),
        ("/Volumes/scans", "file:/Volumes/scans/x/a.svs"),
        ("/Volumes/scans/", "/Volumes/scans/x/a.svs"),
    ],
)
def test_a_mapped_prefix_leads_to_the_file(slides: Path, client: str, text: str) -> None:
    (slides / "x").mkdir()
    (slides / "x" / "a.svs").write_bytes(b"x")
    roots = Roots([slides], [read_mapping(f"{client}={slides}")])
    assert roots.find(text) == slides / "x" / "a.svs"


@posix_only
@pytest.mark.parametrize(
    ("client", "text"),
    [
        (r"Z:\scans", r"Z:\scans2\a.svs"),
        (r"Z:\scans", r"Y:\scans\a.svs"),
        (r"Z:\scans", r"Z:\scans\..\..\secret.svs"),
        (r"\\host\share", r"\\host\share2\a.svs"),
        ("/Volumes/scans", "/Volumes/SCANS/a.svs"),
        ("/Volumes/scans", "/Volumes/scans/../../secret.svs"),
    ],
)
def test_what_only_looks_like_a_mapped_prefix_is_not_found(
    slides: Path, client: str, text: str
) -> None:
    _assert_not_found(Roots([slides], [read_mapping(f"{client}={slides}")]), text)


def test_a_map_that_leads_out_of_the_roots_does_not_help(slides: Path, tmp_path: Path) -> None:
    roots = Roots([slides], [read_mapping(f"Z:\\={tmp_path}")])
    _assert_not_found(roots, r"Z:\secret.svs")


@posix_only
def test_the_longest_mapped_prefix_is_taken(slides: Path, tmp_path: Path) -> None:
    maps = [read_mapping(f"Z:/={tmp_path}"), read_mapping(f"Z:/deep={slides}")]
    assert Roots([slides], maps).find("Z:/deep/a.svs") == slides / "a.svs"


@pytest.mark.parametrize("text", ["", "=", "Z:\\", "Z:=/x", "slides=/x", "/x=slides", "/x="])
def test_a_map_of_anything_but_two_whole_paths_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        read_mapping(text)


@pytest.mark.parametrize("name", ["none", "slides/a.svs"])
def test_a_root_that_is_no_folder_is_refused(slides: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="no folder"):
        Roots([slides.parent / name])


def test_without_roots_it_is_the_current_folder(
    slides: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(slides)
    assert Roots().folders == [slides]


_PIECES = st.sampled_from(
    ["file:", "FILE:", "/", "//", "\\", "..", ".", "%2e", "%00", "%ff", "C:", "localhost", "a.svs"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(_PIECES, st.text(max_size=8)), max_size=12).map("".join))
@example("a" * 100_000)
@example("/" + "a" * 100_000)
@example("/\ud800")
def test_whatever_is_asked_for_it_is_a_file_below_the_root_or_not_found(
    slides: Path, text: str
) -> None:
    for start in ("", f"{slides}/", f"{slides.as_uri()}/"):
        try:
            found = Roots([slides]).find(start + text)
        except SlideNotFoundError:
            continue
        assert found == slides / "a.svs"
