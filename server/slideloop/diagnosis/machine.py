"""What networks need: the device and the weights.

Looks at files only: a network is not loaded, nor is a device started, to say how things are.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from slideloop.diagnosis.encoders import DOWNLOADS, FACTS, cached_file
from slideloop.diagnosis.finding import Finding
from slideloop.features.weights import published_sha256

if TYPE_CHECKING:
    from slideloop.settings import Settings

_NVIDIA = Path("/proc/driver/nvidia/gpus")


def check_device(device: str, nvidia: Path = _NVIDIA) -> Finding:
    """Say what networks would run on, from the driver's and torch's files.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "mps"}
    nvidia : Path
        Where the driver lists its cards on Linux.
    """
    has_torch, cuda = torch_build()
    if not has_torch:
        return Finding("device", "problem", "PyTorch is not installed.", "Install slideloop again.")
    card = nvidia_card(nvidia)
    has_mps = sys.platform == "darwin" and platform.machine() == "arm64"
    there = {"cpu": True, "cuda": bool(card and cuda), "mps": has_mps}
    if device != "auto" and not there[device]:
        why = "PyTorch is built without CUDA" if card and device == "cuda" else "there is none"
        return Finding("device", "problem", f"--device {device}: {why}.", "Use --device auto.")
    name = device if device != "auto" else next(d for d in ("cuda", "mps", "cpu") if there[d])
    if name == "cpu" and device == "auto" and card:
        found = f"cpu, though there is {card}: PyTorch is built without CUDA."
        return Finding("device", "warning", found, "Install PyTorch for CUDA: pytorch.org.")
    return Finding("device", "ok", f"{name} ({card})." if name == "cuda" else f"{name}.")


def torch_build() -> tuple[bool, str | None]:
    """Tell, without importing it, whether torch is there and for which CUDA it was built."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False, None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return True, None
    match = re.search(r"^cuda\b[^=\n]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return True, match[1] if match else None


def nvidia_card(listed: Path = _NVIDIA) -> str | None:
    """Name a card that the NVIDIA driver has; None if there is no driver or no card."""
    if sys.platform == "win32":
        system = Path(os.environ.get("SYSTEMROOT", "C:/Windows")) / "System32"
        return "an NVIDIA card" if (system / "nvcuda.dll").exists() else None
    for information in sorted(listed.glob("*/information")):
        try:
            match = re.search(r"^Model:\s*(.+?)\s*$", information.read_text(), re.MULTILINE)
        except OSError:
            continue
        return match[1] if match else "an NVIDIA card"
    wsl = Path("/usr/lib/wsl/lib/libcuda.so.1")
    return "an NVIDIA card" if Path("/dev/dxg").exists() and wsl.exists() else None


def check_weights(settings: Settings) -> Finding:
    """Say whether the encoder's weights are there and are the published ones."""
    if settings.encoder not in FACTS:
        known = ", ".join(FACTS)
        found = f"There is no encoder {settings.encoder!r}."
        return Finding("weights", "problem", found, f"Known encoders: {known}.")
    if settings.weights == "random":
        found = "Random weights: features mean little, results are for trying things only."
        return Finding("weights", "warning", found, "Use --weights imagenet, or a file.")
    if settings.weights == "imagenet":
        return _check_imagenet(FACTS[settings.encoder].file)
    path = Path(settings.weights).expanduser()
    if not path.is_file():
        todo = "Give the path of a state dict, or --weights imagenet."
        return Finding("weights", "problem", f"No weights file at {path}.", todo)
    digest = _sha256(path)
    if digest is None:
        todo = "Ask for permission to read it."
        return Finding("weights", "problem", f"{path} cannot be read.", todo)
    return Finding("weights", "ok", f"{path}, SHA-256 {digest[:12]}...")


def _check_imagenet(name: str) -> Finding:
    path, url = cached_file(name), f"{DOWNLOADS}/{name}"
    if not path.exists():
        todo = f"Without a connection: fetch {url} elsewhere, then `slideloop weights FILE`."
        found = f"{name} is not in the cache; it is downloaded when first needed."
        return Finding("weights", "warning", found, todo)
    digest = _sha256(path)
    if digest is None or not digest.startswith(published_sha256(name)):
        found = f"{path} is not the file that torchvision publishes: its SHA-256 differs."
        return Finding("weights", "problem", found, "Delete it, so that it is fetched again.")
    return Finding("weights", "ok", f"{name} is in the cache, SHA-256 as published.")


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None
