"""What an experiment leaves in its folder: JSON, masks, GeoJSON, journals, pictures.

Owns file names and atomic writing. Each file appears whole or not at all.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop.errors import NotTrainedError
from slideloop.evaluation.simulate import cell_mask
from slideloop.files import UNFINISHED, unwritable, whole_file
from slideloop.masks.cells import POSITIVE_RGB, to_png
from slideloop.masks.geojson import mask_features, write_geojson

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slideloop.evaluation.simulate import Run
    from slideloop.evaluation.subjects import Subject
    from slideloop.masks.cells import CellMask

THUMBNAIL_PX = 1600


def prepare(folder: Path) -> None:
    """Make the folder and see that it can be written, before anything costly is begun.

    Raises
    ------
    OutputError
        If it cannot.
    """
    probe = folder / f".slideloop{UNFINISHED}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not an empty file: a full disk takes those.
        probe.write_bytes(b"\0" * 65536)
        probe.unlink()
    except OSError as err:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
        raise unwritable(folder, err) from err


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file aside and rename it.

    Raises
    ------
    OutputError
        If it cannot be written; an older file of that name is left as it was.
    """
    with whole_file(path) as unfinished:
        unfinished.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, never with NaN."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def write_run(run: Run, subject: Subject, folder: Path) -> list[Path]:
    """Write a run's journal and, per slide, its mask as PNG, as GeoJSON and over the slide.

    Returns
    -------
    list of Path
        What was written. A study that never saw two classes has no mask.
    """
    written = [folder / f"study-{run.strategy}-{run.seed}.ndjson"]
    write_journal(run, written[0])
    for slide, access in enumerate(subject.slides):
        if access is None:
            continue
        stem = f"{run.strategy}-{run.seed}{_slide_suffix(subject, slide)}"
        names = (f"mask-{stem}.png", f"mask-{stem}.geojson", f"overlay-{stem}.png")
        paths = [folder / name for name in names]
        with suppress(NotTrainedError):
            write_mask(run, subject, slide, *paths)
            written += paths
    return written


def write_journal(run: Run, path: Path) -> None:
    """Write the journal of a run's study."""
    write_bytes(path, b"".join(run.loop.journal.lines()))


def write_mask(
    run: Run, subject: Subject, slide: int, png: Path, geojson: Path, overlay: Path
) -> None:
    """Write a slide's mask as PNG, as GeoJSON, and beside slide and truth.

    Raises
    ------
    NotTrainedError
        If the study never saw two classes; nothing is written then.
    """
    mask = cell_mask(run.loop, subject, slide)
    positive = subject.classes[0]
    write_bytes(png, to_png(mask, positive))
    write_geojson(mask_features(mask, run.loop.study.id, [positive]), geojson)
    _write_overlay(run, subject, slide, mask, overlay)


def _write_overlay(run: Run, subject: Subject, slide: int, mask: CellMask, path: Path) -> None:
    """Draw slide, masks in the order of their sessions, and truth side by side."""
    from slideloop.evaluation.plots import mask_picture

    access, truth, last = subject.slides[slide], subject.truths[slide], run.curve[-1]
    assert access is not None and truth.grid_label is not None
    positive = subject.classes[0]
    is_kept = np.zeros(mask.label.shape, bool)
    is_kept[access.store.cells[:, 1], access.store.cells[:, 0]] = True
    # The last session's is drawn in any case.
    points = {point["session"]: point for point in run.curve[:-1]}
    masks = [
        (_after(points[session], slide), of_slides[slide].label == 0)
        if of_slides
        else (f"{points[session]['n_labels']} labels: no mask yet", np.zeros((1, 1), bool))
        for session, of_slides in sorted(run.masks.items())
        if session in points
    ]
    masks.append((_after(last, slide) if masks else "Mask", mask.label == 0))
    mask_picture(
        access.source.reader.thumbnail(THUMBNAIL_PX),
        [(name, _green(is_positive)) for name, is_positive in masks],
        path,
        truth_rgb=_green((truth.grid_label == 0) & is_kept),
        covered=(
            access.grid.n_columns * access.grid.stride_px0 / access.width,
            access.grid.n_rows * access.grid.stride_px0 / access.height,
        ),
        title=f"{subject.records[slide]['name']}: {positive} by {run.strategy}, {run.engine}, "
        f"{_after(last, slide)}; "
        f"{subject.environment['weights']['kind']} weights",
    )


def _after(point: dict[str, Any], slide: int) -> str:
    """Say what a point of the curve is of one slide."""
    f1 = (point["by_slide"][slide] if "by_slide" in point else point)["f1"]
    return f"{point['n_labels']} labels, F1 {'not measured' if f1 is None else f'{f1:.3f}'}"


def _green(cells: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(cells[..., None], np.array(POSITIVE_RGB, np.uint8), np.uint8(0))


def _slide_suffix(subject: Subject, slide: int) -> str:
    """Tell slides apart in file names; their own names are not trusted as such."""
    if len(subject.slides) == 1:
        return ""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", subject.records[slide]["name"]).strip("_")
    return f"-{slide + 1}-{name[:40]}"
