"""`slideloop project run`: the images of a project indexed, predicted and imported."""

from __future__ import annotations

import dataclasses
import fnmatch
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slideloop.cli.common import (
    DASK,
    common_options,
    json_option,
    kind_option,
    print_json,
    say,
    say_if_differs,
)
from slideloop.cli.main import IN_PART
from slideloop.cli.project_options import FORCE, KEEP, PROJECT, REPLACE
from slideloop.errors import InvalidInputError, SlideloopError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slideloop.cli.studies import OpenStudy
    from slideloop.features.sources import SlidePatches
    from slideloop.masks.geojson import ObjectKind
    from slideloop.qupath.importing import ImportOptions
    from slideloop.qupath.matching import Match
    from slideloop.qupath.project_file import ProjectFile, ProjectImage
    from slideloop.settings import Settings

_AT_ONCE = 16
"""Images that are predicted before they are imported: QuPath's start is paid once for them."""

_N_TIMED = 4

Row = dict[str, Any]


@click.command("run")
@PROJECT
@click.option("--study", required=True, metavar="STUDY", help="Whose classifier predicts.")
@click.option("--only", metavar="GLOB", help="Images whose name is like that, such as '*.svs'.")
@click.option(
    "--metadata",
    "metadata",
    multiple=True,
    metavar="KEY=VALUE",
    help="Images with that in QuPath's metadata; repeatable.",
)
@click.option(
    "--list",
    "listed",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Images named in a file, by name or id, one per line.",
)
@kind_option
@REPLACE
@click.option("--dry-run", is_flag=True, help="Say which images, and how long it will take.")
@FORCE
@KEEP
@DASK
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the masks there as GeoJSON, instead of importing them; that needs no QuPath.",
)
@click.option(
    "--truth-from-annotations",
    "is_simulated",
    is_flag=True,
    help="Play the study again with a simulated expert who answers by the images' annotations; "
    "--out gets what `simulate` leaves.",
)
@common_options
@json_option
def command(
    settings: Settings, project: Path, study: str, only: str | None, metadata: tuple[str, ...],
    listed: Path | None, kind: ObjectKind, replace: bool, dry_run: bool, force: bool, n_kept: int,
    address: str | None, out: Path | None, is_simulated: bool, as_json: bool,
) -> None:  # fmt: skip
    """Index the images of PROJECT, predict them by a study, and import the masks.

    Features are kept: the same command goes on where it was interrupted. An image that has objects
    of the study already is left as it is without --replace. Images that are no brightfield slides
    are skipped, with the reason. Exit 3 if an image failed; the others are done.
    """
    from slideloop.cli.project_truth import simulate_by_annotations
    from slideloop.evaluation import outputs
    from slideloop.qupath.importing import ImportOptions
    from slideloop.qupath.project_file import read_project

    if is_simulated and (out is None or dry_run):
        raise click.UsageError("--truth-from-annotations goes with --out DIR, without --dry-run.")
    found = read_project(project)
    images = _chosen(found, only, metadata, listed)

    def told(row: Row) -> None:
        if not as_json:
            click.echo(_line(row))

    rows: list[Row] = []
    todo: list[ProjectImage] = []
    for image in images:
        reason = _skipped(image)
        if reason is None:
            todo.append(image)
        else:
            rows.append({"entry": image.id, "image": image.name, "skipped": reason})
            told(rows[-1])
    if is_simulated and out is not None:
        opened = _open_study(study, settings)
        simulate_by_annotations(found, todo, opened, settings, out, as_json)
        return
    if todo:
        if out is not None:
            outputs.prepare(out)
        options = ImportOptions(kind, replace, force=force, n_kept=n_kept)
        work = _Run(found, _open_study(study, settings), settings, options, out, told)
        rows += work.look(todo) if dry_run else work.do(todo, address)
    if as_json:
        print_json(rows)
    n_failed = sum("problem" in row for row in rows)
    if n_failed:
        say(f"{len(rows) - n_failed} of {len(rows)} images were done or skipped.")
        raise click.exceptions.Exit(IN_PART)


