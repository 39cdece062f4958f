"""Tile folders that examples make: cut out of a slide by regions, or divided by class."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

EXAMPLES = Path(__file__).parents[3] / "examples"
sys.path.insert(0, str(EXAMPLES))
import cut_tiles  # noqa: E402  # pyright: ignore[reportMissingImports]
import divide_tiles  # noqa: E402  # pyright: ignore[reportMissingImports]

SIDE = 32


@pytest.fixture
def slide(tmp_path: Path) -> tuple[Path, Path]:
    """Three regions of each class, of two squares each; every square has a colour of its own."""
    pixels = np.full((12 * SIDE, 4 * SIDE, 3), 255, np.uint8)
    features = []
    for number in range(6):
        for step in range(2):
            x, y = step * SIDE, 2 * number * SIDE
            pixels[y : y + SIDE, x : x + SIDE] = (20 * number, 100 * step, 200)
            ring = [[x, y], [x + SIDE, y], [x + SIDE, y + SIDE], [x, y + SIDE], [x, y]]
            features.append(
                {
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                    "properties": {"classification": {"name": ("Tumor", "Normal")[number % 2]}},
                }
            )
    path, truth = tmp_path / "slide.tif", tmp_path / "truth.geojson"
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(32, 32))
    truth.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path, truth


def test_squares_become_tiles_and_regions_stay_together(
    slide: tuple[Path, Path], tmp_path: Path
) -> None:
    assert cut_tiles.main([*map(str, slide), str(tmp_path / "out")]) == 0
    regions: dict[tuple[str, str], set[int]] = {}
    for path in (tmp_path / "out").glob("*/*/*.png"):
        x, y = map(int, path.stem.split("-"))
        tile = cv2.cvtColor(np.asarray(cv2.imread(str(path))), cv2.COLOR_BGR2RGB)
        assert tile.shape == (SIDE, SIDE, 3)
        number, step = y // (2 * SIDE), x // SIDE
        assert (tile == (20 * number, 100 * step, 200)).all()
        assert path.parent.name == ("Tumor", "Normal")[number % 2]
        regions.setdefault((path.parent.parent.name, path.parent.name), set()).add(number)
    assert len(list((tmp_path / "out").glob("*/*/*.png"))) == 12
    # A third of three regions of each class is held out, none of them also searched.
    for name in ("Tumor", "Normal"):
        assert len(regions["held-out", name]) == 1
        assert len(regions["search", name]) == 2
        assert not regions["held-out", name] & regions["search", name]


def test_a_slide_that_cannot_be_read_ends_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "truth.geojson").write_text('{"features": []}')
    line = [str(tmp_path / "none.tif"), str(tmp_path / "truth.geojson"), str(tmp_path / "out")]
    assert cut_tiles.main(line) == 2
    assert "none.tif" in capsys.readouterr().err


def test_every_class_is_divided_in_the_same_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, n in (("TUM", 5), ("STR", 3), ("BACK", 1)):
        (tmp_path / "tiles" / name).mkdir(parents=True)
        for i in range(n):
            (tmp_path / "tiles" / name / f"{i}.tif").write_bytes(bytes([i]))
    out = tmp_path / "out"
    assert divide_tiles.main([str(tmp_path / "tiles"), str(out), "--share", "0.4"]) == 0
    assert "BACK: left out, it has a single tile" in capsys.readouterr().out
    found = {
        (part, name): {path.name for path in (out / part / name).iterdir()}
        for part in ("search", "held-out")
        for name in ("TUM", "STR")
    }
    assert {key: len(names) for key, names in found.items()} == {
        ("search", "TUM"): 3,
        ("held-out", "TUM"): 2,
        ("search", "STR"): 2,
        ("held-out", "STR"): 1,
    }
    assert found["search", "TUM"] | found["held-out", "TUM"] == {f"{i}.tif" for i in range(5)}
    assert not (out / "search" / "BACK").exists()
    assert (out / "held-out" / "TUM" / min(found["held-out", "TUM"])).stat().st_size == 1


@pytest.mark.parametrize("share", ["0", "1", "-1"])
def test_a_share_that_divides_nothing_is_refused(
    share: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "TUM").mkdir()
    assert divide_tiles.main([str(tmp_path), str(tmp_path / "out"), "--share", share]) == 2
    assert "cannot be cut" in capsys.readouterr().err
