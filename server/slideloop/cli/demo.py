"""`slideloop demo`: the whole way on a small generated slide, through a server."""

from __future__ import annotations

import filecmp
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slideloop.cli.common import (
    common_options,
    json_option,
    open_encoder,
    open_slides,
    open_workspace,
    print_json,
    progress,
    say,
)
from slideloop.errors import InvalidInputError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slideloop.cli.served import ServerProcess
    from slideloop.evaluation.client import Client
    from slideloop.evaluation.simulate import Run
    from slideloop.evaluation.subjects import Subject
    from slideloop.features.encoders import Encoder
    from slideloop.features.sources import SlidePatches
    from slideloop.features.workspace import IndexedSlide, Workspace
    from slideloop.settings import Settings

POSITIVE = "Tumor"
STRATEGY = "cnfp"
ENGINES = {"linear": 10, "faithful": 1}
"""Sessions played by each engine."""

THUMBNAIL_PX = 1600

PATIENCE_S = 10.0
"""How long a request is tried again; the server is on this machine."""


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    default=Path("demo-out"),
    show_default=True,
)
@common_options
@json_option
def command(settings: Settings, out: Path, as_json: bool) -> None:  # fmt: skip
    """Build a small slide, play a simulated expert, leave mask, GeoJSON and learning curve.

    A server is started for it, on a free port of this machine, and stopped at the end; the expert
    is a client of it. Takes the ImageNet weights where they are cached or can be fetched, and
    otherwise goes on with seeded random ones. Everything it makes lies in DIR, its workspace too.
    """
    from slideloop.evaluation import outputs
    from slideloop.evaluation.plots import learning_curves
    from slideloop.evaluation.simulate import result

    outputs.prepare(out)
    encoder = _encoder(settings)
    files = _files(out)
    is_first = not (_workspace(out) / "slideloop.db").exists()
    with _server(settings, encoder, out, files["server's log"]) as server:
        _build(files, settings.seed, is_first)
        client = _client(server)
        subject = _subject(client, files, encoder, settings)
        runs = [_play(client, subject, *each, settings.seed) for each in ENGINES.items()]
        _fetch(client, runs[0], subject, files)
    record = result(runs, subject, _record(subject, settings))
    learning_curves(record, files["learning curve"])
    outputs.write_json(files["figures"], record)
    if as_json:
        print_json({"files": {name: str(path) for name, path in files.items()}, **record})
    else:
        _print(runs, files, encoder)


def _files(out: Path) -> dict[str, Path]:
    """Name all files that the demo leaves."""
    names = {
        "slide": "slide.tif",
        "truth": "truth.geojson",
        "mask": "mask.png",
        "mask over the slide": "mask-over-slide.png",
        "mask for QuPath": "mask.geojson",
        "learning curve": "learning-curve.png",
        "journal of the study": "study.ndjson",
        "figures": "result.json",
        "server's log": "server.log",
    }
    return {what: out / name for what, name in names.items()}


def _encoder(settings: Settings) -> Encoder:
    """Load the encoder; the only command that falls back to random weights by itself."""
    try:
        return open_encoder(settings)
    except WeightsError as err:
        if settings.weights != "imagenet":
            raise
        say(f"{err.message} Going on with seeded random weights instead.")
        return open_encoder(settings.model_copy(update={"weights": "random"}))


@contextmanager
def _server(settings: Settings, encoder: Encoder, out: Path, log: Path) -> Iterator[ServerProcess]:
    """Run a server with the demo's settings; where anything fails, name its log."""
    from slideloop.cli.served import ServerNotStartedError, ServerProcess

    changes: dict[str, Any] = {"workspace": _workspace(out)}
    if encoder.weights.kind == "random":
        changes["weights"] = "random"
    arguments = ["--slides-root", str(out.resolve())]
    for name, value in {**settings.model_dump(), **changes}.items():
        if value is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    say("Starting a server ...")
    with ServerProcess(arguments, log) as server:
        try:
            yield server
        except ServerNotStartedError:
            raise  # it names the log itself
        except Exception:
            say(f"The server's log is {log}.")
            raise


def _workspace(out: Path) -> Path:
    return out.resolve() / "workspace"


def _build(files: dict[str, Path], seed: int, is_first: bool) -> None:
    """Write the slide and its truth; the same slide again is left as it is.

    Raises
    ------
    InvalidInputError
        If the studies of an earlier demo belong to another slide.
    """
    from slideloop.evaluation import outputs
    from slideloop.evaluation.generated import Scene, truth_geojson, write_slide

    slide = files["slide"]
    say(f"Building {slide} ...")
    scene, built = Scene(seed), slide.with_name("slide-new.tif")
    try:
        write_slide(scene, built)
        is_other = slide.exists() and not filecmp.cmp(built, slide, shallow=False)
        if is_other and not is_first:
            raise InvalidInputError(
                f"{slide} belongs to an older demo, of another seed or version.",
                hint=f"Give another folder with --out, or delete {slide.parent}.",
            )
        if is_other or not slide.exists():
            built.replace(slide)
    finally:
        built.unlink(missing_ok=True)
    outputs.write_json(files["truth"], truth_geojson(scene))


