"""The commands as users and their programs meet them, on small generated slides."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import f1_score
from tests.command_line import QUICK, slideloop

from slideloop.evaluation.generated import TUMOUR, Scene
from slideloop.features.store import open_store
from slideloop.slides.reader import open_slide
from slideloop.studies.journal import Journal

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
    expected = {"result.json", "curves.png", "report.html"}
    for run in runs:
        expected |= {f"mask-{run}.png", f"mask-{run}.geojson", f"overlay-{run}.png"}
        expected.add(f"study-{run}.ndjson")
    assert {path.name for path in played.iterdir()} == expected


def test_the_result_has_the_fields_of_the_interface(played: Path):
    result = _result(played)
    assert result.keys() == {"settings", "runs", "data", "summary", "comparison"}
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


def test_the_strategies_are_ranked_with_what_chance_may_do(
    small_slides: Path, small_workspace: Path, tmp_path: Path, played: Path
):
    rows = _result(played)["comparison"]["f1_unreviewed"]
    assert {row["strategy"]: row["n"] for row in rows} == {"cnfp": 2, "random": 2}
    (random,) = [row for row in rows if row["strategy"] == "random"]
    low, high = random["difference"][1:]
    assert (random["verdict"] == "not told") == (low <= 0 <= high)
    names = ("--strategy", "random", "--strategy", "cnfp", "--seeds", 1)
    outcome = _simulate(small_slides, small_workspace, tmp_path, *names)
    lines = outcome.out.splitlines()
    what = "Area under the curve of F1 on unreviewed patches"
    start = lines.index(f"{what}, by seed beside cnfp, this slide:")
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["1.", "2."]
    assert sum("chance may do that on this slide" in line for line in lines) == 1
    assert "One seed does not tell chance from difference" in outcome.out


def test_the_report_stands_alone_and_shows_every_patch_of_a_run(played: Path):
    page = (played / "report.html").read_text("utf-8")
    assert not re.search(r"(?:src|href)=.(?!data:)|<script|@import|url\(", page)
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        for data in re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    ]
    # The curves; of each strategy its mask and its patches: two sessions of two rounds of four.
    assert len(pictures) == 1 + 2 * 2
    assert [p.shape for p in pictures if p.shape[0] == 2 * 54] == [(108, 8 * 54, 3)] * 2
    for row in _result(played)["comparison"]["f1_unreviewed"]:
        assert f"<td>{row['strategy']}</td><td>{row['area'][0]:.3f} (" in page
    assert len(page) < 4_000_000


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
    point = _result(tmp_path)["runs"][0]["curve"][-1]
    by_slide = [found["f1_unreviewed"] for found in point["by_slide"]]
    assert point["f1_unreviewed"] == pytest.approx(sum(by_slide) / 2)
    assert point["by_slide"][0]["f1"] == by_slide[0], "no patch of that slide was reviewed"


def test_slides_that_are_not_searched_are_ranked_apart_and_beside_full_supervision(
    small_slides: Path, small_workspace: Path, tmp_path: Path
):
    small, other = small_slides / "small.tif", small_slides / "other.tif"
    line = (
        "simulate", small, other, "--truth", small_slides / "small.geojson",
        "--truth", small_slides / "other.geojson", "--positive", "Tumor", "--queries", 3,
        "--rounds", 1, "--k", 4, "--seeds", 2, "--strategy", "cnfp", "--strategy", "random",
        "--workspace", small_workspace, *QUICK,
    )  # fmt: skip
    more = ("--search-slide", small, "--full-supervision", "--mask-after", 2)
    outcome = slideloop(*line, *more, "--out", tmp_path)
    assert outcome.code == 0, outcome.err
    result = _result(tmp_path)
    assert "by seed beside cnfp, the slide searched:" in outcome.out
    assert "by seed beside cnfp, the slide not searched:" in outcome.out
    assert {row["n"] for row in result["comparison_not_searched"]["f1_unreviewed"]} == {2}
    report = (tmp_path / "report.html").read_text("utf-8")
    assert "Which strategy, on the slide searched" in report
    assert "Which strategy, on the slide not searched" in report
    # What there is to find, and what labelling all of the first slide brings on the second.
    first, second = result["data"]
    assert first["slide"] == "small.tif"
    for row in (first, second):
        assert sum(row["patches"].values()) == row["n_patches"] <= row["n_cells"]
        assert 0 < row["n_boundary"] < row["n_patches"]
    full = result["full_supervision"]
    assert full["n_labels"] == first["n_patches"]
    assert full["n_scored"] == second["n_patches"]
    assert full["by_slide"][0] is None
    assert 0 < full["f1"] == full["by_slide"][1]["f1"] <= 1
    assert f"all {full['n_labels']:,} patches labelled: f1 {full['f1']:.3f}" in outcome.out
    # The mask after the second of three sessions makes a further panel.
    assert result["settings"]["masks_after"] == [2]
    heights = {}
    for path in sorted(tmp_path.glob("overlay-cnfp-0-*.png")):
        with Image.open(path) as picture:
            heights[path.name] = picture.height
    again = tmp_path / "again"
    outcome = slideloop(*line, "--out", again)
    assert outcome.code == 0, outcome.err
    assert "by slide beside cnfp, these slides:" in outcome.out
    assert {row["n"] for row in _result(again)["comparison"]["f1_unreviewed"]} == {2}
    assert not {"full_supervision", "comparison_not_searched"} & {*_result(again)}
    for path in sorted(again.glob("overlay-cnfp-0-*.png")):
        with Image.open(path) as picture:
            assert picture.height > heights.pop(path.name)
    assert not heights


def test_a_session_that_gave_no_mask_keeps_its_place_in_the_row(
    small_slides: Path, small_workspace: Path, tmp_path: Path
):
    heights = []
    for name, more in (("with", ("--mask-after", 1)), ("without", ())):
        outcome = _simulate(
            small_slides, small_workspace, tmp_path / name, "--strategy", "top_k", "--seeds", 1,
            "--rounds", 1, "--k", 1, *more,
        )  # fmt: skip
        assert outcome.code == 0, outcome.err
        first, last = _result(tmp_path / name)["runs"][1]["curve"]
        assert (first["f1"], last["f1"] is None) == (None, False), "one class was known at first"
        with Image.open(tmp_path / name / "overlay-top_k-0.png") as picture:
            heights.append(picture.height)
    assert heights[0] < heights[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--full-supervision",), "nothing is left to measure full supervision on"),
        (("--mask-after", 3), "no session 3 after which"),
        (("--mask-after", 0), "no session 0 after which"),
    ],
)
def test_what_an_experiment_has_nothing_for_is_refused(
    options: tuple[Any, ...], words: str, small_slides: Path, small_workspace: Path, tmp_path: Path
):
    outcome = _simulate(small_slides, small_workspace, tmp_path, "--queries", 2, *options)
    assert outcome.code == 2
    (sentence,) = outcome.complaints()
    assert words in sentence


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
    assert json.loads(outcome.out)["holds"] is True


def test_predict_keeps_the_labels_that_were_given(
    played: Path, small_slides: Path, small_workspace: Path, tmp_path: Path
):
    journal = played / "study-cnfp-0.ndjson"
    outcome = slideloop(
        "predict", journal, small_slides / "small.tif", "--as", "tiles",
        "--workspace", small_workspace, "--out", tmp_path, *QUICK, "--json",
    )  # fmt: skip
    (row,) = json.loads(outcome.out)
    tiles = {}
    for feature in json.loads(Path(row["file"]).read_text("utf-8"))["features"]:
        corner = np.array(feature["geometry"]["coordinates"][0]).min(0) // 96
        tiles[tuple(corner.tolist())] = feature["properties"]["measurements"]
    shown = {p["id"]: p for r in _events(journal, "round_shown") for p in r["patches"]}
    labels = {label["patch"]: label["label"] for label in _events(journal, "label")}
    assert len(labels) == 16
    for patch, label in labels.items():
        cell = shown[patch]["column"], shown[patch]["row"]
        assert (cell in tiles) == (label == "Tumor")
        if label == "Tumor":
            assert tiles[cell] == {"slideloop probability": 1.0}
    assert len(tiles) == row["n_positive"]


def test_a_tiff_mask_lies_on_the_slide_it_was_made_for(
    played: Path, small_slides: Path, small_workspace: Path, tmp_path: Path
):
    outcome = slideloop(
        "predict", played / "study-cnfp-0.ndjson", small_slides / "small.tif", "--format", "tiff",
        "--workspace", small_workspace, "--out", tmp_path, *QUICK, "--json",
    )  # fmt: skip
    (row,) = json.loads(outcome.out)
    with open_slide(row["file"]) as mask, open_slide(small_slides / "small.tif") as slide:
        assert (mask.info.width, mask.info.height) == (slide.info.width, slide.info.height)
        assert mask.info.mpp == pytest.approx(slide.info.mpp, rel=1e-3)
        assert len(mask.info.level_downsamples) > 1


def test_a_wish_for_all_strategies_plays_six_and_prints_them(
    small_slides: Path, small_workspace: Path, tmp_path: Path
):
    outcome = _simulate(
        small_slides, small_workspace, tmp_path, "--strategy", "all", "--seeds", 1, "--json"
    )
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out, parse_constant=_refuse)
    assert result == json.loads((tmp_path / "result.json").read_text(), parse_constant=_refuse)
    names = {"random", "top_k", "front_mid_end", "cnfp", "hybrid", "entropy"}
    assert {run["strategy"] for run in result["runs"]} == names == set(result["summary"])
    picks = {}
    for name in names:
        rounds = _events(tmp_path / f"study-{name}-0.ndjson", "round_shown")
        assert rounds[-1]["strategy_used"] == name
        picks[name] = tuple(p["place"] for r in rounds for p in r["patches"])
    assert len(set(picks.values())) == len(names)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_seeds_are_counted_from_the_one_given(
    small_slides: Path, small_workspace: Path, tmp_path: Path
):
    outcome = _simulate(
        small_slides, small_workspace, tmp_path, "--seed", 5, "--queries", 1, "--rounds", 1
    )
    assert outcome.code == 0, outcome.err
    assert [run["seed"] for run in _result(tmp_path)["runs"]] == [5, 6]


def test_the_score_leaves_out_queries_and_where_it_says_so_reviewed_patches(
    played: Path, small_slides: Path, small_workspace: Path
):
    (record,) = _result(played)["settings"]["slides"]
    store = open_store(small_workspace / "features" / f"{record['id']}.full")
    column, row = store.cells.T
    is_tumor = _majority_is_tumor(small_slides / "small.geojson")[row, column]
    for run in _result(played)["runs"]:
        name = f"{run['strategy']}-{run['seed']}"
        with Image.open(played / f"mask-{name}.png") as picture:
            predicted = np.asarray(picture)[row, column, 1] > 0
        journal = played / f"study-{name}.ndjson"
        (created,) = _events(journal, "study_created")
        (reserved,) = created["reserved"]
        shown = [p["place"] for r in _events(journal, "round_shown") for p in r["patches"]]
        last = run["curve"][-1]
        assert last["f1"] == pytest.approx(_f1(is_tumor, predicted, reserved))
        unreviewed = _f1(is_tumor, predicted, reserved + shown)
        assert last["f1_unreviewed"] == pytest.approx(unreviewed)


def _majority_is_tumor(truth: Path) -> NDArray[np.bool_]:
    """Say of each cell of 96 px whether Tumor is the largest part of what is half annotated."""
    features = json.loads(truth.read_text())["features"]
    names = [feature["properties"]["classification"]["name"] for feature in features]
    regions = [shapely.geometry.shape(feature["geometry"]) for feature in features]
    result = np.zeros((10, 16), bool)
    for row, column in np.ndindex(result.shape):
        cell = shapely.box(column * 96, row * 96, (column + 1) * 96, (row + 1) * 96)
        shares = [region.intersection(cell).area / cell.area for region in regions]
        most = names[int(np.argmax(shares))]
        result[row, column] = sum(shares) >= 0.5 and most == "Tumor"
    return result


def _f1(is_tumor: NDArray[np.bool_], predicted: NDArray[np.bool_], without: list[int]) -> float:
    counted = np.ones(len(is_tumor), bool)
    counted[without] = False
    return float(f1_score(is_tumor[counted], predicted[counted]))


def test_a_mask_image_serves_as_truth(small_slides: Path, small_workspace: Path, tmp_path: Path):
    tissue = Scene(0, 1536, 1024).tissue(0, 0, 1536, 1024)[::4, ::4]
    Image.fromarray(((tissue == TUMOUR) * 255).astype(np.uint8)).save(tmp_path / "truth.png")
    outcome = slideloop(
        "simulate", small_slides / "small.tif", "--truth", tmp_path / "truth.png", "--positive",
        "Tumor", "--outside", "Rest", "--queries", 2, "--rounds", 1, "--k", 4, "--seeds", 1,
        "--workspace", small_workspace, "--out", tmp_path / "out", *QUICK, "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["settings"]["classes"] == ["Tumor", "Rest"]


def test_a_flag_beats_a_variable_beats_the_settings_file(
    small_slides: Path, small_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "mine.toml"
    file.write_text('weights = "random"\nencoder = "resnet18"\npatch = 200\n')
    monkeypatch.setenv("SLIDELOOP_CONFIG", str(file))
    monkeypatch.setenv("SLIDELOOP_ENCODER", "squeezenet1_1")
    monkeypatch.setenv("SLIDELOOP_PATCH", "300")
    monkeypatch.setenv("SLIDELOOP_WORKSPACE", str(small_workspace))
    slide = small_slides / "small.tif"
    mixed = slideloop("index", slide, "--patch", 96, "--json")
    assert mixed.code == 0, mixed.err
    monkeypatch.delenv("SLIDELOOP_ENCODER")
    monkeypatch.delenv("SLIDELOOP_PATCH")
    flags = slideloop("index", slide, *QUICK, "--json")
    assert json.loads(mixed.out)[0]["id"] == json.loads(flags.out)[0]["id"]


def test_a_replay_says_as_json_that_all_came_out_the_same(played: Path, small_workspace: Path):
    outcome = slideloop(
        "study", "replay", played / "study-cnfp-1.ndjson", "--workspace", small_workspace, *QUICK,
        "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["n_rounds"], found["n_trainings"]) == (4, 4)
    assert (found["comparable"], found["changed"], found["differences"]) == (True, [], [])


def test_a_journal_forged_with_a_chain_that_holds_does_not_replay(
    played: Path, small_workspace: Path, tmp_path: Path
):
    rows = [json.loads(s) for s in (played / "study-cnfp-0.ndjson").read_bytes().splitlines()]
    shown = [row for row in rows if row["type"] == "round_shown"]
    shown[1]["data"]["patches"][0]["rank"] += 1
    journal = Journal(rows[0]["prev"])
    for row in rows:
        journal.append(row["type"], row["data"])
    forged = tmp_path / "forged.ndjson"
    forged.write_bytes(b"".join(journal.lines()))
    assert slideloop("study", "verify", forged).code == 0
    outcome = slideloop("study", "replay", forged, "--workspace", small_workspace, *QUICK)
    assert outcome.code == 3
    assert outcome.out.splitlines() == [
        "round_shown (round 2): patches came out differently.",
        "4 rounds and 4 trainings did not all come out the same.",
    ]


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
        and not line.startswith(("| `imagenet", "| `FILE", "| `random", "| `--", "| `slideloop"))
        for name in line.split("|")[1].replace("`", "").split(",")
    }
    assert {name.strip() for name in promised} <= left
    assert "F1" in outcome.out
    assert "Jaccard" in outcome.out
