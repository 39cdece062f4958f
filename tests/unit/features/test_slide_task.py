"""The index of one slide as a task: what must be the same where it is carried out."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from slideloop import errors
from slideloop.errors import (
    InvalidInputError,
    JobCancelledError,
    SlideChangedError,
    SlideloopError,
    SlideNotFoundError,
    StoreMismatchError,
    WeightsError,
)
from slideloop.evaluation.generated import Scene, write_slide
from slideloop.features import slide_task
from slideloop.features.encoders import Encoder
from slideloop.features.normalisation import IMAGENET
from slideloop.features.slide_task import EncoderSpec, SlideTask, carry_out
from slideloop.features.workspace import PatchOptions, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path / "workspace")
    yield workspace
    workspace.close()


@pytest.fixture
def task(workspace: Workspace, tmp_path: Path, squeezenet: Encoder) -> SlideTask:
    return task_of(workspace, tmp_path / "slide.tif", squeezenet)


def task_of(workspace: Workspace, path: Path, encoder: Encoder, seed: int = 0) -> SlideTask:
    write_slide(Scene(seed, 960, 768), path)
    (source,) = workspace.open_slides([path], PatchOptions(patch=96))
    spec = EncoderSpec("squeezenet1_1", "random", "cpu", encoder.weights.sha256, "fp32")
    return SlideTask.of(source, spec, IMAGENET, workspace.root, "full")


def ignore(n_visited: int) -> None:
    del n_visited


def features(workspace: Workspace) -> dict[str, bytes]:
    files = [path for path in workspace.features.rglob("*") if path.suffix in (".npy", ".json")]
    return {str(path.relative_to(workspace.features)): path.read_bytes() for path in files}


def local(task: SlideTask, encoder: Encoder, root: Path, n_threads: int) -> dict[str, bytes]:
    """Index the task's slide as the command does without a cluster."""
    workspace = Workspace(root)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        sources = workspace.open_slides([task.path], PatchOptions(patch=96))
        workspace.index(sources[0], encoder, IMAGENET, "full")
        return features(workspace)
    finally:
        torch.set_num_threads(before)
        workspace.close()


# Those of errors.py: errors of other layers are never raised by an index, and which of them are
# there depends on what else was imported.
ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SlideloopError)
]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_travels_with_its_code_and_hint(kind: type[SlideloopError]):
    err = pickle.loads(pickle.dumps(kind("It broke.", hint="Mend it.")))
    assert type(err) is kind
    assert (err.message, err.hint, err.code) == ("It broke.", "Mend it.", kind.code)
    assert str(err) == "It broke. Mend it."


def test_slides_in_two_threads_of_a_process_get_each_its_own_number_of_threads(
    workspace: Workspace, tmp_path: Path, squeezenet: Encoder
):
    before = torch.get_num_threads()
    tasks = [
        replace(task_of(workspace, tmp_path / f"{n}.tif", squeezenet, n), n_threads=n)
        for n in (1, 2)
    ]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda task: carry_out(task, ignore), tasks))
    expected = {
        name: content
        for task in tasks
        for name, content in local(
            task, squeezenet, tmp_path / f"local{task.n_threads}", task.n_threads
        ).items()
    }
    assert features(workspace) == expected
    assert [each.manifest["n_threads"] for each in done] == [1, 2]
    assert torch.get_num_threads() == before


def test_a_slide_that_is_not_there_is_named_with_the_machine(task: SlideTask):
    away = replace(task, path=task.path.with_name("away.tif"))
    with pytest.raises(SlideNotFoundError) as caught:
        carry_out(away, ignore)
    assert (
        caught.value.message == f"On {socket.gethostname()}: there is no file {str(away.path)!r}."
    )
    assert "same paths on all machines" in caught.value.hint


def test_another_slide_under_the_same_path_is_refused(task: SlideTask, workspace: Workspace):
    write_slide(Scene(7, 960, 768), task.path)
    with pytest.raises(SlideChangedError, match="is another file than the one that was sent"):
        carry_out(task, ignore)
    assert not features(workspace)


def test_other_weights_under_the_same_path_are_refused(task: SlideTask, tmp_path: Path):
    from torchvision.models import squeezenet1_1

    path = tmp_path / "weights.pth"
    torch.save(squeezenet1_1(weights=None).state_dict(), path)
    other = replace(task, encoder=replace(task.encoder, weights=str(path), sha256="0" * 64))
    with pytest.raises(WeightsError, match=rf"{path} are other ones: SHA-256 \w{{12}}, not 0000"):
        carry_out(other, ignore)


def test_weights_that_are_not_there_are_named_with_the_machine(task: SlideTask):
    missing = replace(task, encoder=replace(task.encoder, weights="/none/weights.pth"))
    with pytest.raises(
        WeightsError, match=rf"On {socket.gethostname()}: No weights file at /none/weights\.pth"
    ):
        carry_out(missing, ignore)


def test_a_task_of_another_version_is_refused_with_both(task: SlideTask):
    with pytest.raises(
        InvalidInputError, match=rf"has slideloop {task.version}, the client has slideloop 0\.0\.7"
    ):
        carry_out(replace(task, version="0.0.7"), ignore)


def test_a_lock_that_a_dead_machine_left_is_waited_for(
    task: SlideTask, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slide_task, "_LOOK_EVERY_S", 0.1)
    lock = FileLock(lock_of(task, workspace))
    lock.acquire()
    waits: list[int] = []

    def tell(n_visited: int) -> None:
        waits.append(n_visited)
        if len(waits) == 3:
            lock.release()

    assert carry_out(task, tell).n_patches > 0
    assert waits[:3] == [0, 0, 0]


def test_a_slide_that_somebody_goes_on_indexing_is_given_up(
    task: SlideTask, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slide_task, "_LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(slide_task, "STALE_LOCK_S", 0.3)
    with (
        FileLock(lock_of(task, workspace)),
        pytest.raises(StoreMismatchError, match="is being indexed by another process"),
    ):
        carry_out(task, ignore)


def lock_of(task: SlideTask, workspace: Workspace) -> Path:
    """Return the lock of a task's store, by indexing and forgetting it."""
    done = carry_out(task, ignore)
    for path in done.folder.iterdir():
        path.unlink()
    done.folder.rmdir()
    return workspace.features / f"{done.manifest['id']}.lock"


def test_a_slide_that_waits_for_its_turn_can_be_cancelled(
    task: SlideTask, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(slide_task, "_LOOK_EVERY_S", 0.1)

    def cancel(n_visited: int) -> None:
        raise JobCancelledError("Not wanted any more.")

    with slide_task._one_slide, pytest.raises(JobCancelledError):
        carry_out(task, cancel)
