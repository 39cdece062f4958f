"""`slideloop demo`: the whole way on a small generated slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slideloop.cli.common import (
    common_options,
    index_slides,
    json_option,
    open_encoder,
    open_slides,
    open_workspace,
    print_json,
    progress,
    say,
)
from slideloop.errors import WeightsError

if TYPE_CHECKING:
    from slideloop.evaluation.simulate import Run, Subject
    from slideloop.features.encoders import Encoder
    from slideloop.settings import Settings

POSITIVE = "Tumor"
STRATEGY = "cnfp"
ENGINES = {"linear": 10, "faithful": 1}
"""Sessions played by each engine."""


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

    Takes the ImageNet weights where they are cached or can be fetched, and otherwise goes on with
    seeded random ones. Everything it makes lies in DIR, its workspace too.
    """
    from slideloop.evaluation import outputs
    from slideloop.evaluation.plots import learning_curves
    from slideloop.evaluation.simulate import Protocol, result
    from slideloop.learning.heads import TrainingSettings

    outputs.prepare(out)
    slide, truth = _build(out, settings.seed)
    encoder = _encoder(settings)
    workspace = open_workspace(out / "workspace")
    subject = _subject(workspace, slide, truth, encoder, settings)
    training = TrainingSettings()
    runs = [
        _play(
            subject,
            Protocol(sessions=sessions, engine=engine, training=training.as_dict()),
            training,
            encoder,
            settings.seed,
        )
        for engine, sessions in ENGINES.items()
    ]
    record = result(runs, subject, _record(subject, settings))
    files = _write(runs[0], subject, out)
    learning_curves(record, files["learning curve"])
    outputs.write_json(files["figures"], record)
    if as_json:
        print_json({"files": {name: str(path) for name, path in files.items()}, **record})
    else:
        _print(runs, files, encoder)


def _build(out: Path, seed: int) -> tuple[Path, Path]:
    """Write the slide and its truth."""
    from slideloop.evaluation import outputs
    from slideloop.evaluation.generated import Scene, truth_geojson, write_slide

    slide, truth = out / "slide.tif", out / "truth.geojson"
    say(f"Building {slide} ...")
    scene = Scene(seed)
    write_slide(scene, slide)
    outputs.write_json(truth, truth_geojson(scene))
    return slide, truth


def _encoder(settings: Settings) -> Encoder:
    """Load the encoder; the only command that falls back to random weights by itself."""
    try:
        return open_encoder(settings)
    except WeightsError as err:
        if settings.weights != "imagenet":
            raise
        say(f"{err.message} Going on with seeded random weights instead.")
        return open_encoder(settings.model_copy(update={"weights": "random"}))


def _subject(
    workspace: Any, slide: Path, truth: Path, encoder: Encoder, settings: Settings
) -> Subject:
    from slideloop.evaluation.subjects import read_truths, slide_subject

    sources = open_slides(workspace, [slide], settings)
    info = sources[0].reader.info
    truths, positive = read_truths([truth], [(info.width, info.height)], POSITIVE, None)
    slides = index_slides(workspace, sources, encoder, settings)
    return slide_subject(slides, truths, positive, "classes", encoder)


def _play(subject: Subject, protocol: Any, training: Any, encoder: Encoder, seed: int) -> Run:
    from slideloop.evaluation.simulate import play
    from slideloop.learning.engines import create_engine

    engine = create_engine(protocol.engine, encoder, training)
    total = protocol.sessions * protocol.rounds
    with progress(f"Playing {protocol.sessions} sessions ({protocol.engine})", "rounds") as update:
        return play(subject, protocol, engine, STRATEGY, seed, lambda n: update(n, total))


def _record(subject: Subject, settings: Settings) -> dict[str, Any]:
    return {
        "classes": list(subject.classes),
        "positive": POSITIVE,
        "slides": subject.records,
        **subject.environment,
        **settings.model_dump(mode="json", include={"patch", "filter", "seed"}),
    }


def _write(run: Run, subject: Subject, out: Path) -> dict[str, Path]:
    """Write the mask in its three forms, and name all files."""
    from slideloop.evaluation import outputs

    files = {
        "slide": out / "slide.tif",
        "truth": out / "truth.geojson",
        "mask": out / "mask.png",
        "mask over the slide": out / "mask-over-slide.png",
        "mask for QuPath": out / "mask.geojson",
        "learning curve": out / "learning-curve.png",
        "journal of the study": out / "study.ndjson",
        "figures": out / "result.json",
    }
    outputs.write_journal(run, files["journal of the study"])
    masks = [files[name] for name in ("mask", "mask for QuPath", "mask over the slide")]
    outputs.write_mask(run, subject, 0, *masks)
    return files


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
