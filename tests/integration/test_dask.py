"""`index --dask` on a real cluster of two worker processes on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from tests.command_line import QUICK, Outcome, slideloop
from tests.slide_files import write_pyramid
from tests.unit.qupath.projects import entry, write_project

from slideloop.errors import SlideNotFoundError
from slideloop.evaluation.generated import Scene, write_slide
from slideloop.features import cluster as clusters
from slideloop.features.cluster import indexed_on
from slideloop.features.slide_task import EncoderSpec, Indexed, SlideTask
from slideloop.features.store import Batch, recorded_batches
from slideloop.features.workspace import PatchOptions, Workspace

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

    from slideloop.features.encoders import Encoder

BATCHES = 2
"""How many are recorded when a worker or a client is stopped in the middle of the large slide."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    from distributed import LocalCluster

    before = dict(os.environ)
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster
    # Starting workers leaves OMP_NUM_THREADS=1 here, and later children would give other bits.
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(scope="module")
def large_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of some two seconds."""
    path = tmp_path_factory.mktemp("large") / "large.tif"
    write_slide(Scene(3, 1824, 1440), path)
    return path


@pytest.fixture(scope="module")
def large_store(tmp_path_factory: pytest.TempPathFactory, large_slide: Path) -> dict[str, bytes]:
    """What indexing the large slide without a cluster leaves."""
    workspace = tmp_path_factory.mktemp("large-here")
    outcome = slideloop("index", large_slide, "--workspace", workspace, *QUICK)
    assert outcome.code == 0, outcome.err
    return features(workspace)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory, cluster: LocalCluster, small_slides: Path):
    """A workspace with two slides that were indexed on the cluster, and what was said."""
    workspace = tmp_path_factory.mktemp("there")
    slides = [small_slides / "small.tif", small_slides / "other.tif"]
    outcome = index_on(cluster, workspace, *slides, "--json")
    assert outcome.code == 0, outcome.err
    return workspace, outcome


def index_on(cluster: LocalCluster, workspace: Path, *slides_and_options: Any) -> Outcome:
    return slideloop(
        "index", "--dask", cluster.scheduler_address, "--workspace", workspace, *QUICK,
        *slides_and_options,
    )  # fmt: skip


def features(workspace: Path) -> dict[str, bytes]:
    """Every file of every store, finished or not."""
    root = workspace / "features"
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """Wait until something is there, and return it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("It did not come about.")


def begun(workspace: Path) -> tuple[Path, list[Batch]] | None:
    """Return an unfinished store in whose middle the index is."""
    for folder in (workspace / "features").glob("*.partial"):
        if (folder / "batches.txt").exists():
            batches = recorded_batches(folder)
            if len(batches) >= BATCHES:
                return folder, batches
    return None


def test_a_cluster_leaves_the_same_bytes_and_says_the_same(
    there: tuple[Path, Outcome], small_slides: Path, tmp_path: Path
):
    workspace, outcome = there
    slides = [small_slides / "small.tif", small_slides / "other.tif"]
    here = slideloop("index", *slides, "--workspace", tmp_path, *QUICK, "--json")
    stores = features(workspace)
    assert sorted({Path(name).name for name in stores}) == [
        "cells.npy", "full.npy", "manifest.json", "pooled.npy",
    ]  # fmt: skip
    assert stores == features(tmp_path)
    manifests = [json.loads(stores[name]) for name in stores if name.endswith(".json")]
    assert [each["n_threads"] for each in manifests] == [torch.get_num_threads()] * 2
    assert rows_of(outcome) == rows_of(here)
    assert ", 2 of 2" in outcome.err
    assert list(workspace.glob(".slideloop-*")) == []


def rows_of(outcome: Outcome) -> list[dict[str, Any]]:
    """Return what `--json` printed, without what differs from run to run."""
    rows = json.loads(outcome.out)
    for row in rows:
        assert row.pop("seconds") > 0
        row["folder"] = Path(row["folder"]).name
    return rows


