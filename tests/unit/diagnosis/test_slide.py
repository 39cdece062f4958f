"""What the doctor says of a slide, alone and against what the server lists."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from slideloop.diagnosis.finding import Finding
from slideloop.diagnosis.server import Server
from slideloop.diagnosis.slide import SlideDiagnosis, check_slide_file
from slideloop.settings import load_settings
from slideloop.slides.fingerprint import fingerprint

WIDTH, HEIGHT, MPP = 1536, 1024, 0.5


@pytest.fixture(scope="module")
def slide(small_slides: Path) -> Path:
    return small_slides / "small.tif"


def listed(path: Path, **changed: Any) -> dict[str, Any]:
    """The server's word on a slide that it has indexed."""
    return {
        "path": str(path.resolve()),
        "fingerprint": fingerprint(path),
        "width": WIDTH,
        "height": HEIGHT,
        "mpp": MPP,
        "n_indexed": 118,
        "n_patches": 118,
        "state": "ready",
        "problem": None,
    } | changed


def look(path: Path, *slides: dict[str, Any], is_here: bool = True, **flags: Any) -> SlideDiagnosis:
    server = Server("http://127.0.0.1:8765", is_here, info={}, slides=list(slides))
    return check_slide_file(path, load_settings(**({"patch": 96} | flags)), server)


def said(diagnosis: SlideDiagnosis) -> dict[str, Finding]:
    return {finding.check: finding for finding in diagnosis.findings}


def test_without_a_server_the_file_alone_is_looked_at(slide: Path):
    down = Server("http://127.0.0.1:8765", is_here=True)
    diagnosis = check_slide_file(slide, load_settings(patch=96), down)
    finding = said(diagnosis)["slide"]
    assert finding.state == "ok"
    assert f"{WIDTH} x {HEIGHT} px" in finding.found
    assert "could not be asked" in finding.found
    assert diagnosis.n_patches == 16 * 10


def test_the_same_slide_at_the_server_is_told_by_its_content(slide: Path):
    finding = said(look(slide, listed(slide)))["slide"]
    assert finding.state == "ok"
    assert "the same one, by content, 118 of 118 patches" in finding.found


def test_a_slide_that_the_server_was_never_given_is_no_fault(slide: Path):
    finding = said(look(slide))["slide"]
    assert (finding.state, "--slides-root" in finding.todo) == ("ok", True)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"width": HEIGHT, "height": WIDTH}, f"the server's is {HEIGHT} x {WIDTH} px"),
        ({"mpp": 0.25}, "its pixels are 0.5 um wide, the server's 0.25 um"),
        ({"fingerprint": "0" * 64}, "its content is not the server's"),
    ],
    ids=["size", "mpp", "content"],
)
def test_a_slide_that_is_not_the_servers_is_a_problem_with_both_sides(
    slide: Path, changed: dict[str, Any], words: str
):
    finding = said(look(slide, listed(slide, **changed)))["slide"]
    assert finding.state == "problem"
    assert words in finding.found


def test_what_the_server_says_of_a_failed_slide_is_passed_on(slide: Path):
    problem = {"detail": "The file is gone.", "hint": "Bring it back."}
    finding = said(look(slide, listed(slide, state="missing", problem=problem)))["slide"]
    assert (finding.state, finding.todo) == ("problem", "Bring it back.")
    assert "The file is gone." in finding.found


def test_of_a_server_elsewhere_a_slide_is_found_by_its_name(slide: Path):
    theirs = listed(slide) | {"path": r"D:\slides\small.tif"}
    finding = said(look(slide, theirs, is_here=False))["slide"]
    assert "the same one, by content" in finding.found


def test_a_slide_that_only_a_server_elsewhere_sees_asks_for_a_map(slide: Path, tmp_path: Path):
    theirs = listed(slide) | {"path": "/data/small.tif"}
    finding = said(look(tmp_path / "small.tif", theirs, is_here=False))["slide"]
    assert finding.state == "warning"
    assert "/data/small.tif" in finding.found
    assert "--map" in finding.todo


@pytest.mark.parametrize("content", [None, b"", b"no slide at all"], ids=str)
def test_what_is_no_slide_is_a_problem(tmp_path: Path, content: bytes | None):
    path = tmp_path / "a.svs"
    if content is not None:
        path.write_bytes(content)
    (finding,) = look(path).findings
    assert (finding.check, finding.state) == ("slide", "problem")


def test_um_per_px_that_the_file_states_are_shown(slide: Path):
    assert said(look(slide))["mpp"] == Finding("mpp", "ok", "0.5 um/px, says the file.")


def test_without_um_per_px_it_depends_on_what_is_wanted(shared_data: Path, tmp_path: Path):
    path = tmp_path / "colon.tif"
    shutil.copy(shared_data / "slides" / "small_HE_levels.tiff", path)
    assert said(look(path))["mpp"].state == "warning"
    assert said(look(path, assume_mpp=0.5))["mpp"].state == "ok"
    wanted = look(path, mpp=0.5)
    assert [(f.check, f.state) for f in wanted.findings] == [("slide", "ok"), ("mpp", "problem")]


def test_a_slide_smaller_than_a_patch_is_a_problem(slide: Path):
    diagnosis = look(slide, patch=2048)
    assert "smaller than one patch" in diagnosis.findings[0].found
    assert (diagnosis.findings[0].state, diagnosis.n_patches) == ("problem", None)
