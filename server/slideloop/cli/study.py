"""`slideloop study`: what can be said of a study from its journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from slideloop.cli.common import common_options, json_option, print_json, say
from slideloop.cli.main import IN_PART

if TYPE_CHECKING:
    from slideloop.settings import Settings

_STUDY = click.argument("study", type=click.Path(path_type=Path))


@click.group("study")
def command() -> None:
    """Replay or verify STUDY, the .ndjson journal that `simulate` left."""


@command.command("verify")
@_STUDY
@json_option
def verify(study: Path, as_json: bool) -> None:
    """Check the chain of hashes: no line was changed, removed, added or moved."""
    from slideloop.studies.journal import read_journal

    journal = read_journal(study)
    last = journal.events[-1]
    if as_json:
        print_json({"study": journal.study, "seq": last.seq, "hash": last.hash})
    else:
        click.echo(f"The chain holds: {last.seq:,} events, head {last.seq}:{last.hash}.")


@command.command("replay")
@_STUDY
@common_options
@json_option
def replay(settings: Settings, study: Path, as_json: bool) -> None:
    """Compute every round again and say whether the same patches came out, to the last bit.

    Exit 3 if something differs.
    """
    import torch

    from slideloop.cli.studies import open_study
    from slideloop.evaluation.subjects import environment
    from slideloop.studies.replay import replay as play_again

    opened = open_study(study, settings)
    made = opened.created["environment"]
    torch.set_num_threads(made["n_threads"])
    slides = [opened.slide(source) for source in opened.sources]
    now = environment(opened.encoder, [slide.store for slide in slides])
    changed = sorted(key for key in made if made[key] != now.get(key))
    found = play_again(opened.journal, opened.database(slides), opened.engine, slides)
    row = {
        "study": opened.journal.study,
        "n_rounds": found.n_rounds,
        "n_trainings": found.n_trainings,
        "comparable": not changed,
        "changed": changed,
        "differences": list(found.differences),
    }
    if as_json:
        print_json(row)
    else:
        if changed:
            say(f"Not comparable to the last bit: {', '.join(changed)} differ from the study's.")
        for difference in found.differences:
            click.echo(difference)
        verdict = "came out the same" if not found.differences else "did not all come out the same"
        click.echo(f"{found.n_rounds} rounds and {found.n_trainings} trainings {verdict}.")
    if found.differences:
        raise click.exceptions.Exit(IN_PART)
