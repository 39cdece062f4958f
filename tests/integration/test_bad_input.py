"""What a user may do wrong: one clear sentence, exit 2, nothing half-written, no traceback.

The commands run in this process, where an error that nobody turned into a sentence fails the test.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import torch
from PIL import Image
from tests.command_line import QUICK, Outcome, left_in, slideloop
from tests.slide_files import write_header, write_pyramid

from slideloop.errors import (
    OnGlassError,
    OutsideSlideError,
    PoolExhaustedError,
    QueryNotRelevantError,
)
from slideloop.evaluation import simulate as simulation
from slideloop.features.encoders import Encoder
from slideloop.features.store import open_store
from slideloop.features.workspace import IndexedSlide
from slideloop.learning.database import Database
from slideloop.learning.engines import create_engine
from slideloop.learning.heads import TrainingSettings
from slideloop.studies.ground import Ground
from slideloop.studies.journal import Journal, new_id, read_journal
from slideloop.studies.loop import Loop, create_study
from slideloop.studies.settings import Settings

EXPERIMENT = {"--positive": "Tumor", "--queries": 2, "--rounds": 2, "--k": 5, "--seeds": 1}
INTERRUPTED = 130


class Bench:
    """A place to make mistakes in: slides, an output folder with old results, a workspace."""

    def __init__(self, folder: Path, slides: Path, indexed: Path) -> None:
        self.folder, self.indexed = folder, indexed
        self.slide, self.truth = slides / "small.tif", slides / "small.geojson"
        self.out, self.workspace = folder / "out", folder / "workspace"
        self.out.mkdir()
        (self.out / "result.json").write_text("of yesterday")

    def index(self, *slides_and_options: Any) -> Outcome:
        return slideloop("index", *QUICK, "--workspace", self.workspace, *slides_and_options)

    def simulate(self, *options: Any, **changed: Any) -> Outcome:
        """Play the experiment with some options changed; `--k` is written `k`."""
        given = {"--workspace": self.workspace, "--out": self.out, "--truth": self.truth}
        given |= EXPERIMENT | {f"--{name.replace('_', '-')}": v for name, v in changed.items()}
        flags = [part for name, value in given.items() for part in (name, value)]
        return slideloop("simulate", self.slide, *QUICK, *flags, *options)

    def annotated(self, change: Callable[[dict[str, Any]], None], name: str = "t.geojson") -> Path:
        """Write the slide's truth with something changed."""
        truth = json.loads(self.truth.read_text())
        change(truth)
        path = self.folder / name
        path.write_text(json.dumps(truth))
        return path

    def refuses(self, outcome: Outcome, *facts: str) -> None:
        """One sentence with these facts, exit 2, and no trace of the attempt."""
        assert outcome.code == 2, outcome.err
        assert outcome.out == ""
        (sentence,) = outcome.complaints()
        assert sentence.startswith("slideloop: ")
        assert sentence.endswith((".", "'"))
        for fact in facts:
            assert fact in sentence
        assert left_in(self.out) == ["result.json"]
        assert (self.out / "result.json").read_text() == "of yesterday"
        unfinished = (".part", ".partial", ".tmp", ".full", ".pooled", ".npy")
        assert not [name for name in left_in(self.workspace) if name.endswith(unfinished)]


@pytest.fixture
def bench(tmp_path: Path, small_slides: Path, small_workspace: Path) -> Bench:
    return Bench(tmp_path, small_slides, small_workspace)


def whole_files(folder: Path) -> list[str]:
    """Names of the files in a folder, each read to its end in its own format."""
    for path in folder.iterdir():
        if path.suffix in (".json", ".geojson"):
            json.loads(path.read_text())
        elif path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".ndjson":
            read_journal(path)
        elif path.suffix == ".html":
            assert path.read_text("utf-8").endswith("</html>\n")
        else:
            raise AssertionError(f"{path.name} should not be here")
    return sorted(path.name for path in folder.iterdir())


# Slides --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("broken.svs", ("cannot open",)),
        ("smalltif.tif", ("uint16", "not 8-bit RGB")),
        ("small_vectra.qptiff", ("1 channel", "not 8-bit RGB")),
        ("small_dicom.dcm", ("cannot open",)),
    ],
)
def test_a_file_that_is_no_brightfield_slide_is_refused(
    bench: Bench, shared_data: Path, name: str, facts: tuple[str, ...]
):
    bench.refuses(bench.index(shared_data / "slides" / name), name, *facts)


