"""A slide whose scanned area lies within a larger one, as Leica's scanners write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.slide_files import whole, write_scn

from slideloop.slides.reader import open_slide


def test_only_the_scanned_area_is_shown_as_in_qupath(tmp_path: Path) -> None:
    pixels = whole(700, 500)
    with open_slide(write_scn(tmp_path / "slide.scn", pixels, 300, 200)) as reader:
        info = reader.info
        assert (info.width, info.height, info.origin, info.mpp) == (700, 500, (300, 200), 0.5)
        assert np.array_equal(reader.read(100, 50, 400, 300), pixels[50:350, 100:500])
