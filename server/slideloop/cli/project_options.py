"""What the commands on QuPath projects share."""

from __future__ import annotations

from pathlib import Path

import click

PROJECT = click.argument("project", type=click.Path(path_type=Path))
REPLACE = click.option("--replace", is_flag=True, help="Remove what an earlier import made.")
FORCE = click.option("--force", is_flag=True, help="Also where the project was saved just now.")
KEEP = click.option(
    "--keep",
    "n_kept",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Imports of which copies are kept.",
)