def test_a_slide_smaller_than_a_patch_is_refused(bench: Bench):
    slide = write_pyramid(bench.folder / "tiny.tif", 90, 90, n_levels=1)
    bench.refuses(bench.index(slide), "tiny.tif", "90 x 90 px", "one patch of 96 px")


def test_a_slide_of_glass_is_refused(bench: Bench):
    glass = np.full((700, 1000, 3), 255, np.uint8)
    slide = write_pyramid(bench.folder / "glass.tif", pixels=glass)
    bench.refuses(bench.index(slide), "No patch of glass.tif passes the filter", "--filter none")


def test_a_header_that_promises_an_absurd_size_is_refused(bench: Bench):
    slide = write_header(bench.folder / "absurd.tif", 2_000_000_000, 2_000_000_000, tile_px=256)
    bench.refuses(bench.index(slide), "absurd.tif", "promises 2000000000 x 2000000000 px")


def test_a_single_giant_strip_is_refused(bench: Bench):
    slide = write_header(bench.folder / "strip.tif", 30_000, 30_000)
    bench.refuses(bench.index(slide), "strip.tif", "in strips of 2575 MiB", "tiled pyramid")


def test_a_pipe_is_refused_without_waiting_for_it(bench: Bench):
    os.mkfifo(bench.folder / "pipe.svs")
    bench.refuses(bench.index(bench.folder / "pipe.svs"), "pipe.svs", "is a pipe, not a file")


def test_a_folder_given_as_slide_is_refused(bench: Bench):
    bench.refuses(bench.index(bench.folder), str(bench.folder), "is a folder, not a file")


def test_a_slide_that_is_not_there_is_refused(bench: Bench):
    bench.refuses(bench.index(bench.folder / "none.svs"), "There is no file", "none.svs")


def test_a_resolution_needs_a_slide_that_states_its_own(bench: Bench):
    slide = write_pyramid(bench.folder / "bare.tif", mpp=None)
    bench.refuses(bench.index(slide, "--mpp", 1), "bare.tif", "1.0 um/px", "--assume-mpp")


def test_of_two_slides_both_must_state_their_resolution(bench: Bench):
    slide = write_pyramid(bench.folder / "bare.tif", mpp=None)
    outcome = bench.index(bench.slide, slide)
    bench.refuses(outcome, "bare.tif does not state its um/px", "--assume-mpp")


def test_of_several_slides_the_good_ones_are_indexed(bench: Bench):
    glass = np.full((700, 1000, 3), 255, np.uint8)
    slide = write_pyramid(bench.folder / "glass.tif", pixels=glass)
    outcome = bench.index(bench.slide, slide)
    assert outcome.code == 3
    assert "No patch of glass.tif passes the filter" in outcome.err
    assert "1 of 2 slides were indexed." in outcome.err
    assert "small.tif: 118 of 160 patches kept" in outcome.out


# Queries -------------------------------------------------------------------------------------


@pytest.fixture
def loop(indexed_slide: IndexedSlide, squeezenet: Encoder) -> Loop:
    journal = Journal(new_id())
    settings = Settings.checked(classes=("Tumor", "Normal"), mode="relevance", k=5, rounds=1)
    create_study(journal, settings, [indexed_slide.record()])
    engine = create_engine("linear", squeezenet, TrainingSettings())
    return Loop(journal, Ground(Database([indexed_slide.store]), engine, [indexed_slide]))


@pytest.mark.parametrize("rectangle", [(-500, 0, 100, 100), (1536, 10, 50, 50), (0, 5000, 9, 9)])
def test_a_query_outside_the_slide_is_refused(loop: Loop, rectangle: tuple[int, int, int, int]):
    with pytest.raises(OutsideSlideError):
        loop.query(0, rectangle, "Tumor")
    assert [event.type for event in loop.journal.events] == ["study_created"]


