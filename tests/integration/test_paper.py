"""The paper's experiments as examples/paper plays them: resumed, gathered, put into a table."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.command_line import QUICK, slideloop

EXAMPLES = Path(__file__).parents[2] / "examples" / "paper"
sys.path.insert(0, str(EXAMPLES))
import play  # noqa: E402  # pyright: ignore[reportMissingImports]
import tables  # noqa: E402  # pyright: ignore[reportMissingImports]

EXPERIMENT = """
title = "A small one"
measure = "f1_unreviewed"
strategies = ["cnfp", "random"]
arguments = ["{data}/small.tif", "--truth", "{data}/small.geojson",
             "--queries", "2", "--rounds", "1", "--k", "4", "--seeds", "2"]
[[part]]
name = "Tumor"
arguments = ["--positive", "Tumor"]
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(EXPERIMENT)
    return path


def test_an_experiment_that_was_interrupted_ends_with_the_same_figure(
    experiment: Path, small_slides: Path, small_workspace: Path, tmp_path: Path
) -> None:
    options = ["--data", str(small_slides), "--workspace", str(small_workspace), *QUICK]
    assert play.main([str(experiment), *options, "--out", str(tmp_path / "whole")]) == 0
    whole = tmp_path / "whole" / "small"
    figure = json.loads((whole / "figure.json").read_bytes())
    (part,) = figure["parts"]
    assert str(small_slides) not in json.dumps(figure)
    assert [(run["strategy"], run["seed"]) for run in part["runs"]] == [
        *(("cnfp", 0), ("cnfp", 1)),
        *(("random", 0), ("random", 1)),
    ]
    assert (whole / "Tumor.png").stat().st_size > 10_000
    table = (whole / "table.md").read_text("utf-8")
    for row in part["comparison"]["f1_unreviewed"]:
        assert f"| {row['strategy']} | {row['area'][0]:.3f} (" in table
    # Cut off within the second strategy, which then leaves a part, and begun again.
    again = tmp_path / "whole"
    (whole / "Tumor" / "random").rename(whole / "Tumor" / "random.unfinished")
    (whole / "figure.json").rename(tmp_path / "before.json")
    kept = (whole / "Tumor" / "cnfp" / "result.json").stat().st_mtime_ns
    assert play.main([str(experiment), *options, "--out", str(again)]) == 0
    assert [path.name for path in sorted((whole / "Tumor").iterdir())] == ["cnfp", "random"]
    assert (whole / "figure.json").read_bytes() == (tmp_path / "before.json").read_bytes()
    assert (whole / "Tumor" / "cnfp" / "result.json").stat().st_mtime_ns == kept


BETWEEN = """
title = "Between slides"
measure = "f1_unreviewed"
strategies = ["cnfp", "random"]
over_slides = true
prepare = [["{here}/copy.py", "{data}", "{made}"]]
arguments = ["{made}/small.tif", "{made}/other.tif", "--truth", "{made}/small.geojson",
             "--truth", "{made}/other.geojson", "--search-slide", "{made}/small.tif",
             "--positive", "Tumor", "--queries", "3", "--rounds", "1", "--k", "4", "--seeds", "2",
             "--full-supervision", "--mask-after", "2"]
[[part]]
name = "there"
on = ["other.tif", "small.tif"]
arguments = []
"""

COPY = """
import pathlib, shutil, sys
source, target = map(pathlib.Path, sys.argv[1:])
if not (source / "small.tif").exists():
    sys.exit("There is nothing to cut.")
target.mkdir()
for name in ("small", "other"):
    for suffix in (".tif", ".geojson"):
        shutil.copy(source / (name + suffix), target)
"""