def _client(server: ServerProcess) -> Client:
    from slideloop.evaluation.client import Client

    url = server.url()
    say(f"The server listens on {url}.")
    return Client(url, patience_s=PATIENCE_S)


def _subject(
    client: Client, files: dict[str, Path], encoder: Encoder, settings: Settings
) -> Subject:
    """Have the server index the slide, and lay the truth on the patches that it kept."""
    from slideloop.evaluation.subjects import read_truths, slide_subject

    workspace = open_workspace(_workspace(files["slide"].parent))
    (source,) = open_slides(workspace, [files["slide"]], settings)
    size = source.reader.info.width, source.reader.info.height
    truths, positive = read_truths([files["truth"]], [size], POSITIVE, None)
    _index(client, files["slide"])
    return slide_subject(
        [_indexed(workspace, source, encoder, settings)], truths, positive, "classes", encoder
    )


def _index(client: Client, slide: Path) -> None:
    """Have the server index the slide, with progress."""
    opened = client.request("POST", "/slides", {"path": str(slide.resolve())})
    if "job" not in opened:
        return
    n_grid = opened["slide"]["n_grid"]
    with progress(f"Indexing {slide.name}", "patches") as update:
        client.finished(opened["job"], lambda job: update(round(job["progress"] * n_grid), n_grid))


def _indexed(
    workspace: Workspace, source: SlidePatches, encoder: Encoder, settings: Settings
) -> IndexedSlide:
    """Open the features that the server made: which patches it kept, in which order."""
    from slideloop.features.workspace import IndexedSlide

    normalisation = workspace.normalisation(settings.normalisation, [source])
    store = workspace.index(source, encoder, normalisation, settings.store)
    return IndexedSlide(source, store, encoder, normalisation)


def _play(client: Client, subject: Subject, engine: str, sessions: int, seed: int) -> Run:
    from slideloop.evaluation.over_http import play_over_http
    from slideloop.evaluation.simulate import Protocol
    from slideloop.learning.heads import TrainingSettings

    training = TrainingSettings().as_dict()
    protocol = Protocol(sessions=sessions, engine=engine, training=training)
    total = protocol.sessions * protocol.rounds
    with progress(f"Playing {protocol.sessions} sessions ({protocol.engine})", "rounds") as update:
        return play_over_http(client, subject, protocol, STRATEGY, seed, lambda n: update(n, total))


def _fetch(client: Client, run: Run, subject: Subject, files: dict[str, Path]) -> None:
    """Fetch what the study has come to, and draw its mask over the slide."""
    from slideloop.evaluation import outputs

    study, slide = f"/studies/{run.loop.study.id}", subject.records[0]["id"]
    outputs.write_bytes(files["journal of the study"], client.fetch(f"{study}/journal"))
    for what, form in (("mask", "png"), ("mask for QuPath", "geojson")):
        data = client.fetch(f"{study}/prediction", slide=slide, format=form)
        outputs.write_bytes(files[what], data)
    _draw(run, subject, files)


def _draw(run: Run, subject: Subject, files: dict[str, Path]) -> None:
    """Draw slide, mask and truth side by side."""
    import numpy as np
    from PIL import Image

    from slideloop.evaluation.plots import mask_picture
    from slideloop.masks.cells import POSITIVE_RGB

    (access,), (truth,), last = subject.slides, subject.truths, run.curve[-1]
    assert access is not None and truth.grid_label is not None
    is_positive = np.zeros(truth.grid_label.shape, bool)
    column, row = access.store.cells.T
    is_positive[row, column] = truth.grid_label[row, column] == 0
    mask_picture(
        access.source.reader.thumbnail(THUMBNAIL_PX),
        [("Mask", np.asarray(Image.open(files["mask"]).convert("RGB")))],
        files["mask over the slide"],
        truth_rgb=is_positive[..., None] * np.array(POSITIVE_RGB, np.uint8),
        covered=(
            access.grid.n_columns * access.grid.stride_px0 / access.width,
            access.grid.n_rows * access.grid.stride_px0 / access.height,
        ),
        title=f"{files['slide'].name}: {POSITIVE} by {run.strategy}, {run.engine}, "
        f"{last['n_labels']} labels, F1 {_shown(last['f1'])}; "
        f"{subject.environment['weights']['kind']} weights",
    )


def _record(subject: Subject, settings: Settings) -> dict[str, Any]:
    return {
        "classes": list(subject.classes),
        "positive": POSITIVE,
        "slides": subject.records,
        **subject.environment,
        **settings.model_dump(mode="json", include={"patch", "filter", "seed"}),
    }


def _print(runs: list[Run], files: dict[str, Path], encoder: Encoder) -> None:
    click.echo("")
    for name, path in files.items():
        click.echo(f"{name:>22}: {path}")
    click.echo(f"{'weights':>22}: {encoder.weights}")
    for run in runs:
        last = run.curve[-1]
        click.echo(
            f"{run.engine:>22}: {last['n_labels']} labels, F1 {_shown(last['f1'])}, "
            f"Jaccard {_shown(last['jaccard'])} (on unreviewed patches "
            f"{_shown(last['f1_unreviewed'])} and {_shown(last['jaccard_unreviewed'])})"
        )


def _shown(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
