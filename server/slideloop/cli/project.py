"""`slideloop project`: QuPath projects, checked, written, and put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from slideloop.cli.common import json_option, print_json, say
from slideloop.cli.main import IN_PART
from slideloop.cli.project_import import command as import_
from slideloop.cli.project_options import FORCE, PROJECT
from slideloop.cli.project_run import command as run
from slideloop.errors import InvalidInputError, QuPathError, SlideloopError


@click.group("project")
def command() -> None:
    """Check QuPath projects; import masks into them, and take that back.

    PROJECT is a .qpproj file or its folder. Close it in QuPath before anything is imported: QuPath
    has no lock, and the last writer wins.
    """


command.add_command(import_)
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

    try:
        rows = check_images(found, qupath, told)
    except QuPathError as err:
        say(f"What the data files hold is not looked at. {err}")
        rows, qupath = check_images(found, None, told), None
    if as_json:
        print_json({"project": str(found.file), "version": found.version, "opened_by": opened,
                    "qupath": qupath and qupath.version, "classes": found.classes,
                    "images": rows})  # fmt: skip
    n_wrong = sum("problem" in row for row in rows)
    if n_wrong:
        say(f"{n_wrong} of {len(rows)} images cannot get a mask.")
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
    if row["is_unsaved"]:
        said.append("changed in an open QuPath, and not saved")
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
