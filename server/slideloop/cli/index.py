"""`slideloop index`: features of slides, ahead of time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slideloop.cli.common import (
    common_options,
    index_source,
    json_option,
    open_encoder,
    open_slides,
    open_workspace,
    print_json,
    say,
)
from slideloop.cli.main import IN_PART
from slideloop.errors import SlideloopError

if TYPE_CHECKING:
    from slideloop.features.store import FeatureStore
    from slideloop.settings import Settings


@click.command("index")
@click.argument("slides", nargs=-1, required=True, type=click.Path(path_type=Path))
@common_options
@json_option
def command(settings: Settings, slides: tuple[Path, ...], as_json: bool) -> None:
    """Compute the features of SLIDES, ahead of time.

    An index that is interrupted goes on where it stopped when the same command is given again.
    """
    workspace = open_workspace(settings.workspace)
    encoder = open_encoder(settings)
    sources = open_slides(workspace, slides, settings)
    normalisation = workspace.normalisation(settings.normalisation, sources)
    rows: list[dict[str, Any]] = []
    failures: list[SlideloopError] = []
    for source in sources:
        start = time.monotonic()
        try:
            store = index_source(workspace, source, encoder, normalisation, settings.store)
        except SlideloopError as err:
            if len(sources) == 1:
                raise
            failures.append(err)
            say(f"slideloop: {err}")
            continue
        row = _row(store, str(source.reader.info.path), time.monotonic() - start)
        rows.append(row)
        if not as_json:
            click.echo(_sentence(row))
    if as_json:
        print_json(rows)
    if failures:
        say(f"{len(rows)} of {len(sources)} slides were indexed.")
        raise click.exceptions.Exit(IN_PART)


def _row(store: FeatureStore, path: str, seconds: float) -> dict[str, Any]:
    verdicts = store.manifest["verdicts"]
    return {
        "id": store.id,
        "path": path,
        "folder": str(store.folder),
        "n_grid": store.manifest["n_grid"],
        "n_patches": len(store),
        "dropped": verdicts,
        "dropped_by": {"tissue": verdicts["both"], "paper": sum(verdicts.values())},
        "weights": store.identity["weights"],
        "seconds": round(seconds, 2),
    }


def _sentence(row: dict[str, Any]) -> str:
    dropped, by = row["dropped"], row["dropped_by"]
    return (
        f"{row['path']}: {row['n_patches']:,} of {row['n_grid']:,} patches kept "
        f"(background alone {dropped['background']:,}, structureless alone "
        f"{dropped['structureless']:,}, both {dropped['both']:,}; `tissue` drops {by['tissue']:,}, "
        f"`paper` {by['paper']:,}) in {row['seconds']:.1f} s\n  {row['folder']}"
    )