def test_one_slide_that_fails_does_not_stop_the_others(
    client: Client, there: tuple[Path, Outcome], small_slides: Path, squeezenet: Encoder
):
    workspace = Workspace(there[0])
    sources = workspace.open_slides([small_slides / "small.tif"], PatchOptions(patch=96))
    normalisation = workspace.normalisation("sample", sources)
    spec = EncoderSpec("squeezenet1_1", "random", "cpu", squeezenet.weights.sha256, "fp32")
    good = SlideTask.of(sources[0], spec, normalisation, workspace.root, "full")
    # What the client sees and a worker does not.
    bad = replace(good, path=small_slides / "away.tif")
    news = list(indexed_on(client, [bad, good]))
    workspace.close()
    outcomes = {each.slide: each.outcome for each in news if each.outcome is not None}
    assert isinstance(outcomes[0], SlideNotFoundError)
    assert str(bad.path) in outcomes[0].message
    assert isinstance(outcomes[1], Indexed)


def test_of_several_slides_the_good_ones_are_indexed_and_the_exit_code_says_so(
    cluster: LocalCluster, there: tuple[Path, Outcome], small_slides: Path, tmp_path: Path
):
    glass = tmp_path / "glass.tif"
    write_pyramid(glass, pixels=np.full((400, 400, 3), 250, np.uint8), n_levels=1)
    outcome = index_on(cluster, there[0], small_slides / "small.tif", glass)
    assert outcome.code == 3
    assert "No patch of glass.tif passes the filter" in outcome.err
    assert "1 of 2 slides were indexed." in outcome.err


def test_a_workspace_that_workers_do_not_see_is_refused(
    cluster: LocalCluster, small_slides: Path, tmp_path: Path
):
    # A folder that this process alone has under this path.
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        outcome = index_on(cluster, Path(f"/proc/self/fd/{here}"), small_slides / "small.tif")
    finally:
        os.close(here)
    assert outcome.code == 2
    assert f"/proc/self/fd/{here} is not the workspace of the client" in outcome.err


