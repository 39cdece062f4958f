"""`slideloop index`: features of slides, ahead of time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slideloop.cli.common import (
    DASK,
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
    from collections.abc import Iterator

    from slideloop.features.sources import SlidePatches
    from slideloop.settings import Settings


@click.command("index")
@click.argument("slides", nargs=-1, required=True, type=click.Path(path_type=Path))
@DASK
@common_options
@json_option
def command(
    settings: Settings, slides: tuple[Path, ...], address: str | None, as_json: bool
) -> None:
    """Compute the features of SLIDES, ahead of time.

    An index that is interrupted goes on where it stopped when the same command is given again.
    With --dask the features are the same; slides, workspace and a weights file must lie under the
    same paths on all machines.
    """
    index = (
        _index_here(settings, slides) if address is None else _index_on(address, settings, slides)
    )
    rows: list[dict[str, Any]] = []
    failures: list[SlideloopError] = []
    for result in index:
        if isinstance(result, SlideloopError):
            if len(slides) == 1:
                raise result
            failures.append(result)
            say(f"slideloop: {result}")
            continue
        rows.append(result)
        if not as_json:
            click.echo(_sentence(result))
    if as_json:
        print_json(rows)
    if failures:
        say(f"{len(rows)} of {len(slides)} slides were indexed.")
        raise click.exceptions.Exit(IN_PART)


def _index_here(
    settings: Settings, slides: tuple[Path, ...]
) -> Iterator[dict[str, Any] | SlideloopError]:
    """Index slides one after the other, and give a row or an error for each."""
    workspace = open_workspace(settings.workspace)
    encoder = open_encoder(settings)
    sources = open_slides(workspace, slides, settings)
    normalisation = workspace.normalisation(settings.normalisation, sources)
    for source in sources:
        start = time.monotonic()
        try:
            store = index_source(workspace, source, encoder, normalisation, settings.store)
        except SlideloopError as err:
            yield err
            continue
        seconds = time.monotonic() - start
        yield _row(source, store.folder, store.manifest, len(store), seconds)


def _index_on(
    address: str, settings: Settings, slides: tuple[Path, ...]
) -> Iterator[dict[str, Any] | SlideloopError]:
    """Index slides on a cluster, and give their rows and errors in the order of the slides."""
    from slideloop.cli.on_cluster import index_on
    from slideloop.features.cluster import connected
    from slideloop.features.indexing import indexing_key

    with connected(address) as client:
        workspace = open_workspace(settings.workspace)
        # A device that only the workers have is not asked for here.
        device = "cpu" if settings.device == "cpu" else "auto"
        encoder = open_encoder(settings.model_copy(update={"device": device}))
        sources = open_slides(workspace, [path.absolute() for path in slides], settings)
        normalisation = workspace.normalisation(settings.normalisation, sources)
        outcomes = index_on(
            client, sources, encoder, normalisation, workspace, settings, settings.store
        )
    # What the bytes depend on, where a worker's is another than this machine's.
    frozen = indexing_key(sources[0], encoder, normalisation).frozen
    others: set[str] = set()
    for source, outcome in zip(sources, outcomes, strict=True):
        if isinstance(outcome, SlideloopError):
            yield outcome
            continue
        manifest = outcome.manifest
        others |= {
            f"{k} {manifest.get(k)}"
            for k in frozen.keys() - {"name"}
            if manifest.get(k) != frozen[k]
        }
        yield _row(source, outcome.folder, manifest, outcome.n_patches, outcome.seconds)
    if others:
        say(f"Made with {', '.join(sorted(others))}: the last bits differ from this machine's.")


def _row(
    source: SlidePatches, folder: Path, manifest: dict[str, Any], n_patches: int, seconds: float
) -> dict[str, Any]:
    verdicts = manifest["verdicts"]
    return {
        "id": manifest["id"],
        "path": str(source.reader.info.path),
        "folder": str(folder),
        "n_grid": manifest["n_grid"],
        "n_patches": n_patches,
        "dropped": verdicts,
        "dropped_by": {"tissue": verdicts["both"], "paper": sum(verdicts.values())},
        "weights": manifest["identity"]["weights"],
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
