"""Slides as the server keeps them: opened, indexed behind the request, lost, found, cut off."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray
from tests.slide_files import write_pyramid
from torch import nn

from slideloop.errors import (
    GridError,
    MppNeededError,
    NoTissueError,
    ServerTypeUnsupportedError,
    SlideChangedError,
    SlideNotFoundError,
    SlidePixelsDifferError,
    SlideSizeDiffersError,
    StoreDamagedError,
    StoreMismatchError,
    UnknownSlideError,
    UnreadableSlideError,
)
from slideloop.evaluation.generated import Scene, write_slide
from slideloop.features.encoders import BATCHES, Architecture, Encoder
from slideloop.features.indexing import index
from slideloop.features.normalisation import SAMPLE_PATCHES, Normalisation
from slideloop.features.store import FeatureStore
from slideloop.features.weights import Weights
from slideloop.features.workspace import IndexedSlide, PatchOptions, Workspace
from slideloop.settings import Settings
from slideloop.slides.reader import open_slide
from slideloop.studies.ground import LEAST_TO_START
from slideloop.studies.jobs import Jobs
from slideloop.studies.ledger import Ledger, open_ledger
from slideloop.studies.slides import SlideRegister, SlideRequest
from slideloop.studies.worker import SHOW, Worker

LONG_S = 30.0
WIDTH, HEIGHT, PATCH = 1152, 768, 48
FIELDS = {
    "id", "path", "fingerprint", "width", "height", "mpp", "grid", "filter", "normalisation",
    "encoder", "n_grid", "n_patches", "n_indexed", "dropped", "complete", "state", "problem",
}  # fmt: skip


BATCH = BATCHES["cpu"]


class CountingEncoder(Encoder):
    """A small real network that counts the patches it is given, and stops where it is told."""

    def __init__(self, weights: str = "0") -> None:
        torch.manual_seed(int(weights))
        cut: Any = None
        super().__init__(
            Architecture("small", "small", (8, 7, 7), 8, cut, ()),
            nn.Sequential(nn.Conv2d(3, 8, 32, 32), nn.ReLU()),
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            Weights("random", f"seed {weights}", weights * 64),
            torch.device("cpu"),
            "fp32",
        )
        self.n_embedded = 0
        self.threads: set[int] = set()
        self.stop_at: int | None = None
        self.stopped, self.going = threading.Event(), threading.Event()

    def features(
        self, patches: NDArray[np.uint8], normalisation: Normalisation
    ) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        if self.stop_at is not None and self.n_embedded >= self.stop_at:
            self.stopped.set()
            assert self.going.wait(LONG_S)
        self.n_embedded += len(patches)
        self.threads.add(threading.get_ident())
        return super().features(patches, normalisation)

    def go_on(self) -> None:
        self.stop_at = None
        self.going.set()


@dataclass
class Server:
    """What a server holds of slides; a second one on the same folder is a restart."""

    ledger: Ledger
    workspace: Workspace
    encoder: CountingEncoder
    worker: Worker
    jobs: Jobs
    slides: SlideRegister

    def open(self, path: Path, **more: Any) -> tuple[dict[str, Any], dict[str, Any] | None]:
        return self.slides.open(SlideRequest(path, **more))

    def indexed(self, path: Path, **more: Any) -> dict[str, Any]:
        """Open a slide and wait until its job has ended, however."""
        slide, job = self.open(path, **more)
        if job is not None:
            assert self.jobs.wait(job["id"], LONG_S)["state"] not in ("queued", "running")
        return self.slides.view(slide["id"])


@contextmanager
def serving(folder: Path, encoder: CountingEncoder | None = None, **more: Any) -> Iterator[Server]:
    encoder = encoder or CountingEncoder()
    options: Any = {"patch": PATCH, **more}
    settings = Settings(workspace=folder, **options)
    workspace, ledger, worker = Workspace(folder), open_ledger(folder), Worker()
    jobs = Jobs(ledger, worker)
    slides = SlideRegister(ledger, workspace, encoder, settings, worker, jobs)
    try:
        yield Server(ledger, workspace, encoder, worker, jobs, slides)
    finally:
        encoder.go_on()
        slides.close()
        worker.close()
        ledger.close()
        workspace.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "workspace") as server:
        yield server


@pytest.fixture(scope="session")
def made_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "tissue.tif"
    write_slide(Scene(0, WIDTH, HEIGHT), path)
    return path


@pytest.fixture
def slide(tmp_path: Path, made_slide: Path) -> Path:
    """A slide of the test's own, to be moved and ruined."""
    return Path(shutil.copy2(made_slide, tmp_path / "tissue.tif"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory, made_slide: Path) -> FeatureStore:
    """The slide's features as `slideloop index` makes them in one go."""
    folder = tmp_path_factory.mktemp("plain")
    workspace = Workspace(folder)
    (source,) = workspace.open_slides([made_slide], PatchOptions(patch=PATCH))
    normalisation = workspace.normalisation("sample", [source])
    store = index(source, CountingEncoder(), normalisation, folder / "features")
    workspace.close()
    return store


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, made_slide: Path) -> Path:
    """A workspace in which the slide is indexed."""
    folder = tmp_path_factory.mktemp("template") / "workspace"
    with serving(folder) as server:
        assert server.indexed(made_slide)["state"] == "ready"
    return folder


