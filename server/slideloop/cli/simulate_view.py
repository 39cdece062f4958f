"""What `simulate` prints of an experiment: the measures, and which strategy is ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from slideloop.evaluation.comparison import Ranking

_SHOWN = ("f1", "f1_unreviewed", "jaccard", "accuracy", "perfect_p10", "p10")


def print_summary(record: dict[str, Any], out: Path) -> None:
    """Print the measures after the last session, and the ranking where there are strategies.

    Parameters
    ----------
    record : dict
        The content of `result.json`.
    out : Path
        The folder it lies in.
    """
    from slideloop.evaluation.comparison import interval_text, rankings

    weights = record["settings"]["weights"]
    click.echo(f"Weights: {weights['kind']} ({weights['name']}). After the last session:")
    for strategy, measures in record["summary"].items():
        parts = [f"{name} {interval_text(measures[name])}" for name in _SHOWN if name in measures]
        click.echo(f"  {strategy}: {', '.join(parts)}")
    if "full_supervision" in record:
        full = record["full_supervision"]
        parts = [f"{name} {full[name]:.3f}" for name in _SHOWN if full.get(name) is not None]
        click.echo(f"  all {full['n_labels']:,} patches labelled: {', '.join(parts)}")
    if len(record["summary"]) > 1:
        for ranking in rankings(record):
            _print_ranking(ranking)
    click.echo(f"Results: {out}")


def _print_ranking(ranking: Ranking) -> None:
    """Say which strategy is ahead, and whether that is more than chance."""
    from slideloop.evaluation.comparison import (
        interval_text,
        p_text,
        reference_of,
        verdict_text,
    )

    against = reference_of(ranking.rows)
    if against is None:
        return
    what = "F1 on unreviewed patches" if ranking.measure == "f1_unreviewed" else "accuracy"
    click.echo(
        f"Area under the curve of {what}, by {ranking.unit} beside {against}, {ranking.where}:"
    )
    for number, row in enumerate(ranking.rows, 1):
        line = f"  {number}. {row['strategy']} {interval_text(row['area'])}"
        if row["verdict"] != "reference":
            p = f", p {p_text(row['p'])}" if row["p"] is not None else ""
            difference = interval_text(row["difference"], signed=True)
            line += f": {difference}{p}; {verdict_text(row['verdict'])} on {ranking.where}"
        click.echo(line)
    if all(row["n"] < 2 for row in ranking.rows):
        click.echo("  One seed does not tell chance from difference: give more with --seeds.")
