"""An experiment as one page to read and to send: no script, nothing loaded from elsewhere.

Owns what stands on it and in which order. Numbers come from `result.json`, pictures from the files
beside it and from the slides.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.evaluation.comparison import (
    Ranking,
    interval_text,
    median_labels,
    p_text,
    rankings,
    reference_of,
    verdict_text,
)
from slideloop.files import whole_file
from slideloop.learning.database import reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slideloop.evaluation.simulate import Run
    from slideloop.evaluation.subjects import Subject

HEIGHTS = (0.8, 0.9, 0.95)
"""For which the labels are counted that it took to reach them."""

_THUMB_PX, _BORDER_PX = 48, 3
_POSITIVE_RGB, _OTHER_RGB = (0, 158, 115), (150, 150, 150)
_JPEG_QUALITY = 85
_CSS = """
body { font: 15px/1.5 "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1c2733;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #d5dae0; }
img { max-width: 100%; height: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .25rem 1.2rem .25rem 0; border-bottom: 1px solid #e8ebee; }
.small { color: #5b6875; font-size: .9em; }
@media print { figure, tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def write_report(record: dict[str, Any], runs: Sequence[Run], subject: Subject, out: Path) -> None:
    """Write `report.html` beside the other results.

    Parameters
    ----------
    record : dict
        The content of `result.json`.
    runs : sequence of Run
    subject : Subject
    out : Path
        The folder, with curves.png and the masks in it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    sections = [
        _heading(record),
        *(_ranking(ranking) for ranking in rankings(record)),
        _figure(out / "curves.png", "What the labels brought; the band is the 95 % interval"),
        _labels_needed(record),
        *(_strategy(run, subject, out) for run in _first_of_each(runs)),
        _settings(record),
    ]
    title = html.escape(f"slideloop: {_names(record)}")
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n{''.join(sections)}</body>\n</html>\n"
    )
    with whole_file(out / "report.html") as path:
        path.write_text(page, "utf-8")


def _heading(record: dict[str, Any]) -> str:
    settings = record["settings"]
    n_seeds = len({run["seed"] for run in record["runs"]})
    n_labels = settings["sessions"] * settings["rounds"] * settings["k"]
    return (
        f"<h1>{_text(_names(record))}</h1>\n"
        f"<p>A simulated expert, who answers by the truth, labelled up to {n_labels} patches "
        f"({settings['sessions']} queries, {settings['rounds']} rounds of {settings['k']} each) by "
        f"each strategy with {n_seeds} seed{'s' if n_seeds > 1 else ''}. Sought: "
        f"{_text(settings['positive'])}. Engine {_text(settings['engine'])}; weights "
        f"{_text(settings['weights']['kind'])} ({_text(settings['weights']['name'])}).</p>\n"
    )


def _ranking(ranking: Ranking) -> str:
    measure, rows, where = ranking.measure, ranking.rows, ranking.where
    against = reference_of(rows)
    if against is None or len(rows) < 2:
        return ""
    lines = []
    for row in rows:
        told = verdict_text(row["verdict"])
        if row["verdict"] in ("ahead", "behind"):
            told += f" on {where}"
        difference = row["difference"] and interval_text(row["difference"], signed=True)
        area = interval_text(row["area"])
        lines.append((row["strategy"], area, difference or "", p_text(row["p"]), told))
    header = ("strategy", "area", f"beside {against}, same queries", "p (Holm)", "")
    note = (
        f"Area under the curve of {measure.replace('_', ', ')}, as its mean height. In brackets "
        f"the 95 % t-interval; {ranking.unit}s: {rows[0]['n']}. A strategy is called ahead or "
        f"behind only where the p corrected for all of them is below .05. It holds for {where}."
    )
    heading = f"<h2>Which strategy, on {_text(where)}</h2>\n"
    return f"{heading}{_table(header, lines)}<p class='small'>{_text(note)}</p>\n"


def _labels_needed(record: dict[str, Any]) -> str:
    ((measure, rows),) = record["comparison"].items()
    lines = []
    for row in rows:
        runs = [run for run in record["runs"] if run["strategy"] == row["strategy"]]
        cells = [row["strategy"]]
        for height in HEIGHTS:
            median, n_reached = median_labels(runs, measure, height)
            cells.append(f"{median or 'more'} ({n_reached} of {len(runs)} runs)")
        lines.append(tuple(cells))
    header = ("strategy", *(f"{height:g}" for height in HEIGHTS))
    return (
        "<h2>Labels needed to reach a height</h2>\n"
        f"{_table(header, lines)}"
        "<p class='small'>The median run; those that did not reach it count as more.</p>\n"
    )


def _strategy(run: Run, subject: Subject, out: Path) -> str:
    parts = [f"<h2>{_text(run.strategy)}, seed {run.seed}</h2>\n"]
    for path in sorted(out.glob(f"overlay-{run.strategy}-{run.seed}*.png")):
        parts.append(_figure(path, "Slide, mask after the last session, truth"))
    shown = patches_shown(run, subject)
    if shown is not None:
        words = (
            "The patches of each round, a line per session: framed green where they were "
            f"{subject.classes[0]}, grey otherwise"
        )
        parts.append(_picture(shown, words))
    return "".join(parts)


def patches_shown(run: Run, subject: Subject) -> NDArray[np.uint8] | None:
    """Return what the expert was shown, small.

    Parameters
    ----------
    run : Run
    subject : Subject

    Returns
    -------
    ndarray of uint8, shape (height, width, 3), or None
        RGB; a line per session, its rounds from left to right, each patch in a frame that says
        whether it was of the class sought. None in the tile experiment.
    """
    sessions: list[list[NDArray[np.uint8]]] = []
    for event in run.loop.journal.events:
        if event.type == "query":
            sessions.append([])
        elif event.type == "round_shown":
            for patch in event.data["patches"]:
                access = subject.slides[patch["slide"]]
                if access is None:
                    return None
                column, row = access.store.cells[patch["place"]]
                pixels = access.source.read_square(access.grid.rectangle(int(column), int(row)))
                truth = subject.label(reference(patch["slide"], patch["place"]))
                sessions[-1].append(_framed(pixels, truth == subject.classes[0]))
    rows = [row for row in sessions if row]
    if not rows:
        return None
    side = _THUMB_PX + 2 * _BORDER_PX
    canvas = np.full((len(rows) * side, max(map(len, rows)) * side, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, thumb in enumerate(row):
            canvas[i * side : (i + 1) * side, j * side : (j + 1) * side] = thumb
    return canvas


def _framed(pixels: NDArray[np.uint8], is_positive: bool) -> NDArray[np.uint8]:
    import cv2

    side = _THUMB_PX + 2 * _BORDER_PX
    framed = np.empty((side, side, 3), np.uint8)
    framed[:] = _POSITIVE_RGB if is_positive else _OTHER_RGB
    small = cv2.resize(pixels, (_THUMB_PX, _THUMB_PX), interpolation=cv2.INTER_AREA)
    framed[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = small
    return framed


def _settings(record: dict[str, Any]) -> str:
    rows = [
        (name, value if isinstance(value, str) else repr(value))
        for name, value in record["settings"].items()
        if not isinstance(value, (dict, list))
    ]
    return f"<h2>Settings</h2>\n{_table(('setting', 'value'), rows)}"


def _first_of_each(runs: Sequence[Run]) -> Iterable[Run]:
    first: dict[str, Run] = {}
    for run in runs:
        first.setdefault(run.strategy, run)
    return first.values()


def _names(record: dict[str, Any]) -> str:
    return ", ".join(slide["name"] for slide in record["settings"]["slides"])


def _figure(path: Path, words: str) -> str:
    import cv2

    found = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) if path.exists() else None
    return "" if found is None else _picture(np.asarray(found, np.uint8), words)


def _picture(pixels: NDArray[np.uint8], words: str) -> str:
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), quality)
    data = base64.b64encode(encoded.tobytes()).decode()
    return (
        f'<figure><img alt="{_text(words)}" src="data:image/jpeg;base64,{data}">'
        f'<figcaption class="small">{_text(words)}.</figcaption></figure>\n'
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>\n" for row in rows
    )
    return f"<table>\n<tr>{head}</tr>\n{body}</table>\n"


def _text(value: Any) -> str:
    return html.escape(str(value))
