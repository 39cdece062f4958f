"""The first opening of a slide, in a process of its own.

Owns the child process, its time limit, and the comparison of the back-ends: a native decoder may
crash or hang on a damaged file, and must not take the program with it. The child is this module,
run with `python -m`; it answers with one line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slideloop import errors
from slideloop.errors import SlideloopError, UnreadableSlideError
from slideloop.slides.limits import DEFAULT_LIMITS, Limits
from slideloop.slides.reader import (
    READERS,
    SlideInfo,
    SlideReader,
    open_slide,
    require_regular_file,
)

_TILE_PX = 256
_REGIONS = (4, 2)
"""Rows and columns of the regions of which each gives one of the eight tiles compared."""

_CELLS_PER_REGION = 4
_THUMBNAIL_PX = 256
_THUMBNAIL_COST_PX = 2**24
"""Pixels of the coarsest level beyond which it is not read just to find telling tiles."""

_MEAN_DIFFERENCE = 2.0
_STRAY_DIFFERENCE = 16
_STRAY_SHARE = 0.01
"""JPEG decoders differ by a grey level or two, more at few pixels; other pixels differ by more."""

_KILL_WAIT_S = 5.0

Rectangle = tuple[int, int, int, int]


def check_slide(
    path: str | os.PathLike[str], timeout_s: float = 60.0, *, limits: Limits = DEFAULT_LIMITS
) -> SlideInfo:
    """Open a slide for the first time, in a child process with a time limit.

    When both back-ends open the file, the same eight tiles are read by both; where they differ
    by more than JPEG decoders do, OpenSlide is chosen and `notes` says so (TiffSlide issue 86).

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    timeout_s : float
        Seconds that the child may take, its start (about 1 s) included.
    limits : Limits
        What the file's header may ask for.

    Returns
    -------
    SlideInfo
        `open_slide(path, info.reader)` opens it as it was checked.

    Raises
    ------
    SlideNotFoundError
        If there is no regular file at `path`.
    NotRgbError
        If its pixels are not 8-bit RGB.
    UnreadableSlideError
        If no back-end reads it, it asks for more than `limits`, or its decoder crashes or hangs.
    """
    slide_path = require_regular_file(path)
    command = [sys.executable, "-P", "-m", "slideloop.slides.opening"]
    answer = run_guarded(
        [*command, json.dumps(asdict(limits)), os.fspath(slide_path)], slide_path, timeout_s
    )
    if "error" in answer:
        raise _error_from(answer["error"])
    info = answer["info"]
    return SlideInfo(
        **{
            **info,
            "path": slide_path,
            "level_downsamples": tuple(info["level_downsamples"]),
            "origin": tuple(info["origin"]),
            "notes": tuple(info["notes"]),
        }
    )


def run_guarded(command: Sequence[str], path: Path, timeout_s: float) -> dict[str, Any]:
    """Run a child that examines a slide and take its answer.

    Parameters
    ----------
    command : sequence of str
        The child's command line; it writes one line of JSON on its standard output.
    path : Path
        The slide, named in the errors.
    timeout_s : float
        Seconds until the child is killed.

    Returns
    -------
    dict
        The object that the child wrote.

    Raises
    ------
    UnreadableSlideError
        If the child crashed, took too long, or wrote something else.
    """
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        output, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as err:
        raise UnreadableSlideError(
            f"Opening {path.name!r} took longer than {timeout_s:g} s and was stopped.",
            hint="The file is damaged, or lies on a very slow drive: copy it to a local disk.",
        ) from err
    finally:
        _end(child)
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if child.returncode != 0 or not isinstance(answer, dict):
        raise UnreadableSlideError(
            f"The decoder crashed while opening {path.name!r} ({_end_of(child.returncode)}).",
            hint="The file is damaged; copy it again from where it came.",
        )
    return answer


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the child if it still runs; one stuck in the kernel is not waited for."""
    if child.poll() is None:
        child.kill()
        try:
            child.wait(_KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            return
    if child.stdout is not None:
        child.stdout.close()


def _end_of(returncode: int) -> str:
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def _error_from(said: dict[str, str]) -> SlideloopError:
    """Rebuild the child's error; only classes of our own tree are made."""
    kind = getattr(errors, said["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, SlideloopError)):
        kind = UnreadableSlideError
    return kind(said["message"], hint=said["hint"])


def examine(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> SlideInfo:
    """Open a slide with every back-end that can, read some tiles, and choose.

    Parameters
    ----------
    path : str or PathLike
        A regular file.
    limits : Limits
        What the file's header may ask for.

    Returns
    -------
    SlideInfo
        Of the back-end chosen, with notes.

    Raises
    ------
    SlideloopError
        As `check_slide`; this one does its work in the calling process.
    """
    with ExitStack() as stack:
        first = stack.enter_context(open_slide(path, limits=limits))
        other = next(name for name in READERS if name != first.info.reader)
        try:
            second = stack.enter_context(open_slide(path, other, limits=limits))
        except UnreadableSlideError:
            second = None
        slides = [first] if second is None else [first, second]
        return _choose(slides, telling_tiles(first))


def _choose(slides: Sequence[SlideReader], tiles: Sequence[Rectangle]) -> SlideInfo:
    """Choose between readers of one slide, the first where nothing speaks against it."""
    first, *others = slides
    read: dict[str, list[NDArray[np.uint8]]] = {}
    failures: list[UnreadableSlideError] = []
    for slide in slides:
        try:
            read[slide.info.reader] = [slide.read(*tile) for tile in tiles]
        except UnreadableSlideError as err:
            failures.append(err)
    if not read:
        raise failures[0]
    if first.info.reader not in read:
        reason = "the other reader cannot decode this file"
        return _noted(others[0].info, reason)
    if len(read) == 1:
        return first.info
    infos = {slide.info.reader: slide.info for slide in slides}
    difference = _difference(infos["tiffslide"], infos["openslide"], read)
    if difference is None:
        return first.info
    return _noted(infos["openslide"], f"TiffSlide disagrees with it on this file: {difference}")


def _noted(info: SlideInfo, reason: str) -> SlideInfo:
    return replace(info, notes=(*info.notes, f"Read with {info.reader}, since {reason}."))


def telling_tiles(slide: SlideReader) -> list[Rectangle]:
    """Choose eight tiles spread over a slide, where it shows most.

    Parameters
    ----------
    slide : SlideReader
        An open slide.

    Returns
    -------
    list of tuple of int
        Rectangles `(x, y, width, height)` in level-0 pixels, one in each of 4 x 2 regions, on
        the liveliest of its cells. The middle cells if the slide has no small level to look at.
    """
    info = slide.info
    rows, columns = (n * _CELLS_PER_REGION for n in _REGIONS)
    liveliness = np.zeros((rows, columns))
    coarsest = max(info.level_downsamples)
    if info.width * info.height / coarsest**2 <= _THUMBNAIL_COST_PX:
        # Where the thumbnail cannot be decoded, the tiles will tell whether the slide can.
        with suppress(UnreadableSlideError):
            thumbnail = slide.thumbnail(_THUMBNAIL_PX)
            for row, band in enumerate(np.array_split(thumbnail, rows, axis=0)):
                for column, cell in enumerate(np.array_split(band, columns, axis=1)):
                    liveliness[row, column] = cell.std() if cell.size else 0.0
    tiles: list[Rectangle] = []
    width, height = min(_TILE_PX, info.width), min(_TILE_PX, info.height)
    for region in np.ndindex(*_REGIONS):
        top, left = (index * _CELLS_PER_REGION for index in region)
        part = liveliness[top : top + _CELLS_PER_REGION, left : left + _CELLS_PER_REGION]
        row, column = divmod(int(part.argmax()), _CELLS_PER_REGION) if part.any() else (2, 2)
        centre_x = (left + column + 0.5) * info.width / columns
        centre_y = (top + row + 0.5) * info.height / rows
        x = min(max(round(centre_x - width / 2), 0), info.width - width)
        y = min(max(round(centre_y - height / 2), 0), info.height - height)
        tiles.append((x, y, width, height))
    return tiles


def _difference(
    tiffslide: SlideInfo, openslide: SlideInfo, read: Mapping[str, Sequence[NDArray[np.uint8]]]
) -> str | None:
    """Say how the two readers differ, or None."""
    sizes = [f"{info.width} x {info.height} px" for info in (tiffslide, openslide)]
    if sizes[0] != sizes[1]:
        return f"{sizes[0]} against {sizes[1]}"
    if tiffslide.origin != openslide.origin:
        return f"it starts at {tiffslide.origin}, not at {openslide.origin}"
    pairs = list(zip(read["tiffslide"], read["openslide"], strict=True))
    n_other = sum(_is_other(one, other) for one, other in pairs)
    return f"{n_other} of {len(pairs)} tiles have other pixels" if n_other else None


def _is_other(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two readings of a tile differ by more than JPEG decoders do."""
    apart = np.abs(one.astype(np.int16) - other.astype(np.int16))
    n_stray = np.count_nonzero(apart > _STRAY_DIFFERENCE)
    return bool(apart.mean() > _MEAN_DIFFERENCE or n_stray > _STRAY_SHARE * apart.size)


def main(arguments: Sequence[str]) -> int:
    """Examine a slide in the child: limits as JSON and a path in, one line of JSON out.

    Parameters
    ----------
    arguments : sequence of str
        Limits as a JSON object, path of the slide.

    Returns
    -------
    int
        0, also when the answer is an error: that was said properly.
    """
    # Native libraries write to file descriptor 1 too; only the answer may go there.
    answer_fd = os.dup(1)
    os.dup2(2, 1)
    limits, path = Limits(**json.loads(arguments[0])), arguments[1]
    answer: dict[str, Any]
    try:
        info = asdict(examine(path, limits))
        answer = {"info": {**info, "path": os.fspath(info["path"])}}
    except SlideloopError as err:
        said = {"type": type(err).__name__, "message": err.message, "hint": err.hint}
        answer = {"error": said}
    except Exception as err:
        message = f"{Path(path).name!r} cannot be read ({type(err).__name__}: {err})."
        said = {"type": "UnreadableSlideError", "message": message, "hint": ""}
        answer = {"error": said}
    with os.fdopen(answer_fd, "w", encoding="ascii") as stream:
        stream.write(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
