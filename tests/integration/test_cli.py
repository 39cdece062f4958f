"""The commands as users and their programs meet them, on small generated slides."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.command_line import QUICK, slideloop

MEASURES = ("f1", "f1_macro", "jaccard", "iou_mask", "accuracy")


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, small_slides: Path, small_workspace: Path
) -> Path:
    """What one `simulate` of two strategies and two seeds leaves."""
    out = tmp_path_factory.mktemp("played")
    outcome = _simulate(small_slides, small_workspace, out, "--strategy", "random")
    assert outcome.code == 0, outcome.err
    return out


def _simulate(slides: Path, workspace: Path, out: Path, *more: Any):
    return slideloop(
        "simulate", slides / "small.tif", "--truth", slides / "small.geojson",
        "--positive", "Tumor", "--strategy", "cnfp", "--queries", 2, "--rounds", 2, "--k", 4,
        "--seeds", 2, "--workspace", workspace, "--out", out, *QUICK, *more,
    )  # fmt: skip


def _result(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text("utf-8"))


def _events(journal: Path, type_: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    return [row["data"] for row in rows if row["type"] == type_]


def test_the_help_answers_within_a_second_and_loads_no_torch():
    code = "import sys; from slideloop.cli.main import cli; cli.main(['--help'], standalone_mode=False); assert 'torch' not in sys.modules"  # noqa: E501
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    # A second on an idle machine; what is refused here is the import of torch, several seconds.
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("command", ["index", "simulate", "predict", "demo", "study"])
def test_every_command_explains_itself(command: str):
    outcome = slideloop(command, "--help")
    assert outcome.code == 0
    assert "Usage:" in outcome.out


def test_index_says_what_each_filter_drops(small_slides: Path, small_workspace: Path):
    outcome = slideloop(
        "index", small_slides / "small.tif", "--workspace", small_workspace, *QUICK, "--json"
    )
    (row,) = json.loads(outcome.out)
    assert row["n_grid"] == 160
    assert row["n_patches"] == row["n_grid"] - row["dropped_by"]["tissue"]
    assert row["dropped_by"]["paper"] == sum(row["dropped"].values())


def test_simulate_leaves_what_it_promises(played: Path):
    runs = [f"{strategy}-{seed}" for strategy in ("cnfp", "random") for seed in (0, 1)]
    expected = {"result.json", "curves.png"}
    for run in runs:
        expected |= {f"mask-{run}.png", f"mask-{run}.geojson", f"overlay-{run}.png"}
        expected.add(f"study-{run}.ndjson")
    assert {path.name for path in played.iterdir()} == expected


def test_the_result_has_the_fields_of_the_interface(played: Path):
    result = _result(played)
    assert result.keys() == {"settings", "runs", "summary"}
    assert result["settings"]["weights"]["kind"] == "random"
    assert len(result["runs"]) == 4
    for run in result["runs"]:
        fields = {"strategy", "seed", "engine", "slides", "n_patches", "n_boundary", "curve"}
        assert fields <= run.keys()
        assert [point["n_labels"] for point in run["curve"]] == [8, 16]
        assert [point["n_query_labels"] for point in run["curve"]] == [1, 2]
        for point in run["curve"]:
            assert len(point["round_s"]) == 2
            assert {f"{name}{end}" for name in MEASURES for end in ("", "_unreviewed")} <= (
                point.keys()
            )
    for strategy in ("cnfp", "random"):
        mean, low, high = result["summary"][strategy]["f1"]
        assert low <= mean <= high


def test_all_strategies_of_a_seed_see_the_same_queries(played: Path):
    for seed in (0, 1):
        drawn = [
            [(q["rectangle"], q["label"]) for q in _events(path, "query")]
            for path in (played / f"study-{s}-{seed}.ndjson" for s in ("cnfp", "random"))
        ]
        assert drawn[0] == drawn[1]


def test_queries_are_never_shown(played: Path):
    for path in played.glob("study-*.ndjson"):
        (created,) = _events(path, "study_created")
        shown = {p["place"] for r in _events(path, "round_shown") for p in r["patches"]}
        assert len(created["reserved"][0]) == 2
        assert not shown & set(created["reserved"][0])


def test_the_same_seed_gives_the_same_curve_and_mask(
    played: Path, small_slides: Path, small_workspace: Path, tmp_path: Path
):
    assert _simulate(small_slides, small_workspace, tmp_path).code == 0
    again = [run["curve"] for run in _result(tmp_path)["runs"]]
    before = [run["curve"] for run in _result(played)["runs"] if run["strategy"] == "cnfp"]
    for curve in (*again, *before):
        for point in curve:
            del point["round_s"]
    assert again == before
    for seed in (0, 1):
        name = f"mask-cnfp-{seed}.png"
        assert (tmp_path / name).read_bytes() == (played / name).read_bytes()


def test_relevance_mode_seeks_one_class(small_slides: Path, small_workspace: Path, tmp_path: Path):
    outcome = _simulate(small_slides, small_workspace, tmp_path, "--mode", "relevance", "--json")
    result = json.loads(outcome.out)
    assert result["settings"]["classes"] == ["Tumor", "not Tumor"]
    labels = {q["label"] for q in _events(tmp_path / "study-cnfp-0.ndjson", "query")}
    assert labels == {"Tumor"}


def test_a_search_slide_limits_what_is_shown_but_not_what_is_measured(
    small_slides: Path, small_workspace: Path, tmp_path: Path
):
    small, other = small_slides / "small.tif", small_slides / "other.tif"
    outcome = slideloop(
        "simulate", small, other, "--truth", small_slides / "small.geojson",
        "--truth", small_slides / "other.geojson", "--positive", "Tumor", "--queries", 2,
        "--rounds", 2, "--k", 4, "--seeds", 1, "--search-slide", other, "--query-slide", small,
        "--workspace", small_workspace, "--out", tmp_path, *QUICK,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    journal = tmp_path / "study-cnfp-0.ndjson"
    assert {q["slide"] for q in _events(journal, "query")} == {0}
    assert {p["slide"] for r in _events(journal, "round_shown") for p in r["patches"]} == {1}
    assert len(list(tmp_path.glob("mask-*.png"))) == 2


def test_a_faithful_session_gives_a_mask_and_replays_exactly(
    small_slides: Path, small_workspace: Path, tmp_path: Path
):
    outcome = _simulate(
        small_slides, small_workspace, tmp_path, "--engine", "faithful", "--epochs", 2,
        "--seeds", 1, "--queries", 1,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert _result(tmp_path)["runs"][0]["engine"] == "faithful"
    outcome = slideloop(
        "study", "replay", tmp_path / "study-cnfp-0.ndjson", "--workspace", small_workspace, *QUICK
    )
    assert (outcome.code, outcome.out) == (0, "2 rounds and 2 trainings came out the same.\n")


def test_predict_gives_the_mask_that_simulate_left(
    played: Path, small_slides: Path, small_workspace: Path, tmp_path: Path
):
    outcome = slideloop(
        "predict", played / "study-cnfp-0.ndjson", small_slides / "small.tif", "--format", "png",
        "--workspace", small_workspace, "--out", tmp_path, *QUICK, "--json",
    )  # fmt: skip
    (row,) = json.loads(outcome.out)
    assert Path(row["file"]).read_bytes() == (played / "mask-cnfp-0.png").read_bytes()


@pytest.mark.parametrize("form", ["geojson", "png", "tiff"])
def test_predict_writes_a_mask_of_another_slide(
    form: str, played: Path, small_slides: Path, small_workspace: Path, tmp_path: Path
):
    outcome = slideloop(
        "predict", played / "study-cnfp-0.ndjson", small_slides / "other.tif", "--format", form,
        "--workspace", small_workspace, "--out", tmp_path, *QUICK, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (row,) = json.loads(outcome.out)
    path = Path(row["file"])
    if form == "geojson":
        features = json.loads(path.read_text("utf-8"))["features"]
        area = abs(sum(_area(ring) for f in features for ring in f["geometry"]["coordinates"]))
        assert area == row["n_positive"] * 96 * 96
    else:
        with Image.open(path) as picture:
            green = (np.asarray(picture) == (0, 255, 0)).all(axis=2).sum()
        assert green == row["n_positive"] * (96 * 96 if form == "tiff" else 1)


def _area(ring: list[list[int]]) -> float:
    """Return the signed area of a closed ring; holes run the other way round."""
    x, y = np.array(ring).T
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2


def test_an_untouched_journal_verifies(played: Path):
    outcome = slideloop("study", "verify", played / "study-random-1.ndjson", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out).keys() == {"study", "seq", "hash"}


@pytest.mark.slow
def test_the_demo_leaves_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # No cache and no way to the weights: it must go on with random ones, and say so.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("slideloop.features.weights.DOWNLOAD_TIMEOUT_S", 0.001)
    monkeypatch.setattr("slideloop.cli.demo.ENGINES", {"linear": 2})
    outcome = slideloop("demo", "--out", tmp_path / "demo", "--encoder", "squeezenet1_1")
    assert outcome.code == 0, outcome.err
    assert "random weights" in outcome.err
    left = {path.name for path in (tmp_path / "demo").iterdir()}
    readme = Path(__file__).parents[2] / "README.md"
    promised = {
        name
        for line in readme.read_text("utf-8").splitlines()
        if line.startswith("| `")
        and not line.startswith(("| `imagenet", "| `FILE", "| `random", "| `--"))
        for name in line.split("|")[1].replace("`", "").split(",")
    }
    assert {name.strip() for name in promised} <= left
    assert "F1" in outcome.out
    assert "Jaccard" in outcome.out
