"""What commands share: the common options, progress, warnings, the way to an encoder.

Owns the words of the terminal. Progress and warnings go to stderr, so that `--json` on stdout can
be read by a program.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slideloop.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from slideloop.features.encoders import Encoder
    from slideloop.features.normalisation import Normalisation
    from slideloop.features.sources import PatchSource, SlidePatches
    from slideloop.features.store import FeatureStore
    from slideloop.features.workspace import IndexedSlide, PatchOptions, Workspace
    from slideloop.studies.loop import Loop

LINE_EVERY_S = 5.0

_OPTIONS = (
    click.option("--workspace", type=click.Path(path_type=Path, file_okay=False),
                 help="Folder of feature stores. Default: the platform's data folder."),
    click.option("--weights", metavar="imagenet|random|FILE",
                 help="Weights of the encoder. Default: imagenet."),
    click.option("--encoder", help="resnet18 (default), resnet18-layer4.0 or squeezenet1_1."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"])),
    click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "int8"]),
                 help="Of the networks. Default: auto, bf16 where this machine is faster with it."),
    click.option("--patch", type=int, help="Side of a patch in pixels. Default: 256."),
    click.option("--stride", type=int, help="Step between patches. Default: the patch."),
    click.option("--mpp", type=float, help="Resample to this resolution, um/px."),
    click.option("--assume-mpp", type=float, help="um/px of slides that do not state theirs."),
    click.option("--filter", "filter", type=click.Choice(["tissue", "paper", "none"]),
                 help="Which patches are dropped as empty. Default: tissue."),
    click.option("--normalisation", metavar="sample|dataset|imagenet|R,G,B/R,G,B",
                 help="Default: sample."),
    click.option("--store", type=click.Choice(["full", "pooled"]),
                 help="pooled: 50 times smaller, for the linear engine only."),
    click.option("--seed", type=int, help="Of everything random. Default: 0."),
)  # fmt: skip


DASK = click.option(
    "--dask",
    "address",
    metavar="ADDRESS",
    help="Send the slides to the Dask cluster whose scheduler is there (tcp://HOST:8786).",
)

kind_option = click.option(
    "--as",
    "kind",
    type=click.Choice(["detections", "annotations", "tiles"]),
    default="detections",
    show_default=True,
    help="What the mask becomes as objects.",
)


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the common options; it gets them as one `settings`."""

    @functools.wraps(function)
    def wrapper(**given: Any) -> Any:
        flags = {name: given.pop(name) for name in Settings.model_fields}
        return function(settings=load_settings(**flags), **given)

    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(_OPTIONS), wrapper)


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def say(text: str) -> None:
    """Print a line for the user, on stderr."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    """Print the result for a program, on stdout."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


@contextmanager
def progress(label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress with rate and remaining time: a bar on a terminal, plain lines elsewhere.

    Yields
    ------
    callable
        Takes (done, total).
    """
    if sys.stderr.isatty():
        with _bar(label, unit) as update:
            yield update
    else:
        yield _Lines(label, unit)


@contextmanager
def _bar(label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}}/{{task.total:,.0f}} {unit}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=1, rate="")
        rate = _Rate()

        def update(done: int, total: int) -> None:
            text = f"{rate(done):,.1f} {unit}/s"
            bar.update(task, completed=done, total=total, rate=text)

        yield update


class _Rate:
    """Units per second since the first report, which may be a resumed one."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._first: int | None = None

    def __call__(self, done: int) -> float:
        if self._first is None:
            self._first = done if done > 100 else 0
        elapsed = max(time.monotonic() - self._start, 1e-3)
        return (done - self._first) / elapsed


class _Lines:
    """A line every few seconds, and one at the end."""

    def __init__(self, label: str, unit: str) -> None:
        self._label, self._unit, self._rate = label, unit, _Rate()
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        rate = self._rate(done)
        if now - self._last < LINE_EVERY_S and done < total:
            return
        self._last = now
        left = f", {(total - done) / rate:,.0f} s left" if rate > 0 and done < total else ""
        say(f"{self._label}: {done:,}/{total:,} {self._unit}, {rate:,.1f} {self._unit}/s{left}")


def open_encoder(settings: Settings) -> Encoder:
    """Load the encoder, and say so where its weights are not the usual ones."""
    from slideloop.features.encoders import load_encoder

    encoder = load_encoder(settings.encoder, settings.weights, settings.device, settings.precision)
    weights = encoder.weights
    if weights.kind == "random":
        say("WARNING: random weights. Features mean little; results are for trying things only.")
    elif weights.kind == "custom":
        say(f"Custom weights: {weights.name}, SHA-256 {weights.sha256}.")
    return encoder


def patch_options(settings: Settings) -> PatchOptions:
    """Return how slides are cut."""
    from slideloop.features.workspace import PatchOptions

    return PatchOptions(
        settings.patch, settings.stride, settings.mpp, settings.assume_mpp, settings.filter
    )


def open_workspace(root: Path) -> Workspace:
    """Open a workspace for one command; at the command's end its slides are closed."""
    from slideloop.features.workspace import Workspace

    workspace = Workspace(root)
    click.get_current_context().call_on_close(workspace.close)
    return workspace


def say_if_differs(loop: Loop) -> None:
    """Say it where a study's models, trained again, are not those that were recorded."""
    if not loop.is_as_recorded():
        say("The models, trained again, differ in their last bits from the recorded ones: "
            "another machine or library version than the study's.")  # fmt: skip


def open_slides(
    workspace: Workspace, paths: Sequence[Path], settings: Settings
) -> list[SlidePatches]:
    """Open and grid slides, and tell what is unusual about them."""
    sources = workspace.open_slides(paths, patch_options(settings))
    for source in sources:
        for note in source.reader.info.notes:
            say(f"{source.name}: {note}")
    return sources


def index_source(
    workspace: Workspace,
    source: PatchSource,
    encoder: Encoder,
    normalisation: Normalisation,
    store: str,
) -> FeatureStore:
    """Index one source with progress."""
    with progress(f"Indexing {source.name}", "patches") as update:
        return workspace.index(source, encoder, normalisation, store, update)


def index_slides(
    workspace: Workspace, sources: Sequence[SlidePatches], encoder: Encoder, settings: Settings
) -> list[IndexedSlide]:
    """Index slides that are worked on together."""
    from slideloop.features.workspace import IndexedSlide

    normalisation = workspace.normalisation(settings.normalisation, sources)
    return [
        IndexedSlide(
            source,
            index_source(workspace, source, encoder, normalisation, settings.store),
            encoder,
            normalisation,
        )
        for source in sources
    ]
