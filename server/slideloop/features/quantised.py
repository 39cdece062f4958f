"""A backbone in whole numbers of eight bits, by OpenVINO and NNCF (the extra `int8`).

Owns the quantisation, where its result is kept, and the running of it. The ranges of the
activations are measured on noise of many scales, normalised as patches are: so a quantised network
depends on network and weights alone, and not on whose slides came first.

Run as `python -m slideloop.features.quantised FLOAT INT8 BATCH SIDE`, it quantises: in a process of
its own, since NNCF prints what it does and replaces parts of torch.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from platformdirs import user_cache_path

from slideloop.errors import InvalidInputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

_SCALES_PX = (7, 14, 28, 56, 112, 224)
_GREY, _COLOUR = 0.6, 0.35
_DARKEST, _LIGHTEST = -3.0, 2.0
"""Of the noise: how much all channels share, and its range in standard deviations."""

_N_BATCHES = 12
_MODEL = "model.xml"
_TIMEOUT_S = 600

_log = logging.getLogger(__name__)


def quantised(
    backbone: nn.Module, name: str, batch: int, side: int
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a backbone in int8; made once, which takes some 10 s, and kept for the user.

    Parameters
    ----------
    backbone : Module
        In evaluation mode, float32, BatchNorm folded, on the processor.
    name : str
        Of network and weights.
    batch, side : int
        Patches per call, and their side in pixels: it takes no other shape.

    Returns
    -------
    callable
        Takes and gives float32 tensors as the backbone does; may be called by several threads.

    Raises
    ------
    InvalidInputError
        If OpenVINO and NNCF are not installed, or cannot quantise the network.
    """
    key = hashlib.sha256(f"1 {name} {makers()} {batch} {side}".encode()).hexdigest()[:32]
    folder = user_cache_path("slideloop", appauthor=False) / "int8" / key
    if not (folder / _MODEL).is_file():
        _make(backbone, folder, batch, side)
    return _running(folder / _MODEL)


def makers() -> str:
    """Return the versions of the libraries that quantise and run a network.

    Raises
    ------
    InvalidInputError
        If they are not installed.
    """
    try:
        return f"OpenVINO {version('openvino')}, NNCF {version('nncf')}"
    except PackageNotFoundError as err:
        raise InvalidInputError(
            "int8 needs OpenVINO and NNCF, which are not installed.",
            hint="Install them (`pip install 'slideloop[int8]'`), or choose another --precision.",
        ) from err


def calibration(batch: int, side: int) -> Iterator[NDArray[np.float32]]:
    """Yield batches of noise that has structure at all scales, as normalised tissue has.

    Parameters
    ----------
    batch, side : int

    Yields
    ------
    ndarray of float32, shape (batch, 3, side, side)
        Mean 0 and standard deviation 1 before it is cut off at -3 and 2; always the same ones.
    """
    import cv2

    rng = np.random.default_rng(0)
    for _ in range(_N_BATCHES):
        pictures = np.zeros((batch, 3, side, side), np.float32)
        for number, scale in itertools.product(range(batch), _SCALES_PX):
            grey = rng.standard_normal((scale, scale, 1), np.float32)
            colours = rng.standard_normal((scale, scale, 3), np.float32)
            noise = (_GREY * grey + _COLOUR * colours).astype(np.float32)
            pictures[number] += cv2.resize(noise, (side, side)).transpose(2, 0, 1)
        pictures -= pictures.mean((2, 3), keepdims=True)
        pictures /= pictures.std((2, 3), keepdims=True)
        yield pictures.clip(_DARKEST, _LIGHTEST)


def _make(backbone: nn.Module, folder: Path, batch: int, side: int) -> None:
    import openvino
    import torch

    _log.info("The network is quantised to int8; this is done once.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        plain, made = Path(unfinished) / "float.xml", Path(unfinished) / "made"
        with torch.inference_mode():
            exported = torch.export.export(backbone, (torch.zeros(batch, 3, side, side),))
            model: Any = openvino.convert_model(exported)
        openvino.save_model(model, plain, compress_to_fp16=False)
        made.mkdir()
        command = [sys.executable, "-P", "-m", "slideloop.features.quantised"]
        try:
            done = subprocess.run(
                [*command, str(plain), str(made / _MODEL), str(batch), str(side)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise InvalidInputError(
                f"NNCF had not quantised the network after {_TIMEOUT_S / 60:g} minutes.",
                hint="Try again when the machine has less to do, or choose another --precision.",
            ) from err
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise InvalidInputError(
                f"NNCF could not quantise the network: {last}", hint="Choose another --precision."
            )
        shutil.rmtree(folder, ignore_errors=True)
        made.replace(folder)


def _running(model: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    import openvino
    import torch

    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        # Others work beside it.
        "ENABLE_CPU_PINNING": False,
    }
    compiled: Any = openvino.Core().compile_model(model, "CPU", settings)
    kept = threading.local()

    def run(inputs: torch.Tensor) -> torch.Tensor:
        if not hasattr(kept, "request"):
            kept.request = compiled.create_infer_request()
        found = kept.request.infer([inputs.contiguous().numpy()], share_inputs=True)
        return torch.from_numpy(np.array(found[0]))

    return run


def _quantise(plain: Path, out: Path, batch: int, side: int) -> None:
    import nncf
    import openvino

    data: Any = nncf.Dataset(list(calibration(batch, side)))
    model = openvino.Core().read_model(plain)
    preset = nncf.QuantizationPreset.MIXED
    made: Any = nncf.quantize(model, data, preset=preset, subset_size=_N_BATCHES)
    openvino.save_model(made, out, compress_to_fp16=False)


if __name__ == "__main__":
    _quantise(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
