"""`slideloop qupath`: the scripts for QuPath, where QuPath finds them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from slideloop.qupath.script_files import Outcome

_FOLDER = click.option(
    "--scripts-dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Default: a folder in the platform's data folder.",
)


@click.group("qupath")
def command() -> None:
    """Put the scripts for QuPath where it finds them, or take them away."""


@command.command("install")
@_FOLDER
def install(folder: Path | None) -> None:
    """Copy the scripts, over those of an older release, and say what to set in QuPath.

    What was edited there is kept as .bak. The folder is the same for each version of QuPath and
    each release of slideloop.
    """
    from slideloop.qupath import script_files

    outcome = script_files.install((folder or script_files.default_folder()).absolute())
    start = outcome.folder / script_files.START
    before = f" (there was {outcome.before})" if outcome.before else ""
    click.echo(f"{outcome.n_files} files are in {outcome.folder}{before}.")
    _say_kept(outcome)
    click.echo(f"""
In QuPath: Edit > Preferences, search "startup script", set "Startup script path" to

  {start}

and start QuPath again. Each of QuPath 0.5, 0.6 and 0.7 has preferences of its own: set it in each.
If another script is set there already, leave it, and add this line at its end:

  getQuPath().runScript(new File('{start.as_posix()}'), null)

Then open a slide, draw a rectangle on it and choose Extensions > slideloop > Query with rectangle.
Where no server runs, QuPath starts one on this computer; Connect / doctor takes the address of
another.""")


@command.command("uninstall")
@_FOLDER
def uninstall(folder: Path | None) -> None:
    """Remove the scripts, and what they made in QuPath's user folder.

    Labels that wait for a server stay there; studies stay in the workspace.
    """
    from slideloop.qupath import script_files

    outcome = script_files.uninstall((folder or script_files.default_folder()).absolute())
    click.echo(f"{outcome.n_files} files were removed from {outcome.folder}.")
    _say_kept(outcome)
    for path in script_files.left_in_qupath(Path.home()):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        click.echo(f"Removed {path}.")
    click.echo("""
Clear "Startup script path" in QuPath's preferences, in each version of it. The address and the
token of the server stay there too: "Reset preferences" takes them away, with all others.""")


def _say_kept(outcome: Outcome) -> None:
    for path in outcome.kept:
        click.echo(f"Somebody had edited a file there: what it held is kept as {path}.")
