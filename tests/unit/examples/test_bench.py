from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slideloop.evaluation.generated import Scene, truth_geojson, write_slide
from slideloop.features.encoders import load_encoder
from slideloop.features.normalisation import IMAGENET
from slideloop.features.workspace import PatchOptions, Workspace
from slideloop.learning.sampling import choose

BENCHMARKS = Path(__file__).parents[3] / "examples" / "benchmarks"
TINY = ["--size", "20", "--pool", "64", "--labels", "8", "12", "--epochs", "1"]
PARTS = ("index", "round", "linear", "first")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a script of the benchmarks by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "bench.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    out = tmp_path_factory.mktemp("bench") / "bench.json"
    few = ["--slide-patches", "40", "--repeat", "1", "--quick", "--out", str(out)]
    done = run([*TINY, *few])
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


def comparisons(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [*result["index"].values(), *result["round"].values(), result["linear"]]


@pytest.mark.slow
def test_each_part_is_in_the_file(ran: tuple[dict[str, Any], str]):
    result, _ = ran
    assert {"started", "machine", "settings", "seconds", *PARTS} == result.keys()
    assert result["machine"]["threads"] >= 1
    assert list(result["index"]) == ["jpeg-256"]
    assert list(result["round"]) == ["8", "12"]
    assert [len(found["pairs"]) for found in comparisons(result)] == [1, 1, 1, 1]
    assert len(result["first"]["runs"]) == 1


@pytest.mark.slow
def test_ratios_follow_from_the_times(ran: tuple[dict[str, Any], str]):
    for found in comparisons(ran[0]):
        ratios = [p / o for p, o in zip(found["plain_s"], found["ours_s"], strict=True)]
        assert found["ratios"] == ratios
        expected = {"median": np.median(ratios), "low": min(ratios), "high": max(ratios)}
        assert found["ratio"] == expected


@pytest.mark.slow
def test_times_follow_from_the_runs(ran: tuple[dict[str, Any], str]):
    result, _ = ran
    for side in ("plain", "ours"):
        index = result["index"]["jpeg-256"]
        assert index[f"{side}_s"] == [pair[side]["index_s"] for pair in index["pairs"]]
        scored = [pair[side]["score_s"] for pair in result["round"]["8"]["pairs"]]
        for found in result["round"].values():
            trained = [50 * pair[side]["train_s"] for pair in found["pairs"]]
            expected = [t + s for t, s in zip(trained, scored, strict=True)]
            assert found[f"{side}_s"] == pytest.approx(expected)
            assert found["is_scaled"]


@pytest.mark.slow
def test_the_first_patches_come_after_the_query(ran: tuple[dict[str, Any], str]):
    first = ran[0]["first"]
    assert first["seconds"]["low"] <= first["seconds"]["median"] <= first["seconds"]["high"]
    for times in first["runs"]:
        assert 0 < times["opened_s"] < times["queried_s"] < times["first_s"]


@pytest.mark.slow
def test_the_ratios_are_printed(ran: tuple[dict[str, Any], str]):
    result, said = ran
    for found in comparisons(result):
        ratio = found["ratio"]
        assert f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" in said


@pytest.mark.slow
def test_a_study_over_several_slides_on_a_server_shows_what_its_masks_say(tmp_path: Path):
    scene = Scene(0, 1024, 768)
    write_slide(scene, tmp_path / "slide.tif")
    (tmp_path / "truth.geojson").write_text(json.dumps(truth_geojson(scene)))
    real = [str(tmp_path / "slide.tif"), str(tmp_path / "truth.geojson"), "--patch", "128"]
    few = ["--patches", "49", "--sizes", "1", "3", "--sessions", "2", "--weights", "random"]
    command = [sys.executable, str(BENCHMARKS / "many_over_http.py"), *real, *few]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n_patches"] == 3 * 49
    assert found["n_shown"] == 5
    assert found["n_shown_with_another_rank"] == 0
    assert list(found["rounds"]) == ["1", "3"]
    assert all(times["first_s"] > 0 and times["n"] == 7 for times in found["rounds"].values())


def test_a_ratio_is_taken_within_a_pair(script: Any):
    found = script("figures").comparison([2.0, 8.0, 3.0], [1.0, 2.0, 1.0])
    assert found["ratios"] == [2, 4, 3]
    assert found["ratio"] == {"median": 3, "low": 2, "high": 4}


def test_an_unknown_part_is_refused():
    done = run(["--only", "index,speed"])
    assert done.returncode == 2
    assert "no such part: speed" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["aligned", "unaligned"])
def test_plain_pytorch_gives_the_features_of_the_index(layout: str, script: Any, tmp_path: Path):
    plain, slides = script("plain"), script("slides")
    slide = getattr(slides, layout)(tmp_path, slides.size_of(60))
    net = plain.load_network("random")
    plain.index(slide, net, "cpu", tmp_path / "plain.npy")
    workspace = Workspace(tmp_path / "workspace")
    [source] = workspace.open_slides([slide], PatchOptions())
    store = workspace.index(source, load_encoder("resnet18", "random", "cpu"), IMAGENET, "full")
    workspace.close()
    by_row = np.lexsort((store.cells[:, 0], store.cells[:, 1]))
    ours, theirs = store.features()[by_row], np.load(tmp_path / "plain.npy")
    assert theirs.shape == ours.shape
    assert 0 < len(ours) < 60
    for our, their in zip(ours.astype(np.float64), theirs.astype(np.float64), strict=True):
        assert np.linalg.norm(our - their) / np.linalg.norm(their) < 0.02


def test_plain_cnfp_chooses_as_ours(script: Any):
    rng = np.random.default_rng(0)
    distance, is_positive = rng.random(200), rng.random(200) < 0.5
    seen = rng.choice(200, 30, replace=False)
    order = np.argsort(distance, kind="stable")
    order = order[~np.isin(order, seen)]
    picks, _ = choose("cnfp", order, 5, rng=rng, is_positive=is_positive[order])
    assert script("plain").cnfp(distance, is_positive, seen) == picks.patches.tolist()


@pytest.mark.parametrize("n", [1, 20, 200, 2000, 12500])
def test_a_slide_has_about_as_many_patches_as_asked_for(n: int, script: Any):
    width, height = script("slides").size_of(n)
    n_patches = width * height / script("slides").PATCH ** 2
    assert math.isclose(n_patches, n, rel_tol=0.05)
