"""The Dockerfile, as far as it can be read without Docker: what it copies, and how it serves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from slideloop.cli.serve import command

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "Dockerfile").read_text("utf-8")


def test_it_serves_with_a_token_whatever_is_added() -> None:
    (found,) = re.findall(r"^ENTRYPOINT (.+)$", LINES, re.M)
    program, name, *arguments = json.loads(found)
    assert [program, name] == ["slideloop", "serve"]
    more = ["--allowed-host", "slides.example", "--map", "/data/slides=/slides"]
    context = command.make_context("serve", [*arguments, *more], resilient_parsing=True)
    assert isinstance(context, click.Context)
    assert context.params["require_token"] is True
    assert context.params["host"] == "0.0.0.0"
    assert context.params["slides_roots"] == (Path("/slides"),)


def test_what_it_copies_is_there_and_reaches_the_build() -> None:
    copied = [word for line in re.findall(r"^COPY (.+) \S+$", LINES, re.M) for word in line.split()]
    sent = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in sent
    # All that the wheel is made of.
    wheel = (ROOT / "pyproject.toml").read_text("utf-8")
    assert '"qupath_scripts" = "slideloop/qupath/scripts"' in wheel
    assert {"server", "qupath_scripts", "pyproject.toml", "README.md", "LICENSE"} == {*copied}