class _Run:
    """A study that goes through a project."""

    def __init__(
        self, project: ProjectFile, opened: OpenStudy, settings: Settings,
        options: ImportOptions, out: Path | None, told: Callable[[Row], None],
    ) -> None:  # fmt: skip
        self._project, self._options, self._told = project, options, told
        self._settings, self._out = settings, out
        self._opened = opened
        self._restored = opened.restored()
        say_if_differs(self._restored.loop)
        self._study = self._restored.loop.study

    def look(self, images: Sequence[ProjectImage]) -> list[Row]:
        """Return what would be done, and how long indexing takes at most."""
        speed = self._patches_per_s()
        rows: list[Row] = []
        for image in images:
            row: Row = {"entry": image.id, "image": image.name}
            try:
                [source] = self._opened.open_further([_file(image)], self._settings.assume_mpp)
                row["n_grid"] = source.grid.n_cells
                row["at_most_s"] = round(source.grid.n_cells / speed, 1)
            except SlideloopError as err:
                row |= {"code": err.code, "problem": str(err)}
            rows.append(row)
            self._told(row)
        hours = sum(row.get("at_most_s", 0) for row in rows) / 3600
        say(f"{len(rows)} images take {hours:.1f} h at most, at {speed:.0f} patches/s.")
        return rows

    def do(self, images: Sequence[ProjectImage], address: str | None) -> list[Row]:
        """Index, predict and import images; return a row for each."""
        rows: list[Row] = []
        if address is not None:
            images, rows = self._index_on(address, images)
        for start in range(0, len(images), _AT_ONCE):
            matches: list[Match] = []
            for image in images[start : start + _AT_ONCE]:
                try:
                    matches.append(self._match(image))
                except SlideloopError as err:
                    rows.append(self._failed(image, err))
            rows += self._import(matches) if self._out is None else self._write(matches, self._out)
        return rows

    def _import(self, matches: Sequence[Match]) -> list[Row]:
        from slideloop.qupath.importing import import_masks

        done, folder = import_masks(
            self._project, matches, self._study.id, self._options,
            lambda row: self._told(_as_run(row)),
        )  # fmt: skip
        # One run is one import: its copies stay together.
        folder = folder or self._options.folder
        self._options = dataclasses.replace(self._options, folder=folder)
        return list(map(_as_run, done))

    def _write(self, matches: Sequence[Match], out: Path) -> list[Row]:
        from slideloop.masks.geojson import for_entry, write_geojson

        rows: list[Row] = []
        for mask, image in ((each.mask, each.image) for each in matches):
            assert image is not None
            file = out / f"{image.id}-{mask.label}.geojson"
            features = {"type": "FeatureCollection", "features": mask.features}
            write_geojson(for_entry(features, self._project.created, image.id), file)
            row: Row = {"entry": image.id, "image": image.name, "file": str(file)}
            rows.append(row | {"n_objects": len(mask.features), "kind": self._options.kind})
            self._told(rows[-1])
        return rows

    def _index_on(
        self, address: str, images: Sequence[ProjectImage]
    ) -> tuple[list[ProjectImage], list[Row]]:
        """Index images on a cluster; return those that are, and a row for each other."""
        from slideloop.cli.on_cluster import index_on
        from slideloop.features.cluster import connected

        opened, rows = self._opened, list[Row]()
        sources: list[SlidePatches] = []
        found: list[ProjectImage] = []
        for image in images:
            try:
                sources += opened.open_further([_file(image).absolute()], self._settings.assume_mpp)
                found.append(image)
            except SlideloopError as err:
                rows.append(self._failed(image, err))
        if not found:
            return [], rows
        made_with = opened.created["environment"]["encoder"]
        with connected(address) as client:
            outcomes = index_on(
                client, sources, opened.encoder, opened.normalisation, opened.workspace,
                self._settings.model_copy(update={"encoder": made_with}), opened.kind,
            )  # fmt: skip
        indexed: list[ProjectImage] = []
        for image, outcome in zip(found, outcomes, strict=True):
            if isinstance(outcome, SlideloopError):
                rows.append(self._failed(image, outcome))
            else:
                indexed.append(image)
        return indexed, rows

    def _failed(self, image: ProjectImage, err: SlideloopError) -> Row:
        row: Row = {"entry": image.id, "image": image.name, "code": err.code, "problem": str(err)}
        self._told(row)
        return row

    def _match(self, image: ProjectImage) -> Match:
        from slideloop.cli.mask_files import file_stem
        from slideloop.evaluation.simulate import mask_of
        from slideloop.masks.geojson import mask_features
        from slideloop.qupath.matching import Mask, Match

        [source] = self._opened.open_further([_file(image)], self._settings.assume_mpp)
        number, slide = self._restored.find(source)
        mask = mask_of(self._restored.loop, slide, number)
        study = self._study
        features = mask_features(mask, study.id, [study.settings.positive], self._options.kind)
        found = Mask(file_stem(source), features["features"], image.name, entry=image.id)
        return Match(found, image, "entry id")

    def _patches_per_s(self) -> float:
        import numpy as np

        encoder = self._opened.encoder
        side = self._opened.sources[0].grid.patch_px
        patches = np.random.default_rng(0).integers(
            0, 256, (encoder.batch, side, side, 3), np.uint8
        )
        encoder.features(patches, self._opened.normalisation)
        start = time.perf_counter()
        for _ in range(_N_TIMED):
            encoder.features(patches, self._opened.normalisation)
        return _N_TIMED * encoder.batch / (time.perf_counter() - start)


