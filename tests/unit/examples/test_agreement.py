from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests import slide_files

from slideloop.errors import InvalidInputError, TruthError
from slideloop.slides.reader import open_slide

EXAMPLES = Path(__file__).parents[3] / "examples"


def point(n_labels: int, f1: float) -> dict[str, Any]:
    return {"n_labels": n_labels, "f1": f1}


def played(engine: str, seed: int, *f1: float) -> dict[str, Any]:
    case = {"slide": "s", "weights": "w", "positive": "P", "strategy": "cnfp", "precision": "bf16"}
    curve = [point(25 * n, value) for n, value in enumerate(f1, 1)]
    return {**case, "engine": engine, "seed": seed, "curve": curve}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a script of the examples by name."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.syspath_prepend(str(EXAMPLES / "benchmarks"))
    return importlib.import_module


def square(column: int, row: int, name: str) -> dict[str, Any]:
    x, y = column * 100, row * 100
    ring = [[x, y], [x + 100, y], [x + 100, y + 100], [x, y + 100], [x, y]]
    geometry = {"type": "Polygon", "coordinates": [ring]}
    return {"type": "Feature", "properties": {"classification": name}, "geometry": geometry}


def test_annotations_that_touch_at_a_corner_are_one_region(script: Any):
    cut = script("cut_slide")
    squares = [square(0, 0, "A"), square(5, 5, "A"), square(1, 1, "A"), square(5, 6, "A")]
    assert cut.regions_of(squares) == [[squares[0], squares[2]], [squares[1], squares[3]]]


def test_a_cut_holds_out_the_share_of_each_class_and_nothing_twice(script: Any):
    cut = script("cut_slide")
    squares = [square(3 * i, 0, "A") for i in range(9)] + [square(3 * i, 3, "B") for i in range(6)]
    search, held_out = cut.divide(squares, 1 / 3, 0)
    assert [cut.class_of(s) for s in held_out] == ["A"] * 3 + ["B"] * 2
    assert sorted(map(str, search + held_out)) == sorted(map(str, squares))
    assert cut.divide(squares, 1 / 3, 0) == (search, held_out)
    assert cut.divide(squares, 1 / 3, 1) != (search, held_out)


def test_a_class_of_one_region_cannot_be_cut(script: Any):
    with pytest.raises(TruthError, match="'B' has a single region"):
        script("cut_slide").divide(
            [square(0, 0, "A"), square(3, 0, "A"), square(6, 0, "B")], 0.5, 0
        )


@pytest.mark.parametrize("share", [0, 1, -1, float("nan")])
def test_a_share_that_leaves_nothing_is_refused(script: Any, share: float):
    with pytest.raises(InvalidInputError):
        script("cut_slide").divide([square(0, 0, "A"), square(3, 0, "A")], share, 0)


@pytest.mark.slow
def test_each_part_of_a_cut_slide_shows_its_own_regions_and_white(script: Any, tmp_path: Path):
    width, height = 700, 1300
    path = slide_files.write_pyramid(tmp_path / "slide.tif", width, height)
    whole = slide_files.whole(width, height)
    truth = tmp_path / "truth.geojson"
    features = [square(1, 1, "A"), square(4, 10, "A")]
    truth.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert script("cut_slide").main([str(path), str(truth), str(tmp_path / "out")]) == 0
    seen = []
    for name in ("search", "held-out"):
        kept = json.loads((tmp_path / "out" / f"{name}.geojson").read_text())["features"]
        x, y = kept[0]["geometry"]["coordinates"][0][0]
        with open_slide(tmp_path / "out" / f"{name}.tif") as part:
            pixels = part.read(0, 0, width, height)
        expected = np.full_like(whole, 255)
        expected[y : y + 101, x : x + 101] = whole[y : y + 101, x : x + 101]
        assert np.array_equal(pixels, expected)
        seen += kept
    assert sorted(map(str, seen)) == sorted(map(str, features))


