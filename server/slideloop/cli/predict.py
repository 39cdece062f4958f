"""`slideloop predict`: masks of further slides by a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slideloop.cli.common import (
    common_options,
    json_option,
    kind_option,
    print_json,
    say,
    say_if_differs,
)
from slideloop.cli.main import IN_PART
from slideloop.errors import SlideloopError

if TYPE_CHECKING:
    from slideloop.features.workspace import IndexedSlide
    from slideloop.settings import Settings
    from slideloop.studies.loop import Loop


@click.command("predict")
@click.argument("study")
@click.argument("slides", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["geojson", "png", "tiff"]),
    default="geojson",
    show_default=True,
)
@kind_option
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR"
)
@common_options
@json_option
def command(
    settings: Settings, study: str, slides: tuple[Path, ...], form: str, kind: str, out: Path,
    as_json: bool,
) -> None:  # fmt: skip
    """Write masks of SLIDES by STUDY.

    STUDY is a study of the workspace, by its id, the first eight or more characters of it, or its
    name; or a .ndjson journal that `study export` or `simulate` wrote.

    The slides are cut, normalised and embedded as the study's were; give the same --weights.
    """
    from slideloop.cli.studies import open_study
    from slideloop.cli.study_names import find_study
    from slideloop.evaluation import outputs

    outputs.prepare(out)
    opened = open_study(find_study(study, settings.workspace), settings)
    further = opened.open_further(slides, settings.assume_mpp)
    found = opened.restored()
    loop = found.loop
    say_if_differs(loop)
    rows: list[dict[str, Any]] = []
    failures = 0
    for source in further:
        try:
            number, slide = found.find(source)
            rows.append(_write(loop, slide, number, form, kind, out))
        except SlideloopError as err:
            if len(further) == 1:
                raise
            failures += 1
            say(f"slideloop: {err}")
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            click.echo(f"{row['slide']}: {row['n_positive']:,} of {row['n_patches']:,} patches "
                       f"{row['positive']}, {row['file']}")  # fmt: skip
    if failures:
        say(f"{len(rows)} of {len(further)} slides were predicted.")
        raise click.exceptions.Exit(IN_PART)


def _write(
    loop: Loop, slide: IndexedSlide, number: int, form: str, kind: Any, out: Path
) -> dict[str, Any]:
    from slideloop.cli.mask_files import file_stem
    from slideloop.evaluation import outputs
    from slideloop.evaluation.simulate import mask_of
    from slideloop.masks.cells import to_png, to_tiff
    from slideloop.masks.geojson import mask_features, write_geojson

    source = slide.source
    mask = mask_of(loop, slide, number)
    settings = loop.study.settings
    path = out / f"{file_stem(source)}.{form}"
    if form == "geojson":
        write_geojson(mask_features(mask, loop.study.id, [settings.positive], kind), path)
    elif form == "png":
        outputs.write_bytes(path, to_png(mask, settings.positive))
    else:
        to_tiff(mask, path, settings.positive, source.details["mpp"])
    positive_idx = settings.classes.index(settings.positive)
    return {
        "slide": str(source.reader.info.path),
        "file": str(path),
        "positive": settings.positive,
        "n_patches": len(slide.store),
        "n_positive": int((mask.label == positive_idx).sum()),
    }
