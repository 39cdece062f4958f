"""`slideloop doctor`: what works, what does not, what to do."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from slideloop.cli.common import common_options, json_option, print_json
from slideloop.cli.main import IN_PART

if TYPE_CHECKING:
    from slideloop.diagnosis.finding import Finding
    from slideloop.settings import Settings

DEFAULT_URL = "http://127.0.0.1:8765"


@click.command("doctor")
@click.option("--url", default=DEFAULT_URL, help=f"The server. Default: {DEFAULT_URL}.")
@click.option("--slide", type=click.Path(path_type=Path), help="A slide to look at too.")
@click.option("--project", type=click.Path(path_type=Path), help="A QuPath project to look at too.")
@common_options
@json_option
def command(
    settings: Settings, url: str, slide: Path | None, project: Path | None, as_json: bool
) -> None:
    """Say what works, what does not, and what to do. Changes nothing.

    Exit 3 if something does not work; a warning may be as you want it.
    """
    from slideloop.diagnosis.examination import examine

    findings = examine(settings, url, slide, project)
    works = all(finding.state != "problem" for finding in findings)
    if as_json:
        print_json({"works": works, "checks": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _show(finding)
    if not works:
        raise click.exceptions.Exit(IN_PART)


def _show(finding: Finding) -> None:
    colour = {"ok": "green", "warning": "yellow", "problem": "red"}[finding.state]
    state = click.style(f"{finding.state:<8}", fg=colour)
    click.echo(f"{state} {finding.check:<10} {finding.found}")
    if finding.todo:
        click.echo(f"{'':<20}{finding.todo}")
