"""`slideloop project import`: masks into the images of a QuPath project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from slideloop.cli.common import common_options, json_option, print_json, say, say_if_differs
from slideloop.cli.main import IN_PART
from slideloop.cli.project_options import FORCE, KEEP, PROJECT, REPLACE
from slideloop.errors import InvalidInputError

if TYPE_CHECKING:
    from slideloop.masks.geojson import MaskFile, ObjectKind
    from slideloop.qupath.matching import Mask
    from slideloop.qupath.project_file import ProjectFile
    from slideloop.settings import Settings

_ENDS_UNDO = (
    "; QuPath undoes nothing in an image of more than 10,000 objects (merged ones are fewer: "
    "`predict --as detections`)"
)


@click.command("import")
@PROJECT
@click.option(
    "--geojson",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR_OR_FILE",
    help="Masks as `predict` writes them; repeatable.",
)
@click.option("--study", metavar="STUDY", help="Masks of a study's own slides, made now.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["detections", "annotations", "tiles"]),
    help="With --study: what the mask becomes. Default: detections.",
)
@click.option(
    "--classes",
    metavar="NAME,NAME",
    help="Classes that are imported. Default: all of the file, or what the study seeks.",
)
@REPLACE
@click.option("--discard-edits", is_flag=True, help="And what was edited of it since.")
@click.option(
    "--match",
    "decisions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.csv",
    help="Which image each mask is for: lines of MASK,IMAGE.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@FORCE
@KEEP
@common_options
@json_option
def command(
    settings: Settings, project: Path, files: tuple[Path, ...], study: str | None,
    kind: str | None, classes: str | None, replace: bool, discard_edits: bool,
    decisions: Path | None, dry_run: bool, force: bool, n_kept: int, as_json: bool,
) -> None:  # fmt: skip
    """Import masks into the images of PROJECT, by QuPath's own code.

    The image of a mask is found by the entry that it names, the slide's file, its content, or its
    name; --match decides otherwise. An image whose pixels QuPath shows otherwise than they are read
    here is refused. What is replaced is copied first: `project restore` puts it back. Exit 3 if a
    mask was not imported; the others are.
    """
    from slideloop.features.workspace import Workspace
    from slideloop.qupath.importing import ImportOptions, import_masks, look
    from slideloop.qupath.matching import match, read_decisions
    from slideloop.qupath.project_file import read_project
    from slideloop.qupath.writing import room_bytes

    if bool(files) == bool(study):
        raise click.UsageError("Give either --geojson or --study.")
    if kind and files:
        raise click.UsageError("--as goes with --study: a file's objects are what they are.")
    found = read_project(project)
    decided = read_decisions(decisions) if decisions else {}
    wanted = [name.strip() for name in classes.split(",")] if classes else []
    studied, made_as, masks = (
        _from_files(files, wanted, found)
        if files
        else _from_study(str(study), settings, cast("ObjectKind", kind or "detections"), wanted)
    )
    unknown = decided.keys() - {mask.label for mask in masks}
    if unknown:
        raise InvalidInputError(
            f"--match names masks that are not here: {', '.join(sorted(unknown))}.",
            hint=f"There are {', '.join(mask.label for mask in masks)}.",
        )
    fingerprint = Workspace(settings.workspace).fingerprint_if_readable
    matches = match(masks, found.images, decided, fingerprint)
    options = ImportOptions(made_as, replace or discard_edits, discard_edits, force, n_kept)

    def told(row: dict[str, Any]) -> None:
        if not as_json:
            click.echo(_line(row))

    rows = [look(each, studied, made_as) for each in matches]
    images = [
        each.image
        for each, row in zip(matches, rows, strict=True)
        if each.image is not None and "problem" not in row
    ]
    if images:
        which = f"{len(images)} image{' is' if len(images) == 1 else 's are'}"
        need = f"{room_bytes(images) / 1e6:,.0f} MB"
        say(f"{which} written, which needs up to {need} for copies beside the project.")
    folder: Path | None = None
    if dry_run:
        for row in rows:
            told(row)
    else:
        rows, folder = import_masks(found, matches, studied, options, told, rows)
    if as_json:
        print_json({"rows": rows, "folder": None if folder is None else str(folder)})
    elif folder is not None:
        click.echo(f"Copies of what was there, and report.json: {folder}")
    n_failed = sum("problem" in row for row in rows)
    if n_failed:
        say(f"{len(rows) - n_failed} of {len(rows)} masks were imported.")
        raise click.exceptions.Exit(IN_PART)


def _line(row: dict[str, Any]) -> str:
    """Return what became of a mask, in a line."""
    if "problem" in row:
        others = ", ".join(f"{each['name']} ({each['id']})" for each in row.get("candidates", []))
        return f"{row['mask']}: not imported. {row['problem']}" + (f": {others}" if others else "")
    where = f"{row['mask']} -> {row['image']} (by {row['by']})"
    if "n_added" not in row:
        undo = _ENDS_UNDO if row["ends_undo"] else ""
        return f"{where}: {row['n_objects']:,} {row['kind']} would be added{undo}"
    kept = f", {row['n_edited_kept']:,} edited ones kept" if row["n_edited_kept"] else ""
    compared = (
        "" if row["pixels"] == "same" else "; slideloop cannot read it, to compare its pixels"
    )
    return (
        f"{where}: {row['n_added']:,} {row['kind']} added, {row['n_removed']:,} of an earlier "
        f"import removed{kept}; {row['n_after']:,} objects now{compared}"
        + (_ENDS_UNDO if row["ends_undo"] else "")
    )


def _from_files(
    given: tuple[Path, ...], wanted: list[str], project: ProjectFile
) -> tuple[str, ObjectKind, list[Mask]]:
    from slideloop.cli.mask_files import parts_of
    from slideloop.masks.geojson import class_of, read_mask
    from slideloop.qupath.matching import Mask

    files = [
        file
        for each in given
        for file in (sorted(each.glob("*.geojson*")) if each.is_dir() else [each])
    ]
    if not files:
        raise InvalidInputError(
            f"There is no GeoJSON in {', '.join(map(str, given))}.",
            hint="`slideloop predict` writes masks as NAME.geojson.",
        )
    read: dict[Path, MaskFile] = {}
    for file in files:
        mask = read_mask(file)
        if mask is None:
            say(f"{file.name} holds no objects and is left out.")
        else:
            read[file] = mask
    if not read:
        raise InvalidInputError("None of the masks holds an object.", hint="Nothing was changed.")
    studies = {mask.study for mask in read.values()}
    kinds: set[ObjectKind] = {mask.kind for mask in read.values()}
    if len(studies) > 1 or len(kinds) > 1:
        raise InvalidInputError(
            "The masks are of several studies, or of several kinds of objects.",
            hint="Import those of one study and one kind at a time.",
        )
    masks: list[Mask] = []
    for file, mask in read.items():
        name, fingerprint = parts_of(file)
        kept = [each for each in mask.features if not wanted or class_of(each) in wanted]
        # Entries are numbered from 1 in each project.
        is_of_it = mask.project is not None and mask.project == project.created
        masks.append(
            Mask(
                label=file.name,
                features=kept,
                name=name,
                entry=mask.entry if is_of_it else None,
                fingerprint=fingerprint,
            )
        )
    return studies.pop(), kinds.pop(), masks


def _from_study(
    study: str, settings: Settings, kind: ObjectKind, wanted: list[str]
) -> tuple[str, ObjectKind, list[Mask]]:
    from slideloop.cli.studies import open_study
    from slideloop.cli.study_names import find_study
    from slideloop.evaluation.simulate import mask_of
    from slideloop.masks.geojson import mask_features
    from slideloop.qupath.matching import Mask

    found = open_study(find_study(study, settings.workspace), settings).restored()
    loop = found.loop
    say_if_differs(loop)
    masks: list[Mask] = []
    for number, slide in enumerate(found.own):
        mask = mask_of(loop, slide, number)
        path = slide.source.reader.info.path
        masks.append(
            Mask(
                label=path.name,
                features=mask_features(
                    mask, loop.study.id, wanted or [loop.study.settings.positive], kind
                )["features"],
                name=path.name,
                path=path,
                fingerprint=slide.source.identity["fingerprint"],
            )
        )
    return loop.study.id, kind, masks
