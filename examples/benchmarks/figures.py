"""What the times of `bench.py` come to: ratios, their spread, and the table for people."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np


def spread(values: list[float]) -> dict[str, float]:
    """Return median, lowest and highest."""
    return {"median": float(np.median(values)), "low": min(values), "high": max(values)}


def comparison(plain: list[float], ours: list[float]) -> dict[str, Any]:
    """Return both sides' seconds, and how many times as fast ours is, pair by pair."""
    ratios = [p / o for p, o in zip(plain, ours, strict=True)]
    return {"plain_s": plain, "ours_s": ours, "ratios": ratios, "ratio": spread(ratios)}


def machine() -> dict[str, Any]:
    """Return what the times depend on."""
    import torch

    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "load_at_start": os.getloadavg()[0],
    }


def table(parts: dict[str, Any]) -> list[str]:
    """Return a line per measurement, for people."""
    lines = [f"{'':38}{'plain':>12}{'ours':>12}   ratio (lowest to highest)"]
    for name, found in parts.get("index", {}).items():
        share = found["share_of_backbone"]["median"]
        lines.append(
            f"{f'index, {name}':38}{found['plain_per_s']:>10.1f}/s{found['ours_per_s']:>10.1f}/s"
            f"   {_ratio(found)}, {share:.0%} of the backbone alone"
        )
    for n_labels, found in parts.get("round", {}).items():
        scaled = f", {found['epochs_timed']} epochs scaled" if found["is_scaled"] else ""
        lines.append(f"{f'faithful round, {n_labels} labels{scaled}':38}{_seconds(found)}")
    if "linear" in parts:
        n_labels = parts["linear"]["n_labels"]
        lines.append(f"{f'linear round, {n_labels} labels':38}{_seconds(parts['linear'])}")
    if "first" in parts:
        wait, n = parts["first"]["seconds"], parts["first"]["n_patches"]
        lines.append(
            f"{f'first patches of a slide of {n:,}':38}{'':12}{wait['median']:>10.2f} s"
            f"   ({wait['low']:.2f} to {wait['high']:.2f})"
        )
    return lines


def _seconds(found: dict[str, Any]) -> str:
    plain, ours = (float(np.median(found[key])) for key in ("plain_s", "ours_s"))
    return f"{plain:>10.3f} s{ours:>10.3f} s   {_ratio(found)}"


def _ratio(found: dict[str, Any]) -> str:
    ratio = found["ratio"]
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
