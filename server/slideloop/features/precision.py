"""Which number format the networks run in: measured once per machine, never guessed (1.4).

Owns the self-test and where its finding is kept. Knows nothing of slides or labels.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import platform
import statistics
import time
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import nn

from slideloop.errors import OutputError
from slideloop.files import whole_file

if TYPE_CHECKING:
    from pathlib import Path

Precision = Literal["fp32", "bf16"]

FOURIER = "fp32-fourier"
"""Of heads: float32, the convolutions by Fourier transforms (`slideloop.features.fourier`)."""

HeadPrecision = Literal["fp32", "bf16", "fp32-fourier"]

DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}

WORTH_IT = 1.2
"""bf16 is taken where it is at least so many times as fast."""

MOST_DIFFERENT = 0.05
"""And where features differ by at most this share of how patches differ among themselves."""

_N_RUNS = 5

_log = logging.getLogger(__name__)


def choose_precision(
    backbone: nn.Module, device: torch.device, name: str, batch: int, side: int
) -> Precision:
    """Return the precision to run a backbone in: bf16 where it is faster and agrees.

    On CUDA that is where the card computes in bf16 by itself; on MPS always fp32.

    Parameters
    ----------
    backbone : Module
        In evaluation mode, float32, BatchNorm folded, channels last, on `device`.
    device : torch.device
    name : str
        Of network and weights: what the finding holds for, beside the machine.
    batch, side : int
        Patches per call, and their side in pixels.
    """
    if device.type != "cpu":
        has_bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8
        return "bf16" if has_bf16 else "fp32"
    # Kept for the machine, so that all workspaces of a user get the same.
    memory = user_cache_path("slideloop", appauthor=False) / "precision.json"
    key = _machine(name)
    kept = _kept(memory)
    if kept.get(key) not in DTYPES:
        kept[key] = _measured(backbone, batch, side)
        _keep(memory, kept)
    return "bf16" if kept[key] == "bf16" else "fp32"


def _measured(backbone: nn.Module, batch: int, side: int) -> Precision:
    """Time both precisions in turn on a batch that looks like tissue, and compare features."""
    coarse = torch.from_numpy(np.random.default_rng(0).random((batch, 3, 12, 12), np.float32))
    pixels = nn.functional.interpolate(coarse * 4 - 2, (side, side), mode="bilinear")
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    narrow = half_of(backbone)
    runs = {"fp32": (backbone, pixels), "bf16": (narrow, pixels.bfloat16())}
    times: dict[str, list[float]] = {precision: [] for precision in runs}
    pooled: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        for precision, (network, inputs) in runs.items():
            pooled[precision] = network(inputs).float().mean((2, 3))
        for _ in range(_N_RUNS):
            for precision, (network, inputs) in runs.items():
                start = time.perf_counter()
                network(inputs)
                times[precision].append(time.perf_counter() - start)
    ratio = statistics.median(times["fp32"]) / statistics.median(times["bf16"])
    wide = pooled["fp32"]
    spread = (wide - wide.mean(0)).norm()
    difference = float((pooled["bf16"] - wide).norm() / spread.clamp(min=1e-12))
    chosen: Precision = "bf16" if ratio >= WORTH_IT and difference <= MOST_DIFFERENT else "fp32"
    _log.info("bf16 is %.2f times as fast, features differ by %.4f: %s", ratio, difference, chosen)
    return chosen


def half_of(backbone: nn.Module) -> nn.Module:
    """Return a copy of a network in bfloat16."""
    return copy.deepcopy(backbone).to(torch.bfloat16)


def _machine(name: str) -> str:
    facts = [
        name,
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
        platform.machine(),
        _processor(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _processor() -> str:
    """Return the processor's name as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:  # noqa: PTH123
            return next(line for line in lines if line.startswith(("model name", "CPU part")))
    except (OSError, StopIteration):
        return platform.processor()


def _kept(memory: Path) -> dict[str, str]:
    try:
        found = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _keep(memory: Path, kept: dict[str, str]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(memory) as path:
            path.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    except (OSError, OutputError) as err:
        _log.info("What was measured is not kept: %s", err)
