"""The report as one page to read, print and send: no script, nothing loaded from elsewhere.

Owns the look. Every text from outside goes through `_cell`, or `html.escape`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from slideloop.api.report_chart import bars, colour

_STATES = {
    "new": "no query yet",
    "indexing": "waiting for the index",
    "labelling": "patches wait for labels",
    "training": "learning",
    "session_over": "the session is over",
    "exhausted": "nothing is left to show",
}
_CSS = """
body { font: 14px/1.45 "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: #1c2733;
  max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #d5dae0; }
p, figure { margin: .4rem 0; }
.small { color: #5b6875; font-size: .9em; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1.2rem 0; padding: 0; }
.facts li { list-style: none; flex: 1 1 8rem; border: 1px solid #d5dae0; border-radius: .4rem;
  padding: .5rem .7rem; }
.facts b { display: block; font-size: 1.35rem; }
table { border-collapse: collapse; min-width: 50%; font-size: .92em; }
th, td { text-align: left; padding: .25rem 1rem .25rem 0; vertical-align: top;
  border-bottom: 1px solid #e8ebee; white-space: nowrap; }
th { font-weight: 600; color: #5b6875; }
td.text { white-space: normal; overflow-wrap: anywhere; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .85em; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; }
.swatch { display: inline-block; width: .8em; height: .8em; border: 1px solid #8b95a0;
  margin: 0 .35em 0 0; }
.legend span.key { margin-right: 1.2em; }
@media print { body { margin: 0; max-width: none; font-size: 11px; }
  tr, figure, .facts { break-inside: avoid; } h2 { break-after: avoid; } }
"""

_KINDS = {"#": ' class="number"', "~": ' class="text"'}

Row = Sequence[Any]


def page(report: dict[str, Any]) -> str:
    """Return the page of a report.

    Parameters
    ----------
    report : dict
        As `slideloop.studies.report.report` makes it.
    """
    study = report["study"]
    title = f"Report: {study['name'] or study['id']}"
    sections = (
        _figure(report),
        _labels(report),
        _sessions(report),
        _rounds(report),
        _regions(report),
        _trainings(report),
        _predictions(report),
        _slides(report),
        _settings(report),
        _people(report),
        _journal(report),
    )
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{html.escape(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n",
            _top(report, title),
            *sections,
            "</body>\n</html>\n",
        )
    )


def _top(report: dict[str, Any], title: str) -> str:
    study, effort = report["study"], report["effort"]
    state = _STATES[study["state"]] + (", archived" if study["archived"] else "")
    of = f"of {effort['n_patches']:,} patches"
    share = "" if effort["share"] is None else f" ({effort['share']:.2%})"
    facts = (
        (f"{effort['n_reviewed']:,}", f"patches judged {of}{share}"),
        (effort["n_queries"], "queries"),
        (effort["n_rounds"], "rounds"),
        (_span(effort["labelling_s"]), "labelling, pauses included"),
        (_span(effort["waited_s"]), "waiting for patches"),
    )
    boxes = "".join(f"<li><b>{_cell(value)}</b>{_cell(words)}</li>" for value, words in facts)
    return (
        f"<h1>{html.escape(title)}</h1>\n"
        f'<p class="small">From {_time(report["created"])} to {_time(report["updated"])} '
        f"(all times are UTC); {_cell(state)}. Study <code>{_cell(study['id'])}</code></p>\n"
        f'<ul class="facts">{boxes}</ul>\n'
    )


def _figure(report: dict[str, Any]) -> str:
    rounds = report["rounds"]
    if not rounds:
        return ""
    names = list(report["labels"]["n_labels"])
    keys = "".join(
        f'<span class="key"><span class="swatch" style="background:{colour(name)}"></span>'
        f"{_cell(name)}</span>"
        for name in names
    )
    return (
        "<h2>Labels of each round</h2>\n<figure>"
        f"{bars(rounds, names)}"
        f'<figcaption class="legend small">{keys}</figcaption></figure>\n'
    )


# The tables ------------------------------------------------------------------------------------


def _labels(report: dict[str, Any]) -> str:
    labels = report["labels"]
    rows = [(name, n) for name, n in labels["n_labels"].items()]
    note = (
        f"Beside these, {labels['n_query_labels']:,} patches got their label by a query and "
        f"{labels['n_region_labels']:,} by a region."
    )
    return _section("Patches judged", ("~Class", "#Patches"), rows, note)


def _sessions(report: dict[str, Any]) -> str:
    slides = _slide_names(report)
    rows = [
        (
            number,
            _time(row["time"]),
            slides.get(row["slide"], row["slide"]),
            row["label"],
            row["rounds_done"],
            row["reader"] or "",
        )
        for number, row in enumerate(report["sessions"], 1)
    ]
    heads = ("Session", "Query drawn", "~Slide", "~Class", "#Rounds", "~By")
    return _section("Sessions", heads, rows)


def _rounds(report: dict[str, Any]) -> str:
    names = list(report["labels"]["n_labels"])
    rows = [
        (
            f"{row['session']}.{row['round']}",
            _time(row["time"]),
            row["strategy_used"],
            row["model_round"] or "none",
            row["n_shown"],
            ", ".join(f"{row['labels'][n]} {n}" for n in names if n in row["labels"])
            + (f", {row['n_given']} by a region" if row["n_given"] else ""),
            _span(row["waited_s"]),
            "" if row["seconds"] is None else _span(row["seconds"]),
        )
        for row in report["rounds"]
    ]
    heads = ("Round", "Shown", "Strategy", "Model", "#Patches", "~Labels", "#Waited", "#Labelled")
    note = "Waited: from what the expert did last to the patches. Labelled: to the last label."
    return _section("Rounds", heads, rows, note)


def _regions(report: dict[str, Any]) -> str:
    slides = _slide_names(report)
    rows = [
        (
            _time(row["time"]),
            slides.get(row["slide"], row["slide"]),
            row["label"],
            row["n_given"],
            row["n_train"],
            row["reader"] or "",
        )
        for row in report["regions"]
    ]
    heads = ("Drawn", "~Slide", "~Class", "#Patches", "#Trained on", "~By")
    return _section("Regions", heads, rows)


def _trainings(report: dict[str, Any]) -> str:
    rows = [
        (
            row["model_round"],
            _time(row["time"]),
            row["n_trained"],
            "" if row["seconds"] is None else _span(row["seconds"]),
            row["digest"][:12],
        )
        for row in report["trainings"]
    ]
    heads = ("Model", "Ready", "#Labels", "#Took", "Digest")
    return _section("Trainings", heads, rows)


def _predictions(report: dict[str, Any]) -> str:
    slides = _slide_names(report)
    rows = [
        (
            slides.get(row["slide"], row["slide"]),
            row["model_round"],
            _time(row["time"]),
            row["n"],
            row["sha256"],
        )
        for row in report["predictions"]
    ]
    heads = ("~Slide", "Model", "Made", "#Patches", "~SHA-256 of the labels")
    return _section("Newest predictions", heads, rows)


def _slides(report: dict[str, Any]) -> str:
    rows = [
        (
            row["name"],
            f"{row['width']:,} x {row['height']:,} px" if row["width"] else "",
            "unknown" if row["mpp"] is None else f"{row['mpp']:.4g}",
            (row["grid"] or {}).get("patch_px0", ""),
            row["n_patches"],
            "yes" if row["is_searched"] else "no",
            row["fingerprint"] or "",
        )
        for row in report["slides"]
    ]
    heads = ("~Slide", "Size", "#um/px", "#Patch, px", "#Patches", "Searched", "~Fingerprint")
    return _section("Slides", heads, rows)


def _settings(report: dict[str, Any]) -> str:
    rows = [(name.replace("_", " "), _said(value)) for name, value in report["settings"].items()]
    for change in report["changes"]:
        said = "; ".join(f"{name}: {_said(value)}" for name, value in change["changes"].items())
        rows.append((f"changed {_time(change['time'])}", said))
    return _section("Settings", ("Setting", "~Value"), rows)


def _people(report: dict[str, Any]) -> str:
    rows = [
        (row["reader"] or "(not said)", row["n_queries"], row["n_labels"], row["n_regions"])
        for row in report["readers"]
    ]
    heads = ("~Reader", "#Queries", "#Labels", "#Regions")
    undone = report["undone"]
    gone = [f"{n} {name}" for name, n in undone.items() if n and name != "times"]
    note = f"Undone {undone['times']} times: {', '.join(gone)}." if undone["times"] else ""
    return _section("Who judged", heads, rows, note)


def _journal(report: dict[str, Any]) -> str:
    head = report["journal"]
    receipt = f"{head['seq']}:{head['hash']}"
    study = report["study"]["id"]
    return (
        "<h2>Receipt</h2>\n<p>All of this is counted from the study's journal, a chain of "
        f"{head['seq']:,} events in which a change shows. "
        "Whether it still holds what this page was made from:</p>\n"
        f"<p><code>slideloop study verify {_cell(study)} --expect {_cell(receipt)}</code></p>\n"
    )


def _section(title: str, heads: Sequence[str], rows: Iterable[Row], note: str = "") -> str:
    """Make a table; without rows, nothing.

    A head that starts with # stands over numbers, one with ~ over text of any length.
    """
    kinds = [_KINDS.get(head[0], "") for head in heads]
    lines = [
        "".join(f"<td{kind}>{_cell(v)}</td>" for kind, v in zip(kinds, row, strict=True))
        for row in rows
    ]
    if not lines:
        return ""
    titles = "".join(
        f"<th{kind}>{_cell(head.lstrip('#~'))}</th>"
        for kind, head in zip(kinds, heads, strict=True)
    )
    body = "".join(f"<tr>{line}</tr>\n" for line in lines)
    under = f'<p class="small">{_cell(note)}</p>\n' if note else ""
    return f"<h2>{_cell(title)}</h2>\n<table><tr>{titles}</tr>\n{body}</table>\n{under}"


def _slide_names(report: dict[str, Any]) -> dict[str, str]:
    return {row["id"]: row["name"] for row in report["slides"]}


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return html.escape(text)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {said}" for name, said in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _time(time: str) -> str:
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S}"


def _span(seconds: float) -> str:
    """Say how long something took, in the two units that matter."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
