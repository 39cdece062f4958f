"""Indexing on a Dask cluster, with its progress on the terminal."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from slideloop.cli.common import progress, say
from slideloop.errors import SlideloopError
from slideloop.features.cluster import indexed_on
from slideloop.features.slide_task import EncoderSpec, SlideTask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distributed import Client

    from slideloop.features.encoders import Encoder
    from slideloop.features.normalisation import Normalisation
    from slideloop.features.slide_task import Indexed
    from slideloop.features.sources import SlidePatches
    from slideloop.features.workspace import Workspace
    from slideloop.settings import Settings


def index_on(
    client: Client,
    sources: Sequence[SlidePatches],
    encoder: Encoder,
    normalisation: Normalisation,
    workspace: Workspace,
    settings: Settings,
    kind: str,
) -> list[Indexed | SlideloopError]:
    """Index slides on a cluster, and show what it does.

    Parameters
    ----------
    client : distributed.Client
    sources : sequence of SlidePatches
        With absolute paths, which are the same on all machines.
    encoder : Encoder
        As it is here; the workers load the same one.
    normalisation : Normalisation
    workspace : Workspace
    settings : Settings
        Name the encoder, where its weights come from, and the workers' device.
    kind : {"full", "pooled"}

    Returns
    -------
    list of Indexed or SlideloopError
        What became of each slide, in their order.

    Raises
    ------
    ClusterError
        If the cluster goes away.
    """
    _silence_dask()
    is_file = encoder.weights.kind == "custom"
    weights = str(Path(settings.weights).expanduser().absolute()) if is_file else settings.weights
    spec = EncoderSpec(
        settings.encoder, weights, settings.device, encoder.weights.sha256, encoder.precision
    )
    tasks = [SlideTask.of(source, spec, normalisation, workspace.root, kind) for source in sources]
    return _followed(client, tasks)


def _silence_dask() -> None:
    """Leave the words to us: Dask logs a traceback for what is said here in a sentence."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _followed(client: Client, tasks: list[SlideTask]) -> list[Indexed | SlideloopError]:
    """Send tasks to a cluster and show what it does until all have come to an end."""
    if not client.nthreads():
        say("The cluster has no workers yet; waiting for some.")
    outcomes: dict[int, Indexed | SlideloopError] = {}
    visited = [0] * len(tasks)
    total = sum(task.grid.n_cells for task in tasks)
    with progress("Indexing on the cluster", "patches") as update:
        for news in indexed_on(client, tasks):
            visited[news.slide] = max(visited[news.slide], news.n_visited)
            outcome = news.outcome
            if outcome is not None:
                outcomes[news.slide] = outcome
                is_done = not isinstance(outcome, SlideloopError)
                end = f"done on {outcome.host}" if is_done else "failed"
                name = tasks[news.slide].path.name
                say(f"Indexing {name}: {end}, {len(outcomes)} of {len(tasks)}")
            update(sum(visited), total)
    return [outcomes[i] for i in range(len(tasks))]
