"""`slideloop simulate`: the paper's experiment on own slides, with a simulated expert."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from slideloop.cli.common import (
    common_options,
    index_slides,
    index_source,
    json_option,
    open_encoder,
    open_slides,
    open_workspace,
    print_json,
    progress,
    say,
)
from slideloop.cli.main import IN_PART
from slideloop.cli.simulate_view import print_summary
from slideloop.errors import InvalidInputError
from slideloop.learning.sampling import DEFAULT_STRATEGY, STRATEGIES, find_strategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slideloop.evaluation.simulate import Protocol, Run
    from slideloop.evaluation.subjects import Subject
    from slideloop.features.encoders import Encoder
    from slideloop.features.workspace import Workspace
    from slideloop.learning.engine import Engine
    from slideloop.settings import Settings

_PATH = click.Path(path_type=Path)


@click.command("simulate")
@click.argument("slides", nargs=-1, type=_PATH)
@click.option(
    "--truth",
    multiple=True,
    type=_PATH,
    metavar="FILE",
    help="GeoJSON, mask image or BACH XML; once per slide, in their order.",
)
@click.option("--tiles", type=_PATH, metavar="DIR", help="Search database, CLASS/file.")
@click.option("--held-out", type=_PATH, metavar="DIR", help="Tiles that are measured on.")
@click.option("--positive", metavar="NAME", help="The class sought.")
@click.option("--outside", metavar="NAME", help="Class of what the truth leaves unannotated.")
@click.option(
    "--strategy",
    multiple=True,
    metavar="NAME",
    help=f"{', '.join(STRATEGIES)} or all; repeatable. Default: {DEFAULT_STRATEGY}.",
)
@click.option(
    "--mode", type=click.Choice(["classes", "relevance"]), default="classes", show_default=True
)
@click.option(
    "--queries",
    type=int,
    default=10,
    show_default=True,
    help="Queries, a session each; with --tiles, queries per class.",
)
@click.option("--sessions", type=int, help="With --tiles: sessions. Default: all queries.")
@click.option("--rounds", type=int, default=5, show_default=True, help="Rounds a session.")
@click.option("--k", type=int, default=5, show_default=True, help="Patches a round.")
@click.option(
    "--seeds", type=int, default=3, show_default=True, help="Number of seeds, from --seed on."
)
@click.option(
    "--engine", type=click.Choice(["linear", "faithful"]), default="linear", show_default=True
)
@click.option(
    "--search-slide",
    "search",
    multiple=True,
    type=_PATH,
    metavar="SLIDE",
    help="Show patches of these slides only.",
)
@click.option(
    "--query-slide",
    "queried",
    multiple=True,
    type=_PATH,
    metavar="SLIDE",
    help="Draw queries from these slides only. Default: the searched ones.",
)
@click.option(
    "--session-start",
    type=click.Choice(["current", "pretrained"]),
    help="Models of a session's first round. Default: the engine's own.",
)
@click.option(
    "--refine/--no-refine",
    default=True,
    show_default=True,
    help="Whether relevant patches refine the query.",
)
@click.option(
    "--refine-over", type=click.Choice(["study", "round"]), default="study", show_default=True
)
@click.option(
    "--metric-distance",
    type=click.Choice(["normalised", "raw"]),
    default="normalised",
    show_default=True,
)
@click.option(
    "--mining", type=click.Choice(["batch_hard", "hard"]), default="batch_hard", show_default=True
)
@click.option(
    "--mask-after",
    "masks_after",
    multiple=True,
    type=int,
    metavar="SESSION",
    help="Draw the masks after this session too; repeatable.",
)
@click.option(
    "--full-supervision",
    is_flag=True,
    help="Also train on every searched patch; measured on held-out tiles or slides not searched.",
)
@click.option("--epochs", type=click.IntRange(1), default=50, show_default=True)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR"
)
@common_options
@json_option
def command(settings: Settings, out: Path, as_json: bool, **given: Any) -> None:  # fmt: skip
    """Play the paper's experiment on SLIDES, or on tile folders, with a simulated expert.

    Leaves report.html, result.json, curves.png and, per strategy and seed, the mask as PNG and
    GeoJSON, the mask over the slide, and the study's journal.
    """
    from slideloop.evaluation import outputs

    protocol = _protocol(given)
    strategies = _strategies(given["strategy"])
    seeds = list(range(settings.seed, settings.seed + _at_least_one("seeds", given["seeds"])))
    _check_sources(given)
    if protocol.engine == "faithful" and settings.store == "pooled":
        raise InvalidInputError(
            "The faithful engine trains on full features, not on pooled ones.",
            hint="Leave out --store pooled, or use --engine linear.",
        )
    outputs.prepare(out)
    workspace = open_workspace(settings.workspace)
    encoder = open_encoder(settings)
    if given["tiles"]:
        subject, protocol = _tiles(given, settings, workspace, encoder, protocol)
    else:
        subject = _slides(given, settings, workspace, encoder, protocol)
    play_and_write(
        subject, protocol, encoder, strategies, seeds, settings, given["truth"], out, as_json
    )


def play_and_write(
    subject: Subject,
    protocol: Protocol,
    encoder: Encoder,
    strategies: Sequence[str],
    seeds: Sequence[int],
    settings: Settings,
    truths: Sequence[Path],
    out: Path,
    as_json: bool,
) -> None:
    """Play each strategy with each seed, write what came of it, and say it.

    Parameters
    ----------
    subject : Subject
    protocol : Protocol
    encoder : Encoder
    strategies : sequence of str
    seeds : sequence of int
    settings : Settings
        What the subject was made with; recorded.
    truths : sequence of Path
        Where its truth came from; recorded.
    out : Path
        Folder for the results.
    as_json : bool
        Whether `result.json` is printed too.

    Raises
    ------
    click.exceptions.Exit
        With 3, if it was interrupted; what was finished is written.
    """
    from slideloop.evaluation.measuring import full_supervision
    from slideloop.evaluation.simulate import check_size, draw_queries, result
    from slideloop.learning.engines import create_engine
    from slideloop.learning.heads import TrainingSettings

    check_size(subject, protocol)
    for seed in seeds:
        draw_queries(subject, protocol, seed)
    jobs = [(strategy, seed) for strategy in strategies for seed in seeds]
    engine = create_engine(protocol.engine, encoder, TrainingSettings(**protocol.training))
    full = {}
    if protocol.full_supervision:
        with progress("Full supervision", "%") as update:
            found = full_supervision(
                subject, engine, seeds[0], lambda done: update(round(100 * done), 100)
            )
        full = {"full_supervision": found}
    runs, is_complete = _play(subject, protocol, engine, jobs)
    record = result(runs, subject, _record(subject, protocol, settings, truths)) | full
    _write(record, runs, subject, out)
    if as_json:
        print_json(record)
    else:
        print_summary(record, out)
    if not is_complete:
        say(f"Interrupted: {len(runs)} of {len(jobs)} runs were finished and are written.")
        raise click.exceptions.Exit(IN_PART)


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise InvalidInputError(f"--{name} is {value}.", hint="Give at least 1.")
    return value


def _protocol(given: dict[str, Any]) -> Protocol:
    from slideloop.evaluation.simulate import Protocol
    from slideloop.learning.heads import TrainingSettings

    training = TrainingSettings(
        epochs=given["epochs"], metric_distance=given["metric_distance"], mining=given["mining"]
    )
    return Protocol(
        sessions=_at_least_one("queries", given["queries"]),
        rounds=_at_least_one("rounds", given["rounds"]),
        k=_at_least_one("k", given["k"]),
        mode=given["mode"],
        engine=given["engine"],
        session_start=given["session_start"],
        refine_query=given["refine"],
        refine_over=given["refine_over"],
        training=training.as_dict(),
        masks_after=given["masks_after"],
        full_supervision=given["full_supervision"],
    )


def _strategies(names: Sequence[str]) -> list[str]:
    wanted = (
        list(STRATEGIES) if "all" in names else list(dict.fromkeys(names)) or [DEFAULT_STRATEGY]
    )
    for name in wanted:
        find_strategy(name)
    return wanted


def _check_sources(given: dict[str, Any]) -> None:
    """Refuse mixtures of the slide and the tile experiment, and missing parts of either."""
    if given["tiles"] or given["held_out"]:
        if not (given["tiles"] and given["held_out"]) or given["slides"] or given["truth"]:
            raise click.UsageError("--tiles DIR goes with --held-out DIR, and without slides.")
        if given["mode"] != "classes":
            raise click.UsageError("The tile experiment has one mode, classes.")
        if given["masks_after"]:
            raise click.UsageError("--mask-after is for slides: tiles have no mask.")
        return
    if not given["slides"] or not given["truth"]:
        raise click.UsageError("Give slides with --truth FILE, or --tiles and --held-out.")
    if not given["positive"]:
        raise click.UsageError("Say with --positive NAME which class is sought.")
    if given["sessions"] is not None:
        raise click.UsageError("--sessions is for --tiles; on slides, --queries says it.")


def _slides(
    given: dict[str, Any],
    settings: Settings,
    workspace: Workspace,
    encoder: Encoder,
    protocol: Protocol,
) -> Subject:
    from slideloop.evaluation.subjects import read_truths, slide_subject

    paths = given["slides"]
    chosen = [_numbers(paths, given["search"]), _numbers(paths, given["queried"])]
    sources = open_slides(workspace, paths, settings)
    sizes = [(s.reader.info.width, s.reader.info.height) for s in sources]
    truths, positive = read_truths(given["truth"], sizes, given["positive"], given["outside"])
    for truth in truths:
        if truth.n_repaired:
            say(f"{truth.n_repaired} hand-drawn regions crossed themselves and were mended.")
    slides = index_slides(workspace, sources, encoder, settings)
    return slide_subject(
        slides,
        truths,
        positive,
        cast("Any", protocol.mode),
        encoder,
        search_slides=chosen[0],
        query_slides=chosen[1],
    )


def _numbers(paths: Sequence[Path], wanted: Sequence[Path]) -> list[int] | None:
    """Return which of the slides are meant, None for no choice."""
    for path in wanted:
        if path not in paths:
            raise InvalidInputError(
                f"{path} is not one of the slides.", hint="Name it as among the arguments."
            )
    return [paths.index(path) for path in wanted] or None


def _tiles(
    given: dict[str, Any],
    settings: Settings,
    workspace: Workspace,
    encoder: Encoder,
    protocol: Protocol,
) -> tuple[Subject, Protocol]:
    from dataclasses import replace

    from slideloop.evaluation.subjects import tile_sources, tile_subject

    sources = tile_sources(given["tiles"], given["held_out"])
    normalisation = workspace.normalisation(settings.normalisation, sources)
    stores = [
        index_source(workspace, source, encoder, normalisation, settings.store)
        for source in sources
    ]
    subject = tile_subject(sources, stores, encoder, given["positive"])
    n_queries = protocol.sessions * len(subject.classes)
    sessions = n_queries if given["sessions"] is None else given["sessions"]
    return subject, replace(protocol, sessions=_at_least_one("sessions", sessions))


def _play(
    subject: Subject, protocol: Protocol, engine: Engine, jobs: list[tuple[str, int]]
) -> tuple[list[Run], bool]:
    """Play all runs; after Ctrl-C, those that were finished count."""
    from slideloop.evaluation.simulate import play

    n_rounds = protocol.sessions * protocol.rounds
    runs: list[Run] = []
    try:
        with progress(f"Playing ({protocol.engine})", "rounds") as update:
            for number, (strategy, seed) in enumerate(jobs):
                done = number * n_rounds
                total = len(jobs) * n_rounds
                run = play(
                    subject, protocol, engine, strategy, seed,
                    lambda n, done=done, total=total: update(done + n, total),
                )  # fmt: skip
                runs.append(run)
    except KeyboardInterrupt:
        if not runs:
            raise
        return runs, False
    return runs, True


def _record(
    subject: Subject, protocol: Protocol, settings: Settings, truths: Sequence[Path]
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        **asdict(protocol),
        "classes": list(subject.classes),
        "positive": subject.classes[0],
        "slides": subject.records,
        "search_slides": subject.search_slides,
        "query_slides": subject.query_slides,
        **subject.environment,
        **settings.model_dump(mode="json", include={"patch", "stride", "mpp", "filter", "seed"}),
        "normalisation_kind": settings.normalisation,
        "truths": [str(path) for path in truths],
    }


def _write(record: dict[str, Any], runs: list[Run], subject: Subject, out: Path) -> None:
    from slideloop.evaluation import outputs
    from slideloop.evaluation.plots import learning_curves
    from slideloop.evaluation.report import write_report

    for run in runs:
        outputs.write_run(run, subject, out)
    learning_curves(record, out / "curves.png")
    write_report(record, runs, subject, out)
    outputs.write_json(out / "result.json", record)
