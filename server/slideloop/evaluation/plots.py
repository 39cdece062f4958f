"""Pictures of an experiment: learning curves, and a mask beside its slide and truth.

Owns how figures look. It knows nothing of how numbers or masks came about: curves are drawn from
the structure of `result.json`, masks from arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from slideloop.errors import InvalidInputError
from slideloop.evaluation.metrics import interval
from slideloop.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curve = tuple[str, str]
"""Strategy and engine."""

# Okabe and Ito's colours, which the colour-blind tell apart; line styles say the same again.
_STYLES = {
    "cnfp": ("#0072B2", "-", "o"),
    "hybrid": ("#009E73", "--", "s"),
    "entropy": ("#D55E00", "-.", "^"),
    "front_mid_end": ("#CC79A7", (0, (5, 1, 1, 1, 1, 1)), "D"),
    "top_k": ("#E69F00", (0, (3, 1)), "v"),
    "random": ("#000000", ":", "x"),
}
_OTHER_STYLES = (("#56B4E9", "-", "P"), ("#7F7F7F", "--", "*"), ("#8C564B", "-.", "h"))
_UNREVIEWED = "_unreviewed"
_DPI = 150
_WIDTH_IN = 12.0  # 1,800 px, so that half the size is still readable


def learning_curves(
    result: Mapping[str, Any], path: str | Path, measures: Sequence[str] | None = None
) -> None:
    """Draw what the labels brought, one line per strategy and engine.

    On slides: F1 of the positive class on unreviewed patches with the 95 % t interval over seeds,
    and thinner the F1 with reviewed patches at their given label. In the tile experiment:
    accuracy and perfect P@10 on the held-out tiles. Full supervision, where it was measured, is a
    level line.

    Parameters
    ----------
    result : mapping
        The content of a `result.json`: "settings" and "runs".
    path : str or Path
        File to write (.png, .svg or .pdf); it appears only when complete.
    measures : sequence of str, optional
        A panel each, of those above and jaccard_unreviewed. Default: those above.

    Raises
    ------
    InvalidInputError
        If no run has a single point.
    OutputError
        If the file cannot be written.
    """
    runs = [run for run in result.get("runs", ()) if run.get("curve")]
    if not runs:
        raise InvalidInputError(
            "The result has no curve to draw.", hint="Run at least one session of an experiment."
        )
    on_tiles = "perfect_p10" in runs[0]["curve"][0]
    if measures is None:
        measures = ("accuracy", "perfect_p10") if on_tiles else ("f1_unreviewed",)
    figure = _new_figure(5.6 if len(measures) > 1 else 6.4)
    full = result.get("full_supervision", {})
    panels = figure.subplots(1, len(measures), squeeze=False)[0]
    curves = _grouped(runs)
    engines = {engine for _, engine in curves}
    for panel, measure in zip(panels, measures, strict=True):
        for number, (strategy, engine) in enumerate(curves):
            label = strategy if len(engines) == 1 else f"{strategy}, {engine}"
            style = _style(strategy, number, faded=len(engines) > 1 and engine == "faithful")
            _draw_curve(panel, curves[strategy, engine], measure, style, label)
        if full.get(measure) is not None:
            label = f"all {full['n_labels']:,} labelled"
            panel.axhline(full[measure], color="0.45", linestyle=(0, (1, 2)), label=label)
        _finish(panel, measure, result)
    title = figure.suptitle(_title(result, runs), fontsize=12)
    title.set_parse_math(False)
    _save(figure, Path(path))


def mask_picture(
    thumbnail: NDArray[np.uint8],
    masks: Sequence[tuple[str, NDArray[np.uint8]]],
    path: str | Path,
    *,
    truth_rgb: NDArray[np.uint8] | None = None,
    covered: tuple[float, float] = (1.0, 1.0),
    title: str = "",
) -> None:
    """Draw a slide, its masks over it, and its truth over it, side by side.

    Parameters
    ----------
    thumbnail : ndarray of uint8, shape (height, width, 3)
        The slide, RGB.
    masks : sequence of (str, ndarray of uint8, shape (any, any, 3))
        Title and colours of each mask.
    path : str or Path
        File to write; it appears only when complete.
    truth_rgb : ndarray of uint8, shape (any, any, 3), or None
        None leaves its picture out. Colours, here as above, are at any resolution (one pixel per
        cell, for instance); black is nothing.
    covered : tuple of float
        Share of the slide's width and height that the colours reach over, from the upper left
        corner: below 1 where a grid leaves out incomplete patches.
    title : str
        Line above the pictures.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    pictures = [("Slide", thumbnail)]
    pictures += [(name, overlaid(thumbnail, colours, covered)) for name, colours in masks]
    if truth_rgb is not None:
        pictures.append(("Truth", overlaid(thumbnail, truth_rgb, covered)))
    height, width = thumbnail.shape[:2]
    figure = _new_figure(_WIDTH_IN / len(pictures) * height / width + (0.9 if title else 0.5))
    panels = figure.subplots(1, len(pictures), squeeze=False)[0]
    for panel, (name, picture) in zip(panels, pictures, strict=True):
        panel.imshow(picture, interpolation="antialiased")
        panel.set_title(name, fontsize=12)
        panel.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=12).set_parse_math(False)
    _save(figure, Path(path))