@pytest.fixture
def between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment that prepares its data, labels one slide and is measured on both."""
    monkeypatch.setattr(play, "HERE", tmp_path)
    (tmp_path / "copy.py").write_text(COPY)
    path = tmp_path / "between.toml"
    path.write_text(BETWEEN)
    return path


def test_slides_are_measured_one_by_one_beside_full_supervision(
    between: Path, small_slides: Path, small_workspace: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--data", str(small_slides), "--workspace", str(small_workspace), *QUICK]
    assert play.main([str(between), *options, "--out", str(out)]) == 0
    figure = json.loads((out / "between" / "figure.json").read_bytes())
    assert [part["name"] for part in figure["parts"]] == ["there-on-other", "there-on-small"]
    played = json.loads((out / "between" / "there" / "cnfp" / "result.json").read_bytes())
    # Of the slide that it was trained on, full supervision says nothing.
    assert ["full_supervision" in part for part in figure["parts"]] == [True, False]
    for part, slide in zip(figure["parts"], (1, 0), strict=True):
        run, whole = part["runs"][0], played["runs"][0]
        assert run["slides"] == [whole["slides"][slide]]
        f1 = [point["f1"] for point in run["curve"]]
        assert f1 == [pytest.approx(p["by_slide"][slide]["f1"], abs=5e-5) for p in whole["curve"]]
        assert {row["n"] for row in part["comparison"]["f1_unreviewed"]} == {2}
    # Over both, a slide counts once.
    assert {row["n"] for row in figure["comparison"]["f1_unreviewed"]} == {2}
    table = (out / "between" / "table.md").read_text("utf-8")
    full = played["full_supervision"]
    assert re.search(rf"\| all {full['n_labels']:,} labelled \|.*\| {full['f1']:.3f} \|", table)
    for row in played["data"]:
        classes = ", ".join(f"{name} {n:,}" for name, n in sorted(row["patches"].items()))
        assert f"| {row['slide']} | 96 | tissue | {row['n_cells']:,} |" in table
        assert f"| {row['n_patches']:,} | {classes} | {row['n_boundary']:,} |" in table
    # A line per strategy in the picture of masks.
    heights = []
    for path in (
        out / "between" / "there-masks.png",
        out / "between" / "there" / "cnfp" / "overlay-cnfp-0-1-small_tif.png",
    ):
        with Image.open(path) as picture:
            heights.append(picture.height)
    assert heights[0] == 2 * heights[1]


def test_what_was_prepared_in_part_is_prepared_anew_and_indexed_by_one_of_two(
    between: Path, small_slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play, "AGAIN_S", 2.0)
    made = tmp_path / "out" / "between" / "made"
    options = ["--workspace", str(tmp_path / "w"), *QUICK, "--at-once", "2"]
    options += ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=r"copy\.py: There is nothing to cut"):
        play.main([str(between), "--data", str(tmp_path), *options])
    made.mkdir(parents=True)
    (made / "small.tif").write_bytes(b"half of it")
    assert play.main([str(between), "--data", str(small_slides), *options]) == 0
    assert (made / "small.tif").stat().st_size > 1000
    before = (made / "small.tif").stat().st_mtime_ns
    assert play.main([str(between), "--data", str(small_slides), *options]) == 0
    assert (made / "small.tif").stat().st_mtime_ns == before


def test_data_that_is_not_there_is_said_as_simulate_says_it(
    experiment: Path, tmp_path: Path
) -> None:
    options = ["--data", str(tmp_path), "--workspace", str(tmp_path / "w"), *QUICK]
    with pytest.raises(SystemExit, match=r"small\.tif"):
        play.main([str(experiment), *options, "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_experiment_has_options_that_simulate_knows(path: Path) -> None:
    found = tomllib.loads(path.read_text("utf-8"))
    known = slideloop("simulate", "--help").out
    for part in found["part"]:
        for word in (*found["arguments"], *part["arguments"]):
            assert not word.startswith("--") or f"{word} " in known
    always = {"title", "measure", "strategies", "arguments", "part"}
    assert {*found} - {"reference", "prepare", "over_slides"} == always
    for program, *_ in found.get("prepare", []):
        assert Path(program.format(here=EXAMPLES)).is_file()


DOCS = EXAMPLES.parents[1] / "docs"


def test_the_page_of_figures_says_what_the_figures_say() -> None:
    text = (DOCS / "figures.md").read_text("utf-8")
    named = set(re.findall(r"<!-- figure: ([\w.-]+) -->", text))
    assert named == {path.stem for path in (DOCS / "figures").glob("*.json")}
    assert tables.page(text, DOCS / "figures") == text
    assert tables.page(text.replace("0.9", "0.8"), DOCS / "figures") != text.replace("0.9", "0.8")


def figure(name: str) -> list[dict[str, Any]]:
    """Return the parts of a figure for both networks, the stand-in first."""
    paths = [DOCS / "figures" / f"{name}-{weights}.json" for weights in ("stand-in", "squeezenet")]
    return [part for path in paths for part in json.loads(path.read_bytes())["parts"]]


def heights(part: dict[str, Any], strategy: str) -> NDArray[np.float64]:
    """Return the mean curve of a strategy."""
    runs = [run["curve"] for run in part["runs"] if run["strategy"] == strategy]
    return np.mean([[point["f1_unreviewed"] for point in curve] for curve in runs], axis=0)


def test_the_words_of_the_page_are_those_of_its_numbers() -> None:
    text = " ".join((DOCS / "figures.md").read_text("utf-8").split())
    between = figure("fig5-colon")
    labelled = [part for part in between if part["name"].endswith("on-search")]
    parts = [*figure("fig2-colon"), *figure("fig3-colon"), *figure("fig3-tcga"), *between]
    told: dict[str, list[tuple[str, float]]] = {}
    for part in parts:
        for row in next(iter(part["comparison"].values())):
            if row["difference"] is not None:
                found = (row["verdict"], row["difference"][0])
                told.setdefault(row["strategy"], []).append(found)
    for strategy in ("random", "front_mid_end", "top_k"):
        assert {verdict for verdict, _ in told[strategy]} == {"behind"}
    assert len(told["entropy"]) == 14 and "Of the fourteen comparisons" in text
    level = [difference for verdict, difference in told["entropy"] if verdict == "not told"]
    assert len(level) == 11 and "eleven tell no difference" in text
    assert max(map(abs, level)) < 0.0025 and "none of these is above .002" in text
    others = sorted((v, f"{abs(d):.3f}"[1:]) for v, d in told["entropy"] if v != "not told")
    assert others == [("ahead", ".002"), ("behind", ".003"), ("behind", ".005")]
    assert "ahead by .002" in text and "in two behind by .003 and .005" in text
    here = [*figure("fig3-colon"), *figure("fig3-tcga"), *labelled]
    for group, counts in ((here, [8, 0]), ([p for p in parts if p not in here], [1, 5])):
        verdicts = [
            row["verdict"]
            for part in group
            for row in next(iter(part["comparison"].values()))
            if row["strategy"] == "hybrid"
        ]
        assert [verdicts.count("behind"), verdicts.count("not told")] == counts
    assert "in all eight cases" in text and "in five cases of six" in text

    own = [part for part in between if part["name"] == "own-queries-on-held-out"]
    other = [part for part in between if part["name"].startswith("queries-of")]
    cnfp, random = ([f"{heights(p, s)[-1]:.3f}"[1:] for p in own] for s in ("cnfp", "random"))
    full = [f"{part['full_supervision']['f1_unreviewed']:.3f}"[1:] for part in own]
    sentence = (
        f"an F1 of {cnfp[0]} (SqueezeNet {cnfp[1]}), all 1,236 patches of the labelled part "
        f"{full[0]} ({full[1]}), 250 random ones {random[0]} ({random[1]})."
    )
    assert sentence in text
    curves = [heights(part, "cnfp") for part in (own[0], other[0], own[1], other[1])]
    assert {int(curve.argmax()) for curve in curves} == {2, 3, 4}
    top = [f"{curve.max():.3f}"[1:] for curve in curves]
    assert f"at 75 to 125 labels ({top[0]} to {top[1]}; SqueezeNet {top[2]} to {top[3]})" in text
    assert all(0.015 < curve.max() - curve[-1] < 0.035 for curve in curves)
    areas = [
        next(r["area"][0] for r in p["comparison"]["f1_unreviewed"] if r["strategy"] == "cnfp")
        for p in (*own, *other)
    ]
    assert max(abs(areas[0] - areas[2]), abs(areas[1] - areas[3])) < 0.0015
