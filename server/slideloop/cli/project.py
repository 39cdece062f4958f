"""`slideloop project`: QuPath projects, checked, written, and put back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from slideloop.cli.common import common_options, json_option, print_json, say
from slideloop.cli.main import IN_PART
from slideloop.cli.project_run import FORCE, PROJECT, REPLACE
from slideloop.cli.project_run import command as run
from slideloop.errors import InvalidInputError, SlideloopError

if TYPE_CHECKING:
    from slideloop.masks.geojson import ObjectKind
    from slideloop.qupath.matching import Mask
    from slideloop.settings import Settings

_NAMED = re.compile(r"(?P<stem>.+)-(?P<fingerprint>[0-9a-f]{8})")
"""How `predict` calls the mask of a slide."""


@click.group("project")
def command() -> None:
    """Check QuPath projects; import masks into them, and take that back.

    PROJECT is a .qpproj file or its folder. Close it in QuPath before anything is imported: QuPath
    has no lock, and the last writer wins.
    """


command.add_command(run)


@command.command("check")
@PROJECT
@json_option
def check(project: Path, as_json: bool) -> None:
    """List the images of PROJECT and whether masks can go into them; nothing is changed.

    Where QuPath is installed, it also says what masks and left-over patches the images hold, and
    whether QuPath shows the pixels that are read here. Exit 3 if there is an image into which no
    mask can go.
    """
    from slideloop.qupath.checking import check_images
    from slideloop.qupath.guard import opened_by, require_older
    from slideloop.qupath.installation import find_qupath
    from slideloop.qupath.project_file import read_project

    found, qupath = read_project(project), find_qupath()
    opened = opened_by(found)
    if not as_json:
        click.echo(f"{found.file}, of QuPath {found.version or '?'}: {len(found.images):,} images; "
                   f"classes {', '.join(found.classes) or 'none'}.")  # fmt: skip
        if opened:
            click.echo(f"It is open in QuPath ({opened}).")
    if qupath is None:
        say("No QuPath was found, so what the data files hold is not looked at.")
    else:
        try:
            require_older(found, qupath)
        except SlideloopError as err:
            say(f"Nothing can be written into it. {err}")
            qupath = None

    def told(row: dict[str, Any]) -> None:
        if not as_json:
            click.echo(_state(row))

    rows = check_images(found, qupath, told)
    if as_json:
        print_json({"project": str(found.file), "version": found.version, "opened_by": opened,
                    "qupath": qupath and qupath.version, "classes": found.classes,
                    "images": rows})  # fmt: skip
    n_wrong = sum("problem" in row for row in rows)
    if n_wrong:
        say(f"{n_wrong} of {len(rows)} images cannot get a mask.")
        raise click.exceptions.Exit(IN_PART)


@command.command("import")
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
@click.option(
    "--keep",
    "n_kept",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Imports of which copies are kept.",
)
@common_options
@json_option
def import_(
    settings: Settings, project: Path, files: tuple[Path, ...], study: str | None,
    kind: str | None, classes: str | None, replace: bool, discard_edits: bool,
    decisions: Path | None, dry_run: bool, force: bool, n_kept: int, as_json: bool,
) -> None:  # fmt: skip
    """Import masks into the images of PROJECT, by QuPath's own code.

    The image of a mask is found by the slide's file, its content, or its name; --match decides
    otherwise. What is replaced is copied first: `project restore` puts it back. Exit 3 if a mask
    was not imported; the others are.
    """
    from slideloop.features.workspace import Workspace
    from slideloop.qupath.importing import ImportOptions, import_masks, look
    from slideloop.qupath.matching import match, read_decisions
    from slideloop.qupath.project_file import read_project

    if bool(files) == bool(study):
        raise click.UsageError("Give either --geojson or --study.")
    if kind and files:
        raise click.UsageError("--as goes with --study: a file's objects are what they are.")
    found = read_project(project)
    decided = read_decisions(decisions) if decisions else {}
    wanted = [name.strip() for name in classes.split(",")] if classes else []
    studied, made_as, masks = (
        _from_files(files, wanted)
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

    folder: Path | None = None
    if dry_run:
        rows = [look(each, studied, made_as) for each in matches]
        for row in rows:
            told(row)
    else:
        rows, folder = import_masks(found, matches, studied, options, told)
    if as_json:
        print_json({"rows": rows, "folder": None if folder is None else str(folder)})
    elif folder is not None:
        click.echo(f"Copies of what was there, and report.json: {folder}")
    n_failed = sum("problem" in row for row in rows)
    if n_failed:
        say(f"{len(rows) - n_failed} of {len(rows)} masks were imported.")
        raise click.exceptions.Exit(IN_PART)


@command.command("restore")
@PROJECT
@click.option("--image", metavar="NAME", help="Name or id of one image. Default: all imported.")
@json_option
def restore(project: Path, image: str | None, as_json: bool) -> None:
    """Put back what the newest import replaced; what is there now is copied first.

    An image that was saved since is left as it is. Exit 3 if that is so.
    """
    from slideloop.qupath.backups import Backup, changes
    from slideloop.qupath.backups import restore as put_back
    from slideloop.qupath.guard import hold_project, require_unopened
    from slideloop.qupath.importing import image_named
    from slideloop.qupath.project_file import read_project

    found = read_project(project)
    done = changes(found)
    changed = {each.image for each in done}
    images = (
        [image_named(found, image)]
        if image
        else [each for each in found.images if each.id in changed]
    )
    if not images:
        raise InvalidInputError(
            f"No import of slideloop changed {found.folder}.", hint="There is nothing to put back."
        )
    rows: list[dict[str, Any]] = []
    with hold_project(found):
        require_unopened(found)
        backup = Backup(found, "restore")
        for each in images:
            row: dict[str, Any] = {"entry": each.id, "image": each.name}
            try:
                put_back(each, done, backup)
                row["copy"] = str(backup.folder / "data" / each.id)
            except SlideloopError as err:
                row |= {"code": err.code, "problem": str(err)}
            rows.append(row)
            if not as_json:
                end = row.get("problem") or f"as it was before; the copy is in {row['copy']}"
                click.echo(f"{each.name}: {end}")
        backup.drop_if_empty()
    if as_json:
        print_json(rows)
    if any("problem" in row for row in rows):
        raise click.exceptions.Exit(IN_PART)


@command.command("clean")
@PROJECT
@FORCE
@json_option
def clean(project: Path, force: bool, as_json: bool) -> None:
    """Remove patches of a review that were saved with the images of PROJECT.

    They show an open round in QuPath, and are taken away when the round is over; a crash may leave
    some in a file. Exit 3 if an image could not be looked at.
    """
    from slideloop.qupath.cleaning import clean_images
    from slideloop.qupath.project_file import read_project

    def told(row: dict[str, Any]) -> None:
        if not as_json and (row.get("n_removed") or "problem" in row):
            click.echo(f"{row['image']}: {row.get('problem') or _removed(row['n_removed'])}")

    rows, folder = clean_images(read_project(project), force, told)
    if as_json:
        print_json({"rows": rows, "folder": None if folder is None else str(folder)})
    else:
        n = sum(row.get("n_removed", 0) for row in rows)
        click.echo(f"{_removed(n)} in {len(rows)} images with data.")
    if any("problem" in row for row in rows):
        raise click.exceptions.Exit(IN_PART)


def _state(row: dict[str, Any]) -> str:
    """Return what is known of an image, in a line."""
    begin = f"{row['id']:>5}  {row['name']}: "
    if "problem" in row:
        return begin + row["problem"]
    n_objects = row["n_objects"]
    said = ["not opened yet" if n_objects is None else f"{n_objects:,} objects"]
    for study, found in row.get("masks", {}).items():
        edited = f" ({found['n_edited']:,} edited)" if found["n_edited"] else ""
        said.append(f"{sum(found.values()):,} of study {study[:8]}{edited}")
    if row["imported"] == "overwritten":
        said.append("a mask that was imported is gone: somebody saved over it")
    if row.get("n_temporary"):
        said.append(f"{row['n_temporary']:,} left-over patches (see `project clean`)")
    if row["is_moved"]:
        said.append(f"its file is at {row['path']} now")
    if "reading" in row:
        said.append(f"not read by slideloop ({row['reading']})")
    return begin + ", ".join(said)


def _removed(n: int) -> str:
    return f"{n:,} temporary patch{'' if n == 1 else 'es'} removed"


def _line(row: dict[str, Any]) -> str:
    """Return what became of a mask, in a line."""
    if "problem" in row:
        others = ", ".join(f"{each['name']} ({each['id']})" for each in row.get("candidates", []))
        return f"{row['mask']}: not imported. {row['problem']}" + (f": {others}" if others else "")
    where = f"{row['mask']} -> {row['image']} (by {row['by']})"
    if "n_added" not in row:
        undo = "; QuPath's undo ends above 10,000" if row["ends_undo"] else ""
        return f"{where}: {row['n_objects']:,} {row['kind']} would be added{undo}"
    kept = f", {row['n_edited_kept']:,} edited ones kept" if row["n_edited_kept"] else ""
    return (
        f"{where}: {row['n_added']:,} {row['kind']} added, {row['n_removed']:,} of an earlier "
        f"import removed{kept}; {row['n_after']:,} objects now"
    )


def _from_files(given: tuple[Path, ...], wanted: list[str]) -> tuple[str, ObjectKind, list[Mask]]:
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
    read: dict[Path, tuple[str, ObjectKind, list[dict[str, Any]]]] = {}
    for file in files:
        mask = read_mask(file)
        if mask is None:
            say(f"{file.name} holds no objects and is left out.")
        else:
            read[file] = mask
    if not read:
        raise InvalidInputError("None of the masks holds an object.", hint="Nothing was changed.")
    studies = {study for study, _, _ in read.values()}
    kinds: set[ObjectKind] = {kind for _, kind, _ in read.values()}
    if len(studies) > 1 or len(kinds) > 1:
        raise InvalidInputError(
            "The masks are of several studies, or of several kinds of objects.",
            hint="Import those of one study and one kind at a time.",
        )
    masks: list[Mask] = []
    for file, (_, _, features) in read.items():
        name = file.name.removesuffix(".gz").removesuffix(".geojson").removesuffix(".json")
        named = _NAMED.fullmatch(name)
        kept = [each for each in features if not wanted or class_of(each) in wanted]
        masks.append(
            Mask(
                label=file.name,
                features=kept,
                name=named["stem"] if named else name,
                fingerprint=named["fingerprint"] if named else None,
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