def overlaid(
    thumbnail: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    covered: tuple[float, float] = (1.0, 1.0),
    opacity: float = 0.45,
) -> NDArray[np.uint8]:
    """Lay colours over a picture, with a dark outline so that the shape needs no colour to be seen.

    Parameters
    ----------
    thumbnail : ndarray of uint8, shape (height, width, 3)
        RGB, left as it is.
    colours : ndarray of uint8, shape (any, any, 3)
        RGB; black is nothing.
    covered : tuple of float
        Share of the width and height that the colours reach over, from the upper left corner.
    opacity : float
        0 to 1.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        RGB.
    """
    import cv2

    height, width = thumbnail.shape[:2]
    reached = (min(width, round(width * covered[0])), min(height, round(height * covered[1])))
    full = np.zeros_like(thumbnail)
    full[: reached[1], : reached[0]] = cv2.resize(colours, reached, interpolation=cv2.INTER_NEAREST)
    is_coloured = np.asarray(full.max(axis=2) > 0)
    blended = np.rint(thumbnail * (1 - opacity) + full * opacity).astype(np.uint8)
    out = np.where(is_coloured[..., None], blended, thumbnail)
    reach = max(1, round(max(height, width) / 1000))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    inner = cv2.erode(np.where(is_coloured, np.uint8(1), np.uint8(0)), kernel)
    out[is_coloured & (inner == 0)] = 25
    return out


def _new_figure(height_in: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _grouped(runs: Sequence[Mapping[str, Any]]) -> dict[Curve, list[Sequence[Mapping[str, Any]]]]:
    """Curves of all seeds per strategy and engine, in the order in which they first come."""
    curves: dict[Curve, list[Sequence[Mapping[str, Any]]]] = {}
    for run in runs:
        curves.setdefault((run["strategy"], run.get("engine", "")), []).append(run["curve"])
    return curves


def _style(strategy: str, number: int, *, faded: bool) -> dict[str, Any]:
    colour, line, marker = _STYLES.get(strategy, _OTHER_STYLES[number % len(_OTHER_STYLES)])
    style: dict[str, Any] = {
        "color": colour,
        "linestyle": line,
        "marker": marker,
        "markersize": 6,
    }
    if faded:
        style |= {"markerfacecolor": "white", "markersize": 9}
    return style


def _draw_curve(
    panel: Axes,
    seeds: Sequence[Sequence[Mapping[str, Any]]],
    measure: str,
    style: dict[str, Any],
    label: str,
) -> None:
    n_labels, mean, low, high = _over_seeds(seeds, measure)
    panel.plot(n_labels, mean, linewidth=2.2, label=label, **style)
    panel.fill_between(n_labels, low, high, color=style["color"], alpha=0.13, linewidth=0)
    if measure.endswith(_UNREVIEWED):
        n_labels, mean, _, _ = _over_seeds(seeds, measure.removesuffix(_UNREVIEWED))
        panel.plot(n_labels, mean, linewidth=0.9, color=style["color"], alpha=0.75)


def _over_seeds(
    seeds: Sequence[Sequence[Mapping[str, Any]]], measure: str
) -> tuple[NDArray[np.float64], ...]:
    """Give labels, mean, lower and upper bound per session; NaN where there is none."""
    by_session: dict[int, list[Mapping[str, Any]]] = {}
    for curve in seeds:
        for point in curve:
            by_session.setdefault(point["session"], []).append(point)
    rows = []
    for _, points in sorted(by_session.items()):
        mean, low, high = interval([point.get(measure) for point in points])
        n_labels = sum(point["n_labels"] for point in points) / len(points)
        rows.append([n_labels, mean, low, high])
    columns = np.array(rows, dtype=np.float64).T
    # Measures end at 0 and 1, a t interval of few seeds does not.
    return columns[0], columns[1], np.clip(columns[2], 0, 1), np.clip(columns[3], 0, 1)


def _finish(panel: Axes, measure: str, result: Mapping[str, Any]) -> None:
    positive = result.get("settings", {}).get("positive", "the positive class")
    names = {
        "accuracy": "Accuracy on held-out tiles",
        "perfect_p10": "Perfect P@10 on held-out tiles",
        "f1_unreviewed": f"F1 of {positive}, unreviewed patches",
        "jaccard_unreviewed": f"Jaccard of {positive}, unreviewed patches",
    }
    on_slides = measure.endswith(_UNREVIEWED)
    panel.set_xlabel("Patches labelled" if on_slides else "Tiles labelled")
    panel.set_ylabel(names[measure]).set_parse_math(False)
    drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in panel.lines])
    low = np.min(drawn[np.isfinite(drawn)], initial=1.0)
    panel.set_ylim(max(0.0, np.floor((low - 0.03) * 10) / 10), 1.005)
    panel.set_xlim(left=0)
    panel.grid(alpha=0.3)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    handles, labels = panel.get_legend_handles_labels()
    if on_slides:
        handles += panel.plot([], [], linewidth=0.9, color="0.3")
        labels.append("with reviewed patches")
    panel.legend(handles, labels, loc="lower right", frameon=False, handlelength=3.6)


def _title(result: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    engines = ", ".join(sorted({run["engine"] for run in runs if run.get("engine")}))
    n_seeds = len({run.get("seed") for run in runs})
    weights = result.get("settings", {}).get("weights", "unknown")
    if isinstance(weights, Mapping):
        weights = f"{weights['kind']} ({weights['name']})"
    seeds = "1 seed" if n_seeds == 1 else f"mean and 95 % t interval of {n_seeds} seeds"
    return f"Engine: {engines or 'unknown'}.  Weights: {weights}.  {seeds[0].upper()}{seeds[1:]}."


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as unfinished, warnings.catch_warnings():
        # A class name may have letters that the font lacks; boxes are drawn for them.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(unfinished, format=path.suffix[1:].lower() or "png", dpi=_DPI)
