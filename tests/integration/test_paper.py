"""The paper's experiments as examples/paper plays them: resumed, gathered, put into a table."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
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
    # Cut off after the first strategy, and begun again.
    again = tmp_path / "whole"
    (whole / "Tumor" / "random" / "result.json").unlink()
    (whole / "figure.json").rename(tmp_path / "before.json")
    kept = (whole / "Tumor" / "cnfp" / "result.json").stat().st_mtime_ns
    assert play.main([str(experiment), *options, "--out", str(again)]) == 0
    assert (whole / "figure.json").read_bytes() == (tmp_path / "before.json").read_bytes()
    assert (whole / "Tumor" / "cnfp" / "result.json").stat().st_mtime_ns == kept


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
    assert {*found} - {"reference"} == {"title", "measure", "strategies", "arguments", "part"}


def test_the_page_of_figures_says_what_the_figures_say() -> None:
    docs = EXAMPLES.parents[1] / "docs"
    text = (docs / "figures.md").read_text("utf-8")
    named = set(re.findall(r"<!-- figure: ([\w.-]+) -->", text))
    assert named == {path.stem for path in (docs / "figures").glob("*.json")}
    assert tables.page(text, docs / "figures") == text
    assert tables.page(text.replace("0.9", "0.8"), docs / "figures") != text.replace("0.9", "0.8")