def _open_study(study: str, settings: Settings) -> OpenStudy:
    from slideloop.cli.studies import open_study
    from slideloop.cli.study_names import find_study

    return open_study(find_study(study, settings.workspace), settings)


def _file(image: ProjectImage) -> Path:
    assert image.path is not None
    return image.path


def _chosen(
    project: ProjectFile, only: str | None, metadata: Sequence[str], listed: Path | None
) -> list[ProjectImage]:
    """Return the images that all options name."""
    images = list(project.images)
    if only is not None:
        images = [each for each in images if fnmatch.fnmatch(each.name, only)]
    for pair in metadata:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInputError(f"{pair!r} is not KEY=VALUE.", hint="Such as --metadata set=1.")
        images = [each for each in images if each.metadata.get(key) == value]
    if listed is not None:
        wanted = {line.strip() for line in listed.read_text("utf-8-sig").splitlines()} - {""}
        unknown = wanted - {name for each in project.images for name in (each.name, each.id)}
        if unknown:
            raise InvalidInputError(
                f"The project has no images {', '.join(sorted(unknown))}.",
                hint="`slideloop project check` lists them.",
            )
        images = [each for each in images if {each.name, each.id} & wanted]
    if not images:
        raise InvalidInputError(
            "No image of the project is meant.", hint="`slideloop project check` lists them."
        )
    return images


def _skipped(image: ProjectImage) -> str | None:
    """Return why an image is none of those that are gone through; None if it is one."""
    from slideloop.qupath.importing import refusal

    kind = image.image_type()
    if kind not in (None, "UNSET", "BRIGHTFIELD_H_E"):
        return f"QuPath says that it is {kind}, not H&E"
    if image.is_rgb is False:
        return "it is not 8-bit RGB"
    if image.name.lower().endswith((" label", " label image", " macro", " macro image")):
        return "it is the label or the overview of a slide"
    problem = refusal(image)
    return None if problem is None else problem[1]


def _as_run(row: Row) -> Row:
    """Return the row of an import as one of a run: what is there already is no failure."""
    if row.get("code") != "already_imported":
        return row
    kept = {key: value for key, value in row.items() if key not in ("code", "problem")}
    return {**kept, "skipped": "it has objects of this study already; --replace replaces them"}


def _line(row: Row) -> str:
    if "problem" in row:
        return f"{row['image']}: failed. {row['problem']}"
    if "skipped" in row:
        return f"{row['image']}: skipped, since {row['skipped']}."
    if "n_grid" in row:
        return f"{row['image']}: {row['n_grid']:,} patches at most, {row['at_most_s']:.0f} s"
    if "file" in row:
        return f"{row['image']}: {row['n_objects']:,} {row['kind']}, {row['file']}"
    return (
        f"{row['image']}: {row['n_added']:,} {row['kind']} added, {row['n_removed']:,} removed; "
        f"{row['n_after']:,} objects now"
    )
