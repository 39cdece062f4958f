"""Memory does not grow with the slide: neither while indexing, nor while ranking and predicting.

What is counted is memory that no file stands behind (RssAnon): mapped features are the system's to
drop. The features of the larger slide alone would take 300 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/status").is_file(), reason="RssAnon is told by Linux alone"
    ),
]

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 50
SMALL, LARGE = 400, 3200
FEATURE_MB = 512 * 14 * 14 * 2 / 2**20

MEASURED = """
import json, sys, threading
from pathlib import Path

import faiss, numpy as np, sklearn.linear_model, torch
import pytorch_metric_learning.losses
from torch import nn

from slideloop.features.encoders import Architecture, Encoder
from slideloop.features.indexing import index
from slideloop.features.normalisation import IMAGENET
from slideloop.features.sources import SlidePatches
from slideloop.features.weights import Weights
from slideloop.learning.database import Database, LabelledSet, QueryFeatures
from slideloop.learning.engines import create_engine
from slideloop.learning.heads import TrainingSettings
from slideloop.slides.grid import make_grid
from tests.slide_files import ArrayReader, whole


def anonymous_mb():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024


class Peak:
    def __enter__(self):
        self.mb, self.done = anonymous_mb(), threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.done.wait(0.005):
            self.mb = max(self.mb, anonymous_mb())

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


n, columns, root = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
torch.manual_seed(0)
backbone = nn.Sequential(nn.Conv2d(3, 512, 16, 16), nn.ReLU())
head = nn.Sequential(nn.Conv2d(512, 16, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
architecture = Architecture("wide", "wide", (512, 14, 14), 16, None, ())
weights = Weights("random", "seed 0", "0" * 64)
encoder = Encoder(architecture, backbone, head, weights, torch.device("cpu"))
reader = ArrayReader(whole(columns * 32, n // columns * 32))
grid = make_grid(reader.info.width, reader.info.height, None, 32)
source = SlidePatches(reader, grid, "none", "f" * 64)

encoder.features(np.zeros((32, 32, 32, 3), np.uint8), IMAGENET)
start = anonymous_mb()
with Peak() as indexing:
    store = index(source, encoder, IMAGENET, root)
assert len(store) == n

database, refs = Database([store]), np.arange(0, n, n // 40)
labelled = LabelledSet(refs, refs // (n // 40) % 2)
query = QueryFeatures(refs[:1], store.pooled[:0])
found = {"indexing": indexing.mb - start}
for name in ("linear", "faithful"):
    engine = create_engine(name, encoder, TrainingSettings(epochs=1))
    with Peak() as peak:
        models = engine.train(database, labelled, database.present(), 2, 0)
        engine.score(database, database.present(), models, query, refs[:5], 0)
        engine.predict(database.stores[0], len(database.stores[0]), models)
    found[name] = peak.mb - start
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, float]]:
    """Highest memory of each step in MB above what the process began with, by slide size."""
    found: dict[int, dict[str, float]] = {}
    for n in (SMALL, LARGE):
        root = tmp_path_factory.mktemp("features")
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(n), str(COLUMNS), str(root)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        found[n] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("step", ["indexing", "linear", "faithful"])
def test_memory_does_not_grow_with_the_number_of_patches(
    peaks: dict[int, dict[str, float]], step: str
) -> None:
    grown = peaks[LARGE][step] - peaks[SMALL][step]
    # Some KB a patch of pooled features and results are fair; the full features are not.
    assert grown < 0.25 * (LARGE - SMALL) * FEATURE_MB, peaks


@pytest.mark.parametrize("step", ["indexing", "linear", "faithful"])
def test_memory_stays_within_a_few_hundred_megabytes(
    peaks: dict[int, dict[str, float]], step: str
) -> None:
    assert peaks[LARGE][step] < 800, peaks