def test_a_query_on_glass_is_refused(loop: Loop, indexed_slide: IndexedSlide):
    grid = indexed_slide.grid
    dropped = [
        (column, row)
        for row in range(grid.n_rows)
        for column in range(grid.n_columns)
        if indexed_slide.place(column, row) is None
    ]
    column, row = dropped[0]
    with pytest.raises(OnGlassError, match="lies on glass only"):
        loop.query(0, grid.rectangle(column, row), "Tumor")
    assert loop.study.state == "new"


def test_a_query_for_what_is_not_sought_is_refused(loop: Loop):
    with pytest.raises(QueryNotRelevantError):
        loop.query(0, (600, 400, 96, 96), "Normal")
    assert loop.study.state == "new"


def test_a_query_when_nothing_is_left_is_refused(loop: Loop, indexed_slide: IndexedSlide):
    loop.study.gone.update(range(len(indexed_slide.store)))
    loop.query(0, (600, 400, 96, 96), "Tumor")
    assert loop.study.state == "exhausted"
    with pytest.raises(PoolExhaustedError):
        loop.query(0, (700, 400, 96, 96), "Tumor")


# Truths --------------------------------------------------------------------------------------


def test_a_truth_without_the_positive_class_is_refused(bench: Bench):
    bench.refuses(bench.simulate(positive="Cancer"), "no region of class 'Cancer'", "'Stroma'")


def test_an_invalid_polygon_is_refused(bench: Bench):
    def cross(truth: dict[str, Any]) -> None:
        bow_tie = [[0, 0], [500, 500], [500, 0], [0, 500], [0, 0]]
        truth["features"][1]["geometry"] = {"type": "Polygon", "coordinates": [bow_tie]}

    outcome = bench.simulate(truth=bench.annotated(cross))
    bench.refuses(outcome, "Feature 2 of t.geojson", "Self-intersection[250 250]")


def test_a_truth_for_a_larger_slide_is_refused(bench: Bench):
    def grow(truth: dict[str, Any]) -> None:
        large = shapely.geometry.mapping(shapely.box(0, 0, 9000, 9000))
        truth["features"][0]["geometry"] = large

    outcome = bench.simulate(truth=bench.annotated(grow))
    bench.refuses(outcome, "(0, 0) to (9000, 9000)", "1536 x 1024 pixels")


def test_a_mask_of_another_shape_is_refused(bench: Bench):
    Image.new("L", (100, 300), 255).save(bench.folder / "mask.png")
    outcome = bench.simulate(truth=bench.folder / "mask.png")
    bench.refuses(outcome, "mask.png has 100 x 300 pixels", "1536 x 1024")


def test_an_xml_that_declares_entities_is_refused(bench: Bench):
    bomb = bench.folder / "bomb.xml"
    bomb.write_text(
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
        "<Annotations>&b;</Annotations>"
    )
    bench.refuses(bench.simulate(truth=bomb), "bomb.xml declares XML entities")


@pytest.mark.parametrize("content", ['{"type": "FeatureColl', "{}", "\x00\x01", "[" * 100_000])
def test_a_truth_that_is_no_geojson_is_refused(bench: Bench, content: str):
    (bench.folder / "odd.geojson").write_text(content)
    bench.refuses(bench.simulate(truth=bench.folder / "odd.geojson"), "odd.geojson")


def test_a_truth_that_is_a_pipe_is_refused_without_waiting_for_it(bench: Bench):
    os.mkfifo(bench.folder / "pipe.geojson")
    bench.refuses(bench.simulate(truth=bench.folder / "pipe.geojson"), "pipe.geojson")


def test_a_missing_second_truth_is_refused(bench: Bench, small_slides: Path):
    outcome = bench.simulate(small_slides / "other.tif")
    bench.refuses(outcome, "For 2 slides", "but 1 were given")


# Numbers and names ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["k", "rounds", "queries", "seeds"])
@pytest.mark.parametrize("value", [0, -3])
def test_an_experiment_without_anything_to_do_is_refused(bench: Bench, name: str, value: int):
    bench.refuses(bench.simulate(**{name: value}), f"--{name} is {value}.")


