"""The report's drawing: the labels of each round as stacked bars.

Owns the SVG; it needs neither script nor file.
"""

from __future__ import annotations

import html
from itertools import groupby
from typing import Any

from slideloop.masks.colours import colour_of
from slideloop.studies.settings import EXCLUDE, UNSURE

WIDTH, HEIGHT = 720, 200
"""Of the bars, in the drawing's own units."""

_ANSWER_COLOURS = {UNSURE: "#b9bec4", EXCLUDE: "#e4e7ea"}
_WIDEST_BAR = 40


def bars(rounds: list[dict[str, Any]], names: list[str]) -> str:
    """Draw a stacked bar per round, and a line between two sessions, as SVG.

    Parameters
    ----------
    rounds : list of dict
        At least one, as `slideloop.studies.report.report` has them.
    names : list of str
        Classes and answers, from the bottom up.
    """
    most = max(*(sum(row["labels"].values()) for row in rounds), 1)
    step = min(WIDTH / len(rounds), _WIDEST_BAR)
    base = HEIGHT + 14
    parts = [
        f'<svg viewBox="-30 0 {WIDTH + 40} {base + 22}" role="img" '
        'aria-label="Labels of each round, by class" font-size="11" fill="#5b6875">',
        f'<path d="M0 14V{base}H{WIDTH}" fill="none" stroke="#8b95a0"/>',
        f'<text x="-6" y="18" text-anchor="end">{most}</text>',
        f'<text x="-6" y="{base}" text-anchor="end">0</text>',
    ]
    for number, row in enumerate(rounds):
        y = float(base)
        for name in names:
            n = row["labels"].get(name, 0)
            height = HEIGHT * n / most
            y -= height
            if n:
                parts.append(
                    f'<rect x="{number * step + step * 0.1:.2f}" y="{y:.2f}" '
                    f'width="{step * 0.8:.2f}" height="{height:.2f}" fill="{colour(name)}" '
                    f'stroke="#fff" stroke-width="0.5"><title>Session {row["session"]}, round '
                    f"{row['round']}: {n} {html.escape(name)}</title></rect>"
                )
    return "".join((*parts, *_session_marks(rounds, step, base), "</svg>"))


def _session_marks(rounds: list[dict[str, Any]], step: float, base: int) -> list[str]:
    marks: list[str] = []
    first, written_to = 0, -1.0
    for session, group in groupby(rounds, key=lambda row: row["session"]):
        n, x = sum(1 for _ in group), first * step
        if first:
            marks.append(f'<path d="M{x:.2f} 14V{base + 6}" stroke="#c3cad1"/>')
        if x >= written_to:
            # Where sessions are narrow, only those are named that have room.
            text = f"session {session}" if n * step > 60 else str(session)
            marks.append(f'<text x="{x + 3:.2f}" y="{base + 16}">{text}</text>')
            written_to = x + 7 * len(text)
        first += n
    return marks


def colour(name: str) -> str:
    """Return the colour of a class or an answer, for HTML."""
    return _ANSWER_COLOURS.get(name) or "#{:02x}{:02x}{:02x}".format(*colour_of(name))