def test_another_version_on_a_worker_is_refused_with_both(
    cluster: LocalCluster, small_slides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    theirs = clusters.__version__
    monkeypatch.setattr(clusters, "__version__", "99.0")
    outcome = index_on(cluster, tmp_path, small_slides / "small.tif")
    assert outcome.code == 2
    assert f"has slideloop {theirs}, the client has slideloop 99.0" in outcome.err


def test_a_workers_address_is_told_from_a_schedulers(
    cluster: LocalCluster, client: Client, small_slides: Path, tmp_path: Path
):
    address = next(iter(client.run(os.getpid)))
    outcome = slideloop("index", small_slides / "small.tif", "--workspace", tmp_path, "--dask",
                        address)  # fmt: skip
    assert outcome.code == 2
    assert f"At {address} is a Worker, not a scheduler." in outcome.err


def test_an_interrupt_stops_the_workers_and_keeps_what_is_done(
    cluster: LocalCluster, client: Client, large_slide: Path, tmp_path: Path
):
    def interrupt() -> Path:
        folder, _ = until(lambda: begun(tmp_path))
        os.kill(os.getpid(), signal.SIGINT)
        return folder

    with ThreadPoolExecutor(1) as pool:
        folder = pool.submit(interrupt)
        outcome = index_on(cluster, tmp_path, large_slide)
    assert outcome.code == 130
    assert "Interrupted; nothing was left half-written." in outcome.err
    (lock,) = (tmp_path / "features").glob("*.lock")
    with FileLock(lock, timeout=5):
        assert len(recorded_batches(folder.result())) >= BATCHES
    assert not any(client.processing().values())


def test_when_the_client_is_killed_the_workers_stop(
    cluster: LocalCluster, client: Client, large_slide: Path, tmp_path: Path
):
    command = ["index", large_slide, "--dask", cluster.scheduler_address, "--workspace", tmp_path]
    with subprocess.Popen(
        [sys.executable, "-m", "slideloop.cli.main", *map(str, command), *QUICK],
        stderr=subprocess.DEVNULL,
    ) as process:
        folder, _ = until(lambda: begun(tmp_path))
        process.kill()
    (lock,) = (tmp_path / "features").glob("*.lock")
    with FileLock(lock, timeout=5):
        assert len(recorded_batches(folder)) >= BATCHES
    assert not any(client.processing().values())


def busy_worker(client: Client, workspace: Path, outcome: Future[Outcome]) -> str:
    """Wait until a batch is recorded, or the command has ended; return who is at it."""
    until(lambda: begun(workspace) or outcome.done())
    (busy,) = [address for address, keys in client.processing().items() if keys]
    return busy


def test_a_killed_workers_slide_goes_on_where_it_was(
    cluster: LocalCluster,
    client: Client,
    large_slide: Path,
    large_store: dict[str, bytes],
    tmp_path: Path,
):
    pids: Any = client.run(os.getpid)
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(index_on, cluster, tmp_path, large_slide)
        busy = busy_worker(client, tmp_path, outcome)
        os.kill(pids[busy], signal.SIGSTOP)
        partial = begun(tmp_path)
        assert partial is not None
        folder, batches = partial
        witness = tmp_path / "witness.npy"
        witness.hardlink_to(folder / "full.npy")
        os.kill(pids[busy], signal.SIGKILL)
        assert outcome.result().code == 0, outcome.result().err
    assert features(tmp_path) == large_store
    (finished,) = (tmp_path / "features").glob("*.full")
    assert witness.samefile(finished / "full.npy")
    told = [message for message in progress_of_last_run(client) if message["pid"] != pids[busy]]
    assert told[0]["n_visited"] > batches[-1].n_visited


def progress_of_last_run(client: Client) -> list[dict[str, int]]:
    """Return what workers told, in order."""
    topics: Any = client.get_events()
    runs = [events for name, events in topics.items() if str(name).startswith("slideloop-")]
    return [message for _, message in max(runs, key=lambda events: events[-1][0])]


def test_a_slide_that_kills_every_worker_is_named(
    cluster: LocalCluster, client: Client, large_slide: Path, tmp_path: Path
):
    before = cluster.scheduler.allowed_failures
    cluster.scheduler.allowed_failures = 0
    try:
        pids: Any = client.run(os.getpid)
        with ThreadPoolExecutor(1) as pool:
            outcome = pool.submit(index_on, cluster, tmp_path, large_slide)
            busy = busy_worker(client, tmp_path, outcome)
            os.kill(pids[busy], signal.SIGKILL)
            said = outcome.result()
    finally:
        cluster.scheduler.allowed_failures = before
    assert said.code == 2
    assert f"The workers that indexed large.tif died, 1 in a row; the last one was at {busy}" in (
        said.err
    )


def test_a_project_is_gone_through_on_a_cluster_with_the_same_masks(
    cluster: LocalCluster,
    small_slides: Path,
    small_workspace: Path,
    small_journal: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "damaged.tif").write_bytes((small_slides / "other.tif").read_bytes()[:20_000])
    project = write_project(
        tmp_path / "project",
        entry(1, "small.tif", (small_slides / "small.tif").as_uri()),
        entry(2, "other.tif", (small_slides / "other.tif").as_uri()),
        entry(3, "damaged.tif", (tmp_path / "damaged.tif").as_uri()),
    )
    workspace = tmp_path / "workspace"
    command = ["project", "run", project.folder, "--study", small_journal, *QUICK, "--json"]
    here = slideloop(*command, "--workspace", small_workspace, "--out", tmp_path / "here")
    outcome = slideloop(
        *command, "--workspace", workspace, "--out", tmp_path / "there",
        "--dask", cluster.scheduler_address,
    )  # fmt: skip
    assert (here.code, outcome.code) == (3, 3), outcome.err
    assert "done on" in outcome.err
    rows = {row["image"]: row for row in json.loads(outcome.out)}
    assert "problem" in rows["damaged.tif"]
    masks = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert len(masks) == 2
    for name in masks:
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