@pytest.fixture
def ready(tmp_path: Path, template: Path) -> Path:
    """A workspace of the test's own in which the slide is indexed."""
    return Path(shutil.copytree(template, tmp_path / "ready"))


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


# Opening -------------------------------------------------------------------------------------


def test_opening_gives_the_slide_and_the_job_that_indexes_it(server: Server, slide: Path) -> None:
    server.encoder.stop_at = 2 * BATCH
    opened, job = server.open(slide)
    assert job is not None
    assert (job["kind"], job["error"]) == ("index", None)
    assert opened.keys() == FIELDS
    assert (opened["state"], opened["complete"], opened["n_patches"]) == ("indexing", False, None)
    assert (opened["width"], opened["height"], opened["mpp"]) == (WIDTH, HEIGHT, 0.5)
    grid = {
        "patch_px": PATCH,
        "stride_px": PATCH,
        "mpp": None,
        "patch_px0": PATCH,
        "stride_px0": PATCH,
    }
    assert opened["grid"] == grid
    assert opened["n_grid"] == (WIDTH // PATCH) * (HEIGHT // PATCH)
    assert (opened["filter"], opened["normalisation"]) == ("tissue", "sample")
    assert (opened["encoder"], opened["path"]) == ("small", str(slide))
    assert server.encoder.stopped.wait(LONG_S)
    halfway = server.slides.view(opened["id"])
    assert (halfway["n_indexed"], halfway["n_patches"]) == (2 * BATCH, None)
    assert 0 < server.jobs.view(job["id"])["progress"] < 0.5
    server.encoder.go_on()
    done = server.jobs.wait(job["id"], LONG_S)
    ready = server.slides.view(opened["id"])
    assert done["result"] == {"slide": opened["id"], "n_patches": ready["n_patches"]}
    assert (done["state"], done["progress"], done["stage"]) == ("done", 1.0, "indexing")
    assert (ready["state"], ready["complete"], ready["problem"]) == ("ready", True, None)
    assert ready["n_patches"] == ready["n_indexed"] > 6 * BATCH
    assert ready["n_patches"] + ready["dropped"]["both"] == ready["n_grid"]
    json.dumps(ready, allow_nan=False)


def test_the_features_are_those_of_the_command_line(
    server: Server, slide: Path, plain: FeatureStore
) -> None:
    opened = server.indexed(slide)
    assert opened["id"] == plain.id
    folder = server.workspace.features / plain.folder.name
    for name in ("cells.npy", "pooled.npy", "full.npy"):
        assert (folder / name).read_bytes() == (plain.folder / name).read_bytes()


def test_a_complete_slide_is_opened_without_a_job(ready: Path, made_slide: Path) -> None:
    with serving(ready) as server:
        (known,) = server.slides.all()
        assert server.open(made_slide) == (known, None)
        assert server.encoder.n_embedded == 0


def test_a_slide_that_was_indexed_ahead_of_time_is_complete_at_once(
    tmp_path: Path, slide: Path
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    (source,) = workspace.open_slides([slide], PatchOptions(patch=PATCH))
    normalisation = workspace.normalisation("sample", [source])
    store = workspace.index(source, CountingEncoder(), normalisation, "full")
    workspace.close()
    with serving(tmp_path / "workspace") as server:
        opened, job = server.open(slide)
        assert (job, opened["id"], opened["n_patches"]) == (None, store.id, len(store))
        assert server.encoder.n_embedded == 0


def test_two_that_open_a_slide_at_once_get_the_same_slide_and_job(
    server: Server, slide: Path
) -> None:
    server.encoder.stop_at = 0
    answers: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    threads = [threading.Thread(target=lambda: answers.append(server.open(slide))) for _ in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({opened["id"] for opened, _ in answers}) == 1
    assert len({job["id"] for _, job in answers if job}) == 1
    assert len(answers) == len(server.jobs.all()) * 4 == 4


def test_the_normalisation_is_measured_once_for_a_workspace(
    server: Server, tmp_path: Path, slide: Path
) -> None:
    other = tmp_path / "other.tif"
    write_slide(Scene(3, 768, 512), other)
    figures = [
        server.slides.get(server.indexed(path)["id"]).normalisation for path in (slide, other)
    ]
    assert figures[0] == figures[1]
    kept = json.loads((server.workspace.root / "normalisation.json").read_text())
    assert (tuple(kept["mean"]), tuple(kept["std"])) == (figures[0].mean, figures[0].std)
    assert server.slides.view(server.indexed(other)["id"])["n_grid"] < SAMPLE_PATCHES


def test_first_slides_that_are_opened_at_once_agree_on_the_normalisation(
    server: Server, tmp_path: Path, slide: Path
) -> None:
    paths = [slide, tmp_path / "other.tif"]
    write_slide(Scene(3, WIDTH, HEIGHT), paths[1])
    opened: list[str] = []
    threads = [
        threading.Thread(target=lambda path=path: opened.append(server.open(path)[0]["id"]))
        for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, two = (server.slides.get(slide_id).store.identity for slide_id in opened)
    assert one["fingerprint"] != two["fingerprint"]
    assert one["normalisation"] == two["normalisation"]


def test_a_slide_normalised_by_its_dataset_is_found_again(server: Server, slide: Path) -> None:
    first = server.indexed(slide, normalisation="dataset")
    assert (first["normalisation"], first["state"]) == ("dataset", "ready")
    assert not (server.workspace.root / "normalisation.json").exists()
    assert server.open(slide, normalisation="dataset") == (first, None)


def test_options_make_another_slide_of_the_same_file(server: Server, slide: Path) -> None:
    usual = server.indexed(slide)
    others = [
        server.indexed(slide, patch_px=96),
        server.indexed(slide, stride_px=96),
        server.indexed(slide, target_mpp=1.0),
        server.indexed(slide, filter="paper"),
        server.indexed(slide, normalisation="imagenet"),
    ]
    assert len({usual["id"], *(other["id"] for other in others)}) == 6
    assert {other["fingerprint"] for other in others} == {usual["fingerprint"]}
    assert others[0]["grid"] == {
        "patch_px": 96,
        "stride_px": 96,
        "mpp": None,
        "patch_px0": 96,
        "stride_px0": 96,
    }
    assert others[1]["grid"]["stride_px"] == 96
    assert others[2]["grid"] == {
        "patch_px": 48,
        "stride_px": 48,
        "mpp": 1.0,
        "patch_px0": 96,
        "stride_px0": 96,
    }
    assert others[3]["filter"] == "paper"
    assert [view["id"] for view in server.slides.all()] == [
        usual["id"],
        *(other["id"] for other in others),
    ]


def test_the_servers_stride_belongs_to_the_servers_patch(tmp_path: Path, slide: Path) -> None:
    with serving(tmp_path / "workspace", stride=24) as server:
        assert server.open(slide)[0]["grid"]["stride_px"] == 24
        assert server.open(slide, patch_px=96)[0]["grid"]["stride_px"] == 96


def test_um_per_px_comes_from_the_client_where_the_file_says_nothing(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "silent.tif"
    write_slide(Scene(0, 768, 512), path, mpp=None)
    with pytest.raises(MppNeededError, match=r"silent\.tif"):
        server.open(path, target_mpp=1.0)
    opened = server.indexed(path, target_mpp=1.0, mpp=0.25)
    assert (opened["mpp"], opened["grid"]["patch_px0"]) == (0.25, 4 * PATCH)
    # What was said of it holds from then on, for what is cut from then on.
    assert server.open(path, target_mpp=1.0)[0]["id"] == opened["id"]
    assert server.indexed(path)["mpp"] == 0.25


def test_um_per_px_said_later_changes_no_patch_that_is_indexed(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "unknown.tif"
    write_slide(Scene(0, 768, 512), path, mpp=None)
    before = server.indexed(path)
    server.indexed(path, target_mpp=1.0, mpp=0.25)
    again, job = server.open(path)
    assert (again, job) == (before, None)
    assert again["mpp"] is None


def test_slides_of_a_file_are_found_by_its_content(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_slide(Scene(0, 768, 512), path)
    opened = server.indexed(path)
    renamed, other = tmp_path / "elsewhere" / "b.tif", tmp_path / "c.tif"
    renamed.parent.mkdir()
    path.rename(renamed)
    write_slide(Scene(1, 768, 512), other)
    found = server.slides.of_file(renamed)
    assert [slide["id"] for slide in found] == [opened["id"]]
    assert server.slides.of_file(other) == []


@pytest.mark.parametrize(
    ("shown", "error"),
    [
        ({"width": WIDTH + 1, "height": HEIGHT}, SlideSizeDiffersError),
        ({"server_type": "OpenSlide (Rotate 180)"}, ServerTypeUnsupportedError),
        (
            {"probe": [{"x": 0, "y": 0, "width": 9, "height": 9, "rgb": [0.0, 0.0, 0.0]}]},
            SlidePixelsDifferError,
        ),
        ({"patch_px": 4096}, GridError),
    ],
)
def test_a_slide_that_is_refused_is_not_kept(
    server: Server, slide: Path, shown: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        server.open(slide, **shown)
    assert (server.slides.all(), server.jobs.all()) == ([], [])


def test_what_is_no_slide_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "text.svs").write_text("no slide")
    with pytest.raises(UnreadableSlideError):
        server.open(tmp_path / "text.svs")
    with pytest.raises(SlideNotFoundError):
        server.open(tmp_path / "nothing.svs")


def test_an_unknown_slide_is_said_to_be_unknown(server: Server) -> None:
    for ask in (server.slides.view, server.slides.get, server.slides.ensure_indexing):
        with pytest.raises(UnknownSlideError, match="nope"):
            ask("nope")


# What studies use ----------------------------------------------------------------------------


@contextmanager
def as_indexed(workspace: Path, slide: Path, store: FeatureStore) -> Iterator[IndexedSlide]:
    opened = Workspace(workspace)
    (source,) = opened.open_slides([slide], PatchOptions(patch=PATCH))
    normalisation = opened.normalisation("sample", [source])
    yield IndexedSlide(source, store, CountingEncoder(), normalisation)
    opened.close()


def test_a_study_sees_the_same_slide_as_the_command_line(
    ready: Path, made_slide: Path, plain: FeatureStore
) -> None:
    with serving(ready) as server, as_indexed(ready, made_slide, plain) as expected:
        registered = server.slides.get(plain.id)
        assert registered.record == expected.record()
        assert registered.grid == expected.grid
        assert (registered.width, registered.height) == (expected.width, expected.height)
        cells = [(c, r) for r in range(expected.grid.n_rows) for c in range(12)]
        assert [registered.place(*cell) for cell in cells] == [
            expected.place(*cell) for cell in cells
        ]
        squares = [(5, 7, PATCH, PATCH), (701, 433, PATCH, PATCH), (WIDTH - 20, 3, PATCH, PATCH)]
        glass, pooled, full = registered.embed(squares)
        expected_glass, expected_pooled, expected_full = expected.embed(squares)
        assert glass == expected_glass
        assert np.array_equal(pooled, expected_pooled)
        assert full is not None
        assert expected_full is not None
        assert np.array_equal(full, expected_full)


def test_a_cell_has_a_place_as_soon_as_it_is_indexed(server: Server, slide: Path) -> None:
    server.encoder.stop_at = BATCH
    registered = server.slides.get(server.open(slide)[0]["id"])
    assert server.encoder.stopped.wait(LONG_S)
    n_before = len(registered.store)
    known = [registered.place(*map(int, cell)) for cell in registered.store.cells[:n_before]]
    assert known == list(range(n_before)) == list(range(BATCH))
    server.encoder.go_on()
    wait_until(lambda: registered.store.is_complete)
    cells = registered.store.cells
    assert [registered.place(*map(int, cell)) for cell in cells] == list(range(len(cells)))
    kept = {tuple(cell) for cell in cells.tolist()}
    dropped = next(
        (c, r)
        for r in range(registered.grid.n_rows)
        for c in range(registered.grid.n_columns)
        if (c, r) not in kept
    )
    assert registered.place(*dropped) is None


def test_it_is_one_object_for_as_long_as_the_server_runs(server: Server, slide: Path) -> None:
    server.encoder.stop_at = BATCH
    opened, job = server.open(slide)
    registered = server.slides.get(opened["id"])
    store = registered.store
    server.encoder.go_on()
    assert job is not None
    server.jobs.wait(job["id"], LONG_S)
    assert server.slides.get(opened["id"]) is registered
    assert registered.store is store
    assert store.is_complete


def test_watchers_hear_of_each_batch_and_of_the_end(server: Server, slide: Path) -> None:
    heard: list[tuple[str, int, bool]] = []
    threads: set[str] = set()

    def hear(slide_id: str) -> None:
        store = server.slides.get(slide_id).store
        heard.append((slide_id, len(store), store.is_complete))
        threads.add(threading.current_thread().name)

    def fail(slide_id: str) -> None:
        raise ValueError(slide_id)

    server.slides.watch(fail)
    server.slides.watch(hear)
    opened = server.indexed(slide)
    lengths = [n for _, n, _ in heard]
    assert {slide_id for slide_id, _, _ in heard} == {opened["id"]}
    assert sorted(set(lengths)) == [*range(BATCH, lengths[-1], BATCH), lengths[-1]]
    assert [is_complete for _, _, is_complete in heard] == [False] * (len(heard) - 1) + [True]
    assert threads == {"slideloop-work"}


def test_what_is_more_urgent_runs_between_two_batches(server: Server, slide: Path) -> None:
    seen: list[int] = []
    server.encoder.stop_at = 2 * BATCH
    opened, job = server.open(slide)
    assert server.encoder.stopped.wait(LONG_S)
    store = server.slides.get(opened["id"]).store
    server.worker.submit(SHOW, "show", lambda: seen.append(len(store)))
    server.encoder.go_on()
    assert job is not None
    server.jobs.wait(job["id"], LONG_S)
    assert seen == [3 * BATCH]


def test_the_first_patches_of_a_further_slide_come_before_the_rest_of_this_one(
    server: Server, tmp_path: Path, slide: Path
) -> None:
    fine = {"patch_px": 24, "normalisation": "imagenet"}
    paths = [slide, tmp_path / "other.tif", tmp_path / "third.tif"]
    for number, path in enumerate(paths[1:], 3):
        write_slide(Scene(number, WIDTH, HEIGHT), path)
    server.encoder.stop_at = LEAST_TO_START + BATCH
    first, job = server.open(paths[0], **fine)
    assert server.encoder.stopped.wait(LONG_S)
    order: list[str] = []
    server.slides.watch(order.append)
    others = [server.open(path, **fine) for path in paths[1:]]
    server.encoder.go_on()
    ids = [first["id"], *(opened["id"] for opened, _ in others)]
    for _, each in [(first, job), *others]:
        assert each is not None
        assert server.jobs.wait(each["id"], LONG_S)["state"] == "done"
    runs = [ids.index(slide_id) for slide_id, _ in itertools.groupby(order)]
    # One batch of the first, the others' first patches, then the rest of each in turn.
    assert runs == [0, 1, 2, 0, 1, 2]
    n_first = [sum(1 for _ in batches) for _, batches in itertools.groupby(order)]
    assert n_first[1] == n_first[2] == LEAST_TO_START // BATCH + 1  # and one for its pause
    stores = [server.slides.get(slide_id).store for slide_id in ids]
    assert all(store.is_complete for store in stores)
    assert server.encoder.n_embedded == sum(map(len, stores))


def test_a_slide_that_has_given_way_can_be_cancelled(
    server: Server, tmp_path: Path, slide: Path
) -> None:
    fine = {"patch_px": 24, "normalisation": "imagenet"}
    write_slide(Scene(3, WIDTH, HEIGHT), tmp_path / "other.tif")
    server.encoder.stop_at = LEAST_TO_START + BATCH
    first, job = server.open(slide, **fine)
    assert server.encoder.stopped.wait(LONG_S)
    other, waiting = server.open(tmp_path / "other.tif", **fine)
    assert job is not None
    assert waiting is not None
    states: list[str] = []

    def cancel(slide_id: str) -> None:
        if slide_id == first["id"] and server.slides.view(other["id"])["n_indexed"]:
            states.append(server.jobs.view(waiting["id"])["state"])
            server.jobs.cancel(waiting["id"])

    server.slides.watch(cancel)
    server.encoder.go_on()
    assert server.jobs.wait(waiting["id"], LONG_S)["state"] == "cancelled"
    assert states[0] == "queued"
    assert server.slides.view(other["id"])["n_indexed"] == LEAST_TO_START
    assert server.jobs.wait(job["id"], LONG_S)["state"] == "done"


# Files that go, come and change --------------------------------------------------------------


def test_a_moved_file_is_found_again_under_its_new_path(server: Server, slide: Path) -> None:
    first = server.indexed(slide)
    registered = server.slides.get(first["id"])
    moved = slide.rename(slide.with_name("moved.tif"))
    missing = server.slides.view(first["id"])
    assert (missing["state"], missing["problem"]["code"]) == ("missing", "file_not_found")
    opened, job = server.open(moved)
    assert job is None
    assert opened == {**first, "path": str(moved)}
    assert server.ledger.all("slide")[first["id"]]["path"] == str(moved)
    assert (registered.record["path"], registered.record["name"]) == (str(moved), "moved.tif")
    assert registered.embed([(700, 400, PATCH, PATCH)])[0] == [False]


def test_squares_are_embedded_in_one_thread_whoever_asks(server: Server, slide: Path) -> None:
    registered = server.slides.get(server.indexed(slide)["id"])
    server.encoder.threads.clear()
    squares = [(x, 400, PATCH, PATCH) for x in range(700, 708)]
    with ThreadPoolExecutor(len(squares)) as pool:
        found = list(pool.map(lambda square: registered.embed([square])[0], squares))
    assert found == [[False]] * len(squares)
    assert len(server.encoder.threads) == 1


def test_without_its_file_a_slide_still_has_its_features(server: Server, slide: Path) -> None:
    first = server.indexed(slide)
    slide.unlink()
    registered = server.slides.get(first["id"])
    assert server.slides.view(first["id"])["complete"]
    cell = registered.store.cells[7]
    assert registered.place(*map(int, cell)) == 7
    assert registered.store.features()[7].shape == (8, 7, 7)
    with pytest.raises(SlideNotFoundError, match=r"tissue\.tif is not where it was"):
        registered.embed([(0, 0, PATCH, PATCH)])


def test_a_file_that_was_changed_in_place_is_refused(server: Server, slide: Path) -> None:
    first = server.indexed(slide)
    write_slide(Scene(9, WIDTH, HEIGHT), slide)
    with pytest.raises(SlideChangedError, match=r"tissue\.tif was changed"):
        server.open(slide)
    with pytest.raises(SlideChangedError):
        server.slides.get(first["id"]).embed([(700, 400, PATCH, PATCH)])
    view = server.slides.view(first["id"])
    assert (view["state"], view["problem"]["code"]) == ("missing", "slide_changed")


def test_one_changed_byte_is_a_change(server: Server, slide: Path) -> None:
    first = server.indexed(slide)
    data = bytearray(slide.read_bytes())
    data[len(data) // 2] ^= 1
    slide.write_bytes(bytes(data))
    with pytest.raises(SlideChangedError):
        server.open(slide)
    with pytest.raises(SlideChangedError):
        server.slides.get(first["id"]).embed([(700, 400, PATCH, PATCH)])


def test_two_files_that_change_places_are_both_found(
    server: Server, tmp_path: Path, slide: Path
) -> None:
    other = tmp_path / "other.tif"
    write_slide(Scene(3, WIDTH, HEIGHT), other)
    ids = [server.indexed(path)["id"] for path in (slide, other)]
    slide.rename(tmp_path / "aside.tif")
    other.rename(slide)
    (tmp_path / "aside.tif").rename(other)
    assert [server.open(path)[0]["id"] for path in (other, slide)] == ids
    assert [view["path"] for view in server.slides.all()] == [str(other), str(slide)]


# Indexes that end otherwise ------------------------------------------------------------------


def all_glass(path: Path) -> Path:
    return write_pyramid(path, pixels=np.full((512, 768, 3), 245, np.uint8))


def test_a_slide_without_tissue_fails_as_glass(server: Server, tmp_path: Path) -> None:
    path = all_glass(tmp_path / "glass.tif")
    opened, job = server.open(path, normalisation="imagenet")
    assert job is not None
    ended = server.jobs.wait(job["id"], LONG_S)
    view = server.slides.view(opened["id"])
    assert (view["state"], view["complete"], view["n_indexed"]) == ("failed", False, 0)
    assert view["problem"] == ended["error"]
    assert view["problem"].keys() == {
        "type", "title", "status", "code", "detail", "hint", "retry", "request_id"
    }  # fmt: skip
    assert view["problem"]["code"] == "on_glass"
    assert "glass.tif" in view["problem"]["detail"]


def test_a_first_slide_without_tissue_has_nothing_to_measure(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(NoTissueError):
        server.open(all_glass(tmp_path / "glass.tif"))


def test_the_problem_is_there_after_a_restart_and_gone_when_it_is_mended(
    tmp_path: Path, slide: Path
) -> None:
    workspace = tmp_path / "workspace"
    with serving(workspace) as server:
        opened, job = server.open(slide, store="pooled")
        assert job is not None
        server.jobs.wait(job["id"], LONG_S)
        other = server.slides.open(SlideRequest(slide, patch_px=96, normalisation="imagenet"))[0]
        wait_until(lambda: server.slides.view(other["id"])["state"] == "ready")
    with FileLock(workspace / "features" / f"{other['id']}.lock"):
        shutil.rmtree(workspace / "features" / f"{other['id']}.full")
        with serving(workspace) as server:
            view = server.indexed(slide, patch_px=96, normalisation="imagenet")
            assert (view["state"], view["problem"]["code"]) == ("failed", "store_mismatch")
            assert "another process" in view["problem"]["detail"]
    with serving(workspace) as server:
        assert server.slides.view(other["id"])["problem"]["code"] == "store_mismatch"
        assert server.slides.view(opened["id"])["state"] == "ready"
        view = server.indexed(slide, patch_px=96, normalisation="imagenet")
        assert (view["state"], view["problem"]) == ("ready", None)


def test_a_cancelled_index_says_so_and_goes_on_when_opened_again(
    server: Server, slide: Path, plain: FeatureStore
) -> None:
    server.encoder.stop_at = 3 * BATCH
    opened, job = server.open(slide)
    assert job is not None
    assert server.encoder.stopped.wait(LONG_S)
    server.jobs.cancel(job["id"])
    server.encoder.go_on()
    assert server.jobs.wait(job["id"], LONG_S)["state"] == "cancelled"
    view = server.slides.view(opened["id"])
    assert (view["state"], view["n_indexed"]) == ("failed", 4 * BATCH)
    assert view["problem"]["code"] == "cancelled"
    assert "POST /slides" in view["problem"]["hint"]
    assert server.indexed(slide)["state"] == "ready"
    assert server.encoder.n_embedded == len(plain)


@pytest.mark.parametrize("again", ["open", "ensure_indexing"])
def test_an_index_that_was_cut_off_goes_on_after_a_restart_where_it_was(
    tmp_path: Path, slide: Path, plain: FeatureStore, again: str
) -> None:
    with serving(tmp_path / "workspace") as first:
        first.encoder.stop_at = 3 * BATCH
        opened, job = first.open(slide)
        assert job is not None
        assert first.encoder.stopped.wait(LONG_S)
        closing = threading.Thread(target=first.worker.close)
        closing.start()
        wait_until(lambda: first.worker.closing)
        first.encoder.go_on()
        closing.join(LONG_S)
        assert first.encoder.n_embedded == 4 * BATCH
        assert first.jobs.view(job["id"])["state"] == "interrupted"
    with serving(tmp_path / "workspace") as second:
        assert second.jobs.view(job["id"])["state"] == "interrupted"
        view = second.slides.view(opened["id"])
        assert (view["state"], view["n_indexed"]) == ("failed", 4 * BATCH)
        registered = second.slides.get(opened["id"])
        assert registered.store.checksum(4 * BATCH) == plain.checksum(4 * BATCH)
        if again == "open":
            second.open(slide)
        else:
            second.slides.ensure_indexing(opened["id"])
            second.slides.ensure_indexing(opened["id"])
        wait_until(lambda: second.slides.view(opened["id"])["state"] == "ready")
        assert second.encoder.n_embedded == len(plain) - 4 * BATCH
        assert registered.store.checksum(len(plain)) == plain.checksum(len(plain))
        assert np.array_equal(registered.store.features(), plain.features())
        n_jobs = len(second.jobs.all())
        second.slides.ensure_indexing(opened["id"])
        assert len(second.jobs.all()) == n_jobs == 2


def test_a_fault_of_our_own_fails_the_slide_without_its_words(server: Server, slide: Path) -> None:
    class Broken(CountingEncoder):
        def features(self, *_: Any) -> Any:
            raise ZeroDivisionError("inside")

    with serving(server.workspace.root / "own", Broken()) as broken:
        view = broken.indexed(slide)
        assert (view["state"], view["problem"]["code"]) == ("failed", "internal")
        assert "inside" not in json.dumps(view)


# After a restart -----------------------------------------------------------------------------


def test_slides_are_there_after_a_restart(ready: Path, made_slide: Path) -> None:
    with serving(ready) as server:
        (before,) = server.slides.all()
        assert (before["state"], before["path"]) == ("ready", str(made_slide))
        assert len(server.slides.get(before["id"]).store) == before["n_patches"]
        assert server.slides.all() == [before]
        assert server.encoder.n_embedded == 0


def test_features_that_were_deleted_are_computed_anew(ready: Path, made_slide: Path) -> None:
    with serving(ready) as server:
        (before,) = server.slides.all()
    shutil.rmtree(ready / "features")
    with serving(ready) as server:
        view = server.slides.view(before["id"])
        assert (view["state"], view["n_indexed"]) == ("failed", 0)
        assert server.indexed(made_slide) == before
        assert server.encoder.n_embedded == before["n_patches"]


def test_damaged_features_are_a_problem_of_the_slide_not_of_the_list(ready: Path) -> None:
    (folder,) = (ready / "features").glob("*.full")
    rows = folder / "pooled.npy"
    rows.write_bytes(rows.read_bytes()[:-2])
    with serving(ready) as server:
        (before,) = server.slides.all()
        with pytest.raises(StoreDamagedError):
            server.slides.get(before["id"])
        (view,) = server.slides.all()
        assert (view["state"], view["problem"]["code"]) == ("failed", "store_damaged")


def test_slides_of_another_network_are_listed_but_refused_to_studies(
    ready: Path, made_slide: Path
) -> None:
    with serving(ready, CountingEncoder("0")) as server:
        (before,) = server.slides.all()
    with serving(ready, CountingEncoder("1")) as server:
        assert server.slides.all() == [before]
        for use in (server.slides.get, server.slides.ensure_indexing):
            with pytest.raises(StoreMismatchError) as caught:
                use(before["id"])
            assert "--weights" in caught.value.hint
        mine = server.indexed(made_slide)
        assert mine["id"] != before["id"]
        assert mine["state"] == "ready"


def test_an_unfinished_index_of_another_network_is_listed_as_failed(
    tmp_path: Path, slide: Path
) -> None:
    with serving(tmp_path / "workspace", CountingEncoder("0")) as server:
        server.encoder.stop_at = 2 * BATCH
        opened, job = server.open(slide)
        assert job is not None
        assert server.encoder.stopped.wait(LONG_S)
        server.jobs.cancel(job["id"])
        server.encoder.go_on()
        server.jobs.wait(job["id"], LONG_S)
    with serving(tmp_path / "workspace", CountingEncoder("1")) as server:
        view = server.slides.view(opened["id"])
        assert (view["state"], view["n_indexed"]) == ("failed", 3 * BATCH)
        assert view["problem"]["code"] == "store_mismatch"


# Full and pooled -----------------------------------------------------------------------------


def test_a_full_store_serves_who_asks_for_pooled(ready: Path, made_slide: Path) -> None:
    with serving(ready) as server:
        (full,) = server.slides.all()
        assert server.open(made_slide, store="pooled") == (full, None)
        assert server.slides.get(full["id"]).store.kind == "full"


def test_a_pooled_store_becomes_a_full_one_when_asked(
    server: Server, slide: Path, plain: FeatureStore
) -> None:
    pooled = server.indexed(slide, store="pooled")
    store = server.slides.get(pooled["id"]).store
    assert (store.kind, store.is_complete) == ("pooled", True)
    server.encoder.stopped.clear()
    server.encoder.going.clear()
    server.encoder.stop_at = server.encoder.n_embedded + BATCH
    opened, job = server.open(slide, store="full")
    assert job is not None
    assert opened["complete"]
    assert server.encoder.stopped.wait(LONG_S)
    assert (store.kind, len(store)) == ("pooled", len(plain))
    assert server.open(slide, store="pooled")[1] is None
    server.encoder.go_on()
    server.jobs.wait(job["id"], LONG_S)
    assert server.slides.get(pooled["id"]).store is store
    assert store.kind == "full"
    assert np.array_equal(store.features(), plain.features())
    assert server.open(slide, store="full")[1] is None


def test_who_asks_for_pooled_while_full_is_indexed_gets_that_job(
    server: Server, slide: Path
) -> None:
    server.encoder.stop_at = BATCH
    _, job = server.open(slide, store="full")
    _, other = server.open(slide, store="pooled")
    assert job is not None
    assert other is not None
    assert job["id"] == other["id"]


# Bounds --------------------------------------------------------------------------------------


def test_a_thread_in_a_transaction_can_look_at_a_slide_that_is_being_opened(
    server: Server, slide: Path
) -> None:
    opened = server.indexed(slide)
    other: list[Any] = []
    with server.ledger.transaction():
        thread = threading.Thread(target=lambda: other.append(server.open(slide, patch_px=96)))
        thread.start()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            server.slides.get(opened["id"])
            server.slides.view(opened["id"])
            time.sleep(0.01)
        assert other == []
    thread.join(LONG_S)
    assert len(other) == 1


def test_no_file_stays_open_behind_an_index(server: Server, slide: Path) -> None:
    server.indexed(slide)
    with open_slide(slide) as reader:
        assert reader.info.width == WIDTH
    links = Path("/proc/self/fd")
    if links.is_dir():
        held = {str(link.resolve()) for link in links.iterdir()}
        assert str(slide) not in held