def rows(script: Any, runs: list[dict[str, Any]], name: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = script("agreement_table").tables({"runs": runs})[name].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_engines_are_compared_on_the_seeds_that_both_played(script: Any):
    runs = [played("linear", seed, 0.9 + 0.01 * seed) for seed in range(3)]
    runs += [played("faithful", 1, 0.8), played("faithful", 2, 0.86)]
    case = ["s", "w", "P", "cnfp"]
    nothing = [""] * 4
    assert rows(script, runs, "same-slide") == [
        [*case, "faithful", "bf16", "2", ".830", *nothing],
        [*case, "linear", "bf16", "3", ".910", *nothing],
    ]
    # .91 - .80 and .92 - .86: mean .085, half width 12.7062 * .025 for two pairs.
    assert rows(script, runs, "engines") == [
        [*case, "bf16", "2", "+.085 (-.233 to +.403)", *nothing]
    ]


def test_precisions_are_compared_within_an_engine_and_engines_within_a_precision(script: Any):
    runs = [played("linear", 0, 0.9), {**played("linear", 0, 0.7), "precision": "fp32"}]
    runs.append({**played("faithful", 0, 0.5), "precision": "fp32"})
    nothing = [""] * 4
    case = ["s", "w", "P", "cnfp"]
    assert rows(script, runs, "precision") == [[*case, "linear", "1", "+.200", *nothing]]
    assert rows(script, runs, "engines") == [[*case, "fp32", "1", "+.200", *nothing]]


def test_the_longer_of_two_runs_of_one_seed_counts(script: Any):
    runs = [played("linear", 0, 0.5), played("linear", 0, 0.5, 0.6)]
    assert rows(script, runs, "same-slide")[0][6:9] == ["1", ".500", ".600"]


def test_a_job_is_known_when_all_its_runs_are_there_and_long_enough(script: Any):
    job = script("agreement").Job("s", "w", "P", "linear", ("cnfp",), "auto", range(2), 2)
    is_known = script("agreement").is_known
    whole = [played("linear", seed, 0.9, 0.9) for seed in range(2)]
    assert is_known(job, whole)
    assert not is_known(job, whole[:1])
    assert not is_known(job, [*whole[:1], played("linear", 1, 0.9)])
    assert not is_known(job, [{**run, "engine": "faithful"} for run in whole])
    assert is_known(dataclasses.replace(job, precision="bf16"), whole)
    assert not is_known(dataclasses.replace(job, precision="fp32"), whole)


def test_known_runs_are_kept_and_played_ones_replace_them(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    agreement = script("agreement")
    job = agreement.Job("colon", "squeezenet", "P", "linear", ("cnfp",), "auto", range(1), 1)
    measured = {f"{name}_unreviewed": 0.25 for name in agreement.KEPT}
    run = {"engine": "linear", "strategy": "cnfp", "seed": 0}
    run["curve"] = [{"n_labels": 25, **measured}]
    (tmp_path / job.name).mkdir()
    result = {"settings": {"dtype": "bf16"}, "runs": [run]}
    (tmp_path / job.name / "result.json").write_text(json.dumps(result))
    monkeypatch.setattr(agreement, "all_jobs", lambda: [job])
    (new,) = agreement.collect(tmp_path, [])
    assert new["curve"] == [{"n_labels": 25, "f1": 0.25, "f1_macro": 0.25, "accuracy": 0.25}]
    older = {**new, "curve": [{**new["curve"][0], "f1": 0.1}]}
    other = {**older, "seed": 1}
    assert agreement.collect(tmp_path, [older, other]) == [other, new]


def test_the_tables_of_the_page_are_those_of_its_file(script: Any):
    table = script("agreement_table")
    docs = EXAMPLES.parent / "docs"
    gathered = json.loads((docs / "engines.json").read_text(encoding="utf-8"))
    page = (docs / "engines.md").read_text(encoding="utf-8")
    assert "<!-- table: same-slide -->" in page
    assert table.filled(page, table.tables(gathered)) == page
