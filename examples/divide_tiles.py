"""Divide the tiles of a folder CLASS/file into those that are searched and those held out.

python examples/divide_tiles.py FOLDER OUT_DIR [--share 0.3333] [--seed 0]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from cut_slide import check_share, n_held_out

from slideloop.errors import SlideloopError
from slideloop.evaluation.tiles import read_tile_folder


def main(arguments: list[str] | None = None) -> int:
    """Copy each tile to `search/CLASS/` or to `held-out/CLASS/`.

    Returns
    -------
    int
        0, or 2 with one sentence on stderr when something cannot be used or written.
    """
    parser = argparse.ArgumentParser(description="Divide tile folders into two.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--share", type=float, default=1 / 3, help="held out (default a third)")
    parser.add_argument("--seed", type=int, default=0, help="default %(default)s")
    given = parser.parse_args(arguments)
    try:
        divide(given.folder, given.out_dir, given.share, given.seed)
    except (SlideloopError, OSError) as err:
        print(err, file=sys.stderr)
        return 2
    return 0


def divide(folder: Path, out: Path, share: float, seed: int) -> None:
    """Hold out the same share of each class; a class of one tile is left out, and said."""
    check_share(share)
    rng = np.random.default_rng([seed, 2])
    found = read_tile_folder(folder)
    for name in found.classes:
        tiles = [path for of_class, path in found.files if of_class == name]
        if len(tiles) < 2:
            print(f"{name}: left out, it has a single tile")
            continue
        n = n_held_out(len(tiles), share)
        for place, i in enumerate(rng.permutation(len(tiles))):
            target = out / ("held-out" if place < n else "search") / name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tiles[i], target / tiles[i].name)
        print(f"{name}: {len(tiles) - n} to search, {n} held out")


if __name__ == "__main__":
    sys.exit(main())
