"""`slideloop weights`: ImageNet weights for a machine without a connection."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("weights")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def command(file: Path) -> None:
    """Check ImageNet weights that were brought by hand, and put them where they are looked for.

    FILE is one that torchvision publishes, whatever it is called here; its content tells which.
    """
    from slideloop.diagnosis.encoders import FACTS, cached_file
    from slideloop.features.weights import put_in_place

    target = put_in_place(file, [facts.file for facts in FACTS.values()], cached_file)
    click.echo(f"{target.name} is as published, and is at {target} now.")