@pytest.mark.parametrize(
    ("changed", "facts"),
    [
        ({"k": "five"}, ("--k", "'five'")),
        ({"strategy": "best"}, ("'best'", "front_mid_end", "cnfp")),
        ({"encoder": "vgg"}, ("'vgg'", "resnet18")),
        ({"device": "tpu"}, ("'tpu'", "cuda")),
        ({"engine": "magic"}, ("'magic'", "faithful")),
        ({"patch": 10}, ("patch", "10", "Correct --patch.")),
        ({"seed": -1}, ("seed", "-1", "Correct --seed.")),
        ({"mpp": "nan"}, ("mpp", "nan", "Correct --mpp.")),
        ({"normalisation": "bright"}, ("'bright'", "imagenet")),
        ({"search_slide": "elsewhere.svs"}, ("elsewhere.svs is not one of the slides",)),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(
    bench: Bench, changed: dict[str, Any], facts: tuple[str, ...]
):
    bench.refuses(bench.simulate(**changed), *facts)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has an MPS device")
def test_a_device_that_is_not_there_is_refused(bench: Bench):
    bench.refuses(bench.simulate(device="mps"), "has no device 'mps'", "--device cpu")


def test_more_queries_than_patches_are_refused(bench: Bench):
    outcome = bench.simulate(workspace=bench.indexed, queries=100)
    bench.refuses(outcome, "1,000 labels and 100 queries", "118 patches")


def test_more_labels_than_patches_are_refused(bench: Bench):
    outcome = bench.simulate(workspace=bench.indexed, rounds=3, k=20)
    bench.refuses(outcome, "120 labels and 2 queries", "118 patches")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["index"], "SLIDES"),
        (["simulate", "a.tif"], "--out"),
        (["simulate", "a.tif", "--out", "o"], "--truth"),
        (["simulate", "a.tif", "--truth", "t", "--out", "o"], "--positive"),
        (["simulate", "--tiles", "t", "--out", "o"], "--held-out"),
        (["simulate", "--tiles", "t", "--held-out", "h", "--mode", "relevance", "--out", "o"],
         "classes"),
        (["predict", "s.ndjson", "--out", "o"], "SLIDES"),
        (["study", "burn", "s"], "burn"),
        (["sing"], "sing"),
        (["index", "a.tif", "--loud"], "--loud"),
    ],
)  # fmt: skip
def test_a_wrong_use_is_one_sentence_that_points_to_the_help(
    bench: Bench, arguments: list[str], facts: str
):
    outcome = slideloop(*arguments)
    bench.refuses(outcome, facts, "--help'")


# Settings ------------------------------------------------------------------------------------


def test_an_unknown_key_in_the_settings_file_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    file = bench.folder / "mine.toml"
    file.write_text("pacth = 224\n")
    monkeypatch.setenv("SLIDELOOP_CONFIG", str(file))
    bench.refuses(bench.simulate(), "mine.toml sets 'pacth'", "patch")


def test_a_wrong_value_in_the_settings_file_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    file = bench.folder / "mine.toml"
    file.write_text('stride = "small"\n')
    monkeypatch.setenv("SLIDELOOP_CONFIG", str(file))
    bench.refuses(bench.simulate(), "stride cannot be 'small'", "mine.toml")


def test_an_unknown_variable_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLIDELOOP_PACTH", "224")
    bench.refuses(bench.simulate(), "SLIDELOOP_PACTH", "SLIDELOOP_PATCH")


# Weights -------------------------------------------------------------------------------------


def test_weights_of_another_network_are_refused(bench: Bench, shared_data: Path):
    outcome = bench.simulate(weights=shared_data / "weights" / "resnet18_standin.pth")
    bench.refuses(outcome, "resnet18_standin.pth", "another network than squeezenet1_1")


@pytest.mark.parametrize("held", [{"a": 1, "b": [os.system]}, [1, 2], {}, "text", {"x": {"y": 1}}])
def test_a_pickle_that_is_no_state_dict_is_refused(bench: Bench, held: Any):
    file = bench.folder / "held.pth"
    file.write_bytes(pickle.dumps(held))
    bench.refuses(bench.simulate(weights=file), "held.pth is not a state dict")


def test_a_saved_object_that_is_no_state_dict_is_refused(bench: Bench):
    torch.save([torch.zeros(2)], bench.folder / "list.pth")
    bench.refuses(bench.simulate(weights=bench.folder / "list.pth"), "list.pth is not a state dict")


def test_a_pickle_that_would_run_code_runs_none(bench: Bench):
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (bench.folder / "owned",)

    (bench.folder / "evil.pth").write_bytes(pickle.dumps({"conv1.weight": Evil()}))
    bench.refuses(bench.simulate(weights=bench.folder / "evil.pth"), "evil.pth")
    assert not (bench.folder / "owned").exists()


