"""The review window, judged as a pathologist would: by what is on the screen after real keys."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.groovy.conftest import CLASSES, Site, lacking
from tests.groovy.jvm import Groovy, LackingError
from tests.groovy.screen import Screen
from tests.groovy.windowed import Windowed

from slideloop.slides.registry import open_reader

pytestmark = pytest.mark.slow

TUMOUR, NORMAL = CLASSES
FREEZE_MS = 100


@pytest.fixture(scope="session")
def screen() -> Iterator[Screen]:
    try:
        screen = Screen(1366, 768)
    except LackingError as what:
        lacking(what)
    yield screen
    screen.close()


@pytest.fixture(scope="session")
def slide_png(tmp_path_factory: pytest.TempPathFactory, small_slides: Path) -> Path:
    path = tmp_path_factory.mktemp("png") / "slide.png"
    reader = open_reader(small_slides / "small.tif")
    size = reader.info.width, reader.info.height
    Image.fromarray(reader.read(0, 0, *size)).save(path)
    reader.close()
    return path
