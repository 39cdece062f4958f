"""What can be said of encoders without importing torch: weights files and sizes of features.

Owns a table that repeats what `features.encoders` and torchvision know; a test compares them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

DOWNLOADS = "https://download.pytorch.org/models"


@dataclass(frozen=True)
class EncoderFacts:
    """What is known of an encoder before it is loaded.

    Attributes
    ----------
    file : str
        Name of torchvision's ImageNet file, whose SHA-256 begins with the digits at its end.
    n_values : int
        float16 values of one patch's features.
    n_channels : int
        Of them, values when pooled; a full store keeps both.
    """

    file: str
    n_values: int
    n_channels: int

    def patch_bytes(self, store: str) -> int:
        """Bytes of one patch in a feature store, `full` or `pooled`."""
        n_values = self.n_channels + (self.n_values if store == "full" else 0)
        return 2 * n_values


FACTS = {
    "resnet18": EncoderFacts("resnet18-f37072fd.pth", 512 * 7 * 7, 512),
    "resnet18-layer4.0": EncoderFacts("resnet18-f37072fd.pth", 256 * 14 * 14, 256),
    "squeezenet1_1": EncoderFacts("squeezenet1_1-b8a52dc0.pth", 512 * 13 * 13, 512),
}


def cached_file(name: str) -> Path:
    """Return where torch keeps a file that it downloaded; the file need not exist."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
    return home / "hub" / "checkpoints" / name