def test_half_a_weights_file_is_refused(bench: Bench, shared_data: Path):
    whole = (shared_data / "weights" / "squeezenet1_1_imagenet_features.pth").read_bytes()
    (bench.folder / "half.pth").write_bytes(whole[: len(whole) // 2])
    bench.refuses(bench.simulate(weights=bench.folder / "half.pth"), "half.pth")


def test_imagenet_weights_without_network_say_what_to_do(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TORCH_HOME", str(bench.folder / "torch"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("no_proxy", "")
    outcome = bench.simulate(weights="imagenet")
    bench.refuses(outcome, "squeezenet1_1-b8a52dc0.pth", "not in the cache", "--weights FILE")
    assert [name for name in left_in(bench.folder / "torch") if name.endswith(".pth")] == []


# Studies -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(
    tmp_path_factory: pytest.TempPathFactory, small_slides: Path, small_workspace: Path
) -> Path:
    folder = tmp_path_factory.mktemp("study")
    bench = Bench(folder, small_slides, small_workspace)
    outcome = bench.simulate(workspace=small_workspace)
    assert outcome.code == 0, outcome.err
    return bench.out / "study-cnfp-0.ndjson"


@pytest.mark.parametrize("command", [("study", "replay"), ("predict",)])
def test_a_changed_journal_is_refused(bench: Bench, study: Path, command: tuple[str, ...]):
    journal = bench.folder / "changed.ndjson"
    journal.write_bytes(study.read_bytes().replace(b'"label":"Tumor"', b'"label":"Stroma"', 1))
    more = [bench.slide, "--out", bench.out] if command == ("predict",) else []
    outcome = slideloop(*command, journal, *more)
    bench.refuses(outcome, "of the journal", "changed.ndjson", "was changed")


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\xff\xfe\n", b"[1]\n", b"null\n"])
def test_a_file_that_is_no_journal_is_refused(bench: Bench, content: bytes):
    journal = bench.folder / "odd.ndjson"
    journal.write_bytes(content)
    bench.refuses(slideloop("study", "verify", journal), "odd.ndjson")


def test_a_journal_that_is_not_there_is_refused(bench: Bench):
    bench.refuses(slideloop("study", "verify", bench.folder / "none.ndjson"), "none.ndjson")


def test_a_study_does_not_predict_with_other_weights(bench: Bench, study: Path, shared_data: Path):
    weights = shared_data / "weights" / "squeezenet1_1_imagenet_features.pth"
    outcome = slideloop("predict", study, bench.slide, "--weights", weights, "--out", bench.out,
                        "--workspace", bench.workspace)  # fmt: skip
    bench.refuses(outcome, "made with random weights", "squeezenet1_1_imagenet_features.pth")


def test_a_prediction_of_glass_is_refused(bench: Bench, study: Path):
    glass = write_pyramid(bench.folder / "glass.tif", pixels=np.full((700, 1000, 3), 255, np.uint8))
    outcome = slideloop("predict", study, glass, *QUICK, "--out", bench.out,
                        "--workspace", bench.indexed)  # fmt: skip
    bench.refuses(outcome, "No patch of glass.tif passes the filter")


# Disks ---------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system in memory: called with its options, such as `size=1m`."""
    folder = tmp_path / "disk"
    mounted = []

    def mount(options: str) -> Path:
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as err:
            pytest.skip(f"no disk can be mounted for the test: {err}")
        if done.returncode:
            pytest.skip(f"no disk can be mounted for the test: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for _ in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_an_output_folder_below_a_file_is_refused(bench: Bench):
    below = bench.truth / "out"
    bench.refuses(bench.simulate(out=below), str(below), "cannot be written")


def test_a_workspace_below_a_file_is_refused(bench: Bench):
    below = bench.truth / "workspace"
    bench.refuses(bench.simulate(workspace=below), str(below), "cannot be written", "--workspace")


@pytest.mark.parametrize("name", ["out", "workspace"])
def test_a_read_only_folder_is_refused(bench: Bench, small_disk: Callable[[str], Path], name: str):
    disk = small_disk("size=1m,ro")
    bench.refuses(bench.simulate(**{name: disk}), str(disk), "Read-only file system")


@pytest.mark.parametrize("name", ["out", "workspace"])
def test_a_full_disk_is_refused_before_anything_is_begun(
    bench: Bench, small_disk: Callable[[str], Path], name: str
):
    disk = small_disk("size=256k")
    (disk / "old").write_bytes(bytes(240_000))
    bench.refuses(bench.simulate(**{name: disk}), str(disk), "No space left on device")
    assert [name for name in left_in(disk) if name != "features"] == ["old"]


def test_a_disk_that_fills_up_keeps_only_whole_files(
    bench: Bench, small_disk: Callable[[str], Path]
):
    disk = small_disk("size=256k")
    (disk / "old.json").write_text(f'"{"x" * 150_000}"')
    outcome = bench.simulate(out=disk, workspace=bench.indexed)
    assert outcome.code == 2
    (sentence,) = outcome.complaints()
    assert "cannot be written: No space left on device" in sentence
    assert whole_files(disk) == ["mask-cnfp-0.geojson", "mask-cnfp-0.png", "old.json",
                                 "study-cnfp-0.ndjson"]  # fmt: skip


def test_a_journal_that_does_not_fit_leaves_no_part_of_it(
    bench: Bench, small_disk: Callable[[str], Path]
):
    (bench.out / "result.json").unlink()
    assert bench.simulate(workspace=bench.indexed).code == 0
    of_a_run = [path for path in bench.out.iterdir() if "cnfp" in path.name]
    pages = sum(-(-path.stat().st_size // 4096) for path in of_a_run)
    disk = small_disk(f"size={(pages + 3) * 4096}")
    outcome = bench.simulate(out=disk, workspace=bench.indexed, seeds=2)
    assert outcome.code == 2
    (sentence,) = outcome.complaints()
    assert "study-cnfp-1.ndjson cannot be written: No space left on device" in sentence
    assert whole_files(disk) == sorted(path.name for path in of_a_run)


def test_an_index_that_filled_the_disk_goes_on_when_there_is_room(
    bench: Bench, small_disk: Callable[[str], Path]
):
    disk = small_disk("size=8m")
    outcome = bench.index(bench.slide, "--workspace", disk)
    assert outcome.code == 2
    (sentence,) = outcome.complaints()
    assert "small.tif cannot be written" in sentence
    assert "No space left on device" in sentence
    assert not list((disk / "features").glob("*.full"))
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
    assert bench.index(bench.slide, "--workspace", disk).code == 0
    same_features(disk, bench.indexed)


def same_features(one: Path, other: Path) -> None:
    stores = [open_store(next((root / "features").glob("*.full"))) for root in (one, other)]
    assert stores[0].id == stores[1].id
    assert np.array_equal(stores[0].cells, stores[1].cells)
    assert np.array_equal(stores[0].features(), stores[1].features())


# Ctrl-C --------------------------------------------------------------------------------------


def test_an_interrupted_index_goes_on_where_it_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    command = ["index", str(bench.slide), "--workspace", str(bench.workspace), *QUICK]
    process = subprocess.Popen(
        [sys.executable, "-m", "slideloop.cli.main", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    recorded = wait_for_a_batch(bench.workspace, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # An interrupt that an import swallowed for a moment ends the process by the signal itself.
    assert process.returncode in (INTERRUPTED, -signal.SIGINT), err
    assert out == ""
    assert "Traceback" not in err
    assert err.rstrip().endswith("slideloop: Interrupted; nothing was left half-written.")
    assert not list((bench.workspace / "features").glob("*.full"))
    n_before = len(recorded.read_bytes().splitlines())

    batches = []
    embed = Encoder.features

    def counted(self: Encoder, patches: Any, normalisation: Any) -> Any:
        batches.append(len(patches))
        return embed(self, patches, normalisation)

    monkeypatch.setattr(Encoder, "features", counted)
    assert bench.index(bench.slide).code == 0
    whole = open_store(next((bench.indexed / "features").glob("*.full")))
    assert len(batches) == len(whole.batches) - n_before
    same_features(bench.workspace, bench.indexed)


def wait_for_a_batch(workspace: Path, process: subprocess.Popen[str]) -> Path:
    """Wait until an index has recorded a batch; return the list of batches."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        found = list(workspace.glob("features/*.partial/batches.txt"))
        if found and found[0].stat().st_size:
            return found[0]
        time.sleep(0.005)
    process.kill()
    pytest.fail(f"no batch was recorded: {process.communicate()}")


def interrupted_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send this process Ctrl-C when the simulated expert answers for the n-th time."""
    answer = simulation.answer
    n = 0

    def answer_or_interrupt(loop: Any, subject: Any) -> None:
        nonlocal n
        n += 1
        if n == moment:
            signal.raise_signal(signal.SIGINT)
        answer(loop, subject)

    monkeypatch.setattr(simulation, "answer", answer_or_interrupt)


def test_ctrl_c_before_the_first_run_is_over_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    interrupted_at(3, monkeypatch)
    outcome = bench.simulate(workspace=bench.indexed, seeds=2)
    assert outcome.code == INTERRUPTED
    assert outcome.complaints() == ["slideloop: Interrupted; nothing was left half-written."]
    assert left_in(bench.out) == ["result.json"]
    assert (bench.out / "result.json").read_text() == "of yesterday"


def test_ctrl_c_keeps_the_runs_that_are_over(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    interrupted_at(6, monkeypatch)  # the second round of the second run
    outcome = bench.simulate(workspace=bench.indexed, seeds=3)
    assert outcome.code == 3
    assert outcome.complaints() == ["Interrupted: 1 of 3 runs were finished and are written."]
    assert whole_files(bench.out) == ["curves.png", "mask-cnfp-0.geojson", "mask-cnfp-0.png",
                                      "overlay-cnfp-0.png", "report.html", "result.json",
                                      "study-cnfp-0.ndjson"]  # fmt: skip
    result = json.loads((bench.out / "result.json").read_text())
    assert [run["seed"] for run in result["runs"]] == [0]


def test_ctrl_c_while_a_picture_is_written_leaves_no_part_of_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    from matplotlib.figure import Figure

    def begun(self: Figure, path: Path, **options: Any) -> None:
        path.write_bytes(b"\x89PNG")
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Figure, "savefig", begun)
    outcome = bench.simulate(workspace=bench.indexed)
    assert outcome.code == INTERRUPTED
    (bench.out / "result.json").unlink()
    assert whole_files(bench.out) == ["mask-cnfp-0.geojson", "mask-cnfp-0.png",
                                      "study-cnfp-0.ndjson"]  # fmt: skip


# What looks odd but is right -----------------------------------------------------------------


def test_names_with_blanks_umlauts_and_signs_work(bench: Bench):
    folder = bench.folder / "Fälle #1 100%"
    folder.mkdir()
    slide, truth = folder / "Präparat 3%20 #2.tif", folder / "Größe & ß.geojson"
    slide.write_bytes(bench.slide.read_bytes())
    truth.write_bytes(bench.truth.read_bytes())
    experiment = [part for pair in EXPERIMENT.items() for part in pair]
    outcome = slideloop("simulate", slide, "--truth", truth, *experiment, *QUICK,
                        "--out", folder / "Ergebnis ä", "--workspace", bench.indexed)  # fmt: skip
    assert outcome.code == 0, outcome.err
    study = folder / "Ergebnis ä" / "study-cnfp-0.ndjson"
    outcome = slideloop("predict", study, slide, *QUICK, "--out", folder / "ö",
                        "--workspace", bench.indexed, "--json")  # fmt: skip
    assert outcome.code == 0, outcome.err
    (row,) = json.loads(outcome.out)
    assert row["slide"] == str(slide)
    assert Path(row["file"]).is_file()


def test_a_class_named_in_a_foreign_script_works(bench: Bench):
    def rename(truth: dict[str, Any]) -> None:
        truth["features"][0]["properties"]["classification"]["name"] = 'Tumör "G3" <腫瘍>'

    truth = bench.annotated(rename)
    outcome = bench.simulate(workspace=bench.indexed, truth=truth, positive='Tumör "G3" <腫瘍>')
    assert outcome.code == 0, outcome.err
    mask = json.loads((bench.out / "mask-cnfp-0.geojson").read_text())
    names = {feature["properties"]["classification"]["name"] for feature in mask["features"]}
    assert names == {'Tumör "G3" <腫瘍>'}
