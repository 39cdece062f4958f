"""Cut a slide's annotated squares into tile folders, some regions searched, the others held out.

python examples/cut_tiles.py SLIDE TRUTH OUT_DIR [--share 0.3333] [--seed 0]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
from cut_slide import class_of, command, divide
from shapely.geometry import shape

from slideloop.errors import OutputError
from slideloop.slides.reader import open_slide


def main(arguments: list[str] | None = None) -> int:
    """Write `search/CLASS/X-Y.png` and `held-out/CLASS/X-Y.png`, a tile per annotation.

    Returns
    -------
    int
        0, or 2 with one sentence on stderr when something cannot be used or written.
    """
    return command(cut, "Cut annotated squares into tile folders, by regions.", arguments)


def cut(slide_path: Path, truth_path: Path, out: Path, share: float, seed: int) -> None:
    """Write the bounding box of each annotation as a tile; regions stay together."""
    features = json.loads(truth_path.read_text(encoding="utf-8"))["features"]
    with open_slide(slide_path) as slide:
        for part, given in zip(("search", "held-out"), divide(features, share, seed), strict=True):
            for feature in given:
                left, top, right, bottom = map(round, shape(feature["geometry"]).bounds)
                folder = out / part / class_of(feature)
                folder.mkdir(parents=True, exist_ok=True)
                tile = slide.read(left, top, right - left, bottom - top)
                path = folder / f"{left}-{top}.png"
                if not cv2.imwrite(str(path), cv2.cvtColor(tile, cv2.COLOR_RGB2BGR)):
                    raise OutputError(f"{path} cannot be written.", hint="Is the disk full?")
            print(f"{out / part}: {len(given)} tiles")


if __name__ == "__main__":
    sys.exit(main())
