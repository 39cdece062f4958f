"""The index of one slide as a task for another process or machine.

Owns what travels there and what is done with it: the slide is read and its store written by their
paths, on a file system that all machines share. Knows nothing of who carries it.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout

from slideloop import __version__
from slideloop.errors import (
    InvalidInputError,
    SlideChangedError,
    SlideloopError,
    SlideNotFoundError,
    WeightsError,
)
from slideloop.features.encoders import Encoder, load_encoder
from slideloop.features.indexing import indexing_key, lock_path
from slideloop.features.workspace import Workspace, patches_of
from slideloop.slides.reader import open_slide

if TYPE_CHECKING:
    from collections.abc import Callable

    from slideloop.features.normalisation import Normalisation
    from slideloop.features.sources import SlidePatches
    from slideloop.features.store import FeatureStore
    from slideloop.slides.grid import Grid

STALE_LOCK_S = 120.0
"""How long a slide's lock is waited for: a network drive keeps a dead machine's for a while, and
a process that was given up may still be at it."""

_LOOK_EVERY_S = 1.0

_one_slide = threading.Lock()
"""Held while this process indexes: torch's number of threads belongs to the process."""


@dataclass(frozen=True)
class EncoderSpec:
    """What an encoder is built from on a worker, the same as on the client.

    Attributes
    ----------
    name, weights, device : str
        As `slideloop.features.encoders.load_encoder`; a weights file by its absolute path, a
        device "auto" is the worker's best.
    sha256 : str
        Of the weights, as the client has them.
    precision : {"fp32", "bf16", "int8"}
        As the client would compute.
    """

    name: str
    weights: str
    device: str
    sha256: str
    precision: str


@dataclass(frozen=True)
class SlideTask:
    """All that the features of one slide are a pure function of, and where they go.

    Attributes
    ----------
    path : Path
        Of the slide, absolute.
    reader : str
        Back-end that the slide was checked with.
    fingerprint : str
    grid : Grid
    rule : {"tissue", "paper", "none"}
        Filter.
    mpp : float or None
        um/px that counts for the slide.
    normalisation : Normalisation
    encoder : EncoderSpec
    workspace : Path
        Absolute.
    kind : {"full", "pooled"}
    n_threads : int
        Of torch, which the bits depend on.
    version : str
        Of the slideloop that sends it.
    """

    path: Path
    reader: str
    fingerprint: str
    grid: Grid
    rule: str
    mpp: float | None
    normalisation: Normalisation
    encoder: EncoderSpec
    workspace: Path
    kind: str
    n_threads: int
    version: str = __version__

    @classmethod
    def of(
        cls,
        source: SlidePatches,
        encoder: EncoderSpec,
        normalisation: Normalisation,
        workspace: Path,
        kind: str,
    ) -> SlideTask:
        """Return the task that indexes a slide as this process would.

        Parameters
        ----------
        source : SlidePatches
            A slide that was opened by its absolute path.
        encoder : EncoderSpec
        normalisation : Normalisation
        workspace : Path
        kind : {"full", "pooled"}
        """
        return cls(
            path=source.reader.info.path,
            reader=source.reader.info.reader,
            fingerprint=source.identity["fingerprint"],
            grid=source.grid,
            rule=source.rule,
            mpp=source.details["mpp"],
            normalisation=normalisation,
            encoder=encoder,
            workspace=workspace.absolute(),
            kind=kind,
            n_threads=torch.get_num_threads(),
        )


@dataclass(frozen=True)
class Indexed:
    """What a worker says of a finished store.

    Attributes
    ----------
    folder : Path
    manifest : dict
        The store's, without its batches.
    n_patches : int
    host : str
        Where it was made.
    seconds : float
    """

    folder: Path
    manifest: dict[str, Any]
    n_patches: int
    host: str
    seconds: float


def carry_out(task: SlideTask, tell: Callable[[int], None]) -> Indexed:
    """Index a slide in this process, as its client would.

    Parameters
    ----------
    task : SlideTask
    tell : callable
        Called with the grid patches looked at, and with 0 now and then while it waits. What it
        raises ends the index, which goes on from there the next time.

    Raises
    ------
    SlideloopError
        As `slideloop.features.indexing.index`, or if this machine lacks what the task names;
        the message begins with the machine's name.
    """
    host = socket.gethostname()
    while not _one_slide.acquire(timeout=_LOOK_EVERY_S):
        tell(0)
    start, threads = time.monotonic(), torch.get_num_threads()
    try:
        torch.set_num_threads(task.n_threads)
        store = _index(task, tell)
    except SlideloopError as err:
        raise type(err)(f"On {host}: {err.message}", hint=err.hint) from err
    finally:
        torch.set_num_threads(threads)
        _one_slide.release()
    manifest = {name: value for name, value in store.manifest.items() if name != "batches"}
    return Indexed(store.folder, manifest, len(store), host, time.monotonic() - start)


def _index(task: SlideTask, tell: Callable[[int], None]) -> FeatureStore:
    if task.version != __version__:
        raise other_version(task.version, __version__, "the worker")
    workspace = Workspace(task.workspace)
    _require_slide(task, workspace)
    encoder = _encoder(task.encoder)
    with open_slide(task.path, task.reader) as reader:
        source = patches_of(reader, task.grid, task.rule, task.fingerprint, task.mpp)
        key = indexing_key(source, encoder, task.normalisation)
        _await_lock(lock_path(workspace.features, key.id), tell)
        return workspace.index(
            source, encoder, task.normalisation, task.kind, lambda done, _: tell(done)
        )


def _require_slide(task: SlideTask, workspace: Workspace) -> None:
    """Make sure that the path leads to the client's slide, here too."""
    try:
        found = workspace.fingerprint(task.path)
    except SlideNotFoundError as err:
        raise SlideNotFoundError(
            f"there is no file {str(task.path)!r}.",
            hint="Slides and workspace must lie under the same paths on all machines.",
        ) from err
    if found != task.fingerprint:
        raise SlideChangedError(
            f"{task.path} is another file than the one that was sent: SHA-256 {found[:12]}, "
            f"not {task.fingerprint[:12]}.",
            hint="Slides must lie under the same paths on all machines, and stay as they are.",
        )


@lru_cache(maxsize=1)
def _encoder(spec: EncoderSpec) -> Encoder:
    """Build an encoder, or take the last slide's."""
    encoder = load_encoder(spec.name, spec.weights, spec.device, spec.precision)
    found = encoder.weights.sha256
    if found != spec.sha256:
        raise WeightsError(
            f"the weights {spec.weights} are other ones: SHA-256 {found[:12]}, not "
            f"{spec.sha256[:12]}.",
            hint="Put the same file there on all machines.",
        )
    return encoder


def _await_lock(path: Path, tell: Callable[[int], None]) -> None:
    """Wait until nobody else indexes the slide; whoever still does is `index`'s to name."""
    deadline = time.monotonic() + STALE_LOCK_S
    while time.monotonic() < deadline:
        tell(0)
        try:
            with FileLock(path, timeout=_LOOK_EVERY_S):
                return
        except Timeout:
            continue
        except OSError:
            return


def other_version(client: str, worker: str | None, who: str) -> InvalidInputError:
    """Return the error that says that two machines have different versions."""
    return InvalidInputError(
        f"{who} has {f'slideloop {worker}' if worker else 'no slideloop'}, "
        f"the client has slideloop {client}.",
        hint="Install the same version on all machines.",
    )
