"""Write a generated slide and its truth: `python examples/make_slide.py OUT_DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from slideloop.errors import OutputError, SlideloopError
from slideloop.evaluation.generated import Scene, truth_geojson, write_slide
from slideloop.masks.geojson import write_geojson


def main(arguments: list[str] | None = None) -> int:
    """Write `slide.tif` and `truth.geojson`.

    Parameters
    ----------
    arguments : list of str, optional
        Of the command line; None takes the process's own.

    Returns
    -------
    int
        0, or 2 with one sentence on stderr when something cannot be used or written.
    """
    parser = argparse.ArgumentParser(description="Write a generated slide and its truth.")
    parser.add_argument("out_dir", type=Path, help="folder for slide.tif and truth.geojson")
    parser.add_argument("--width", type=int, default=Scene.width, help="px (default %(default)s)")
    parser.add_argument("--height", type=int, default=Scene.height, help="px (default %(default)s)")
    parser.add_argument("--seed", type=int, default=Scene.seed, help="default %(default)s")
    given = parser.parse_args(arguments)
    try:
        scene = Scene(given.seed, given.width, given.height)
        _make_folder(given.out_dir)
        write_slide(scene, given.out_dir / "slide.tif")
        write_geojson(truth_geojson(scene), given.out_dir / "truth.geojson")
    except SlideloopError as err:
        print(err, file=sys.stderr)
        return 2
    print(f"{given.out_dir / 'slide.tif'}\n{given.out_dir / 'truth.geojson'}")
    return 0


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise OutputError(
            f"The folder {folder} cannot be made: {err.strerror}.",
            hint="Give a folder that exists or can be made.",
        ) from err


if __name__ == "__main__":
    sys.exit(main())
