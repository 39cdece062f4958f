"""Where features and models are made: what replay compares (algorithm.md 8).

Owns the names of what the bits depend on.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from slideloop import __version__

if TYPE_CHECKING:
    from slideloop.features.encoders import Encoder

_MACHINE = ("device", "dtype", "head_dtype", "int8", "n_threads", "torch", "capability")


def environment(encoder: Encoder, normalisation: Any) -> dict[str, Any]:
    """Return what a study records: network, normalisation, device, threads, versions.

    Parameters
    ----------
    encoder : Encoder
    normalisation : list
        Means and standard deviations, as a store's identity has them.
    """
    import torch

    return {
        "slideloop": __version__,
        "encoder": encoder.architecture.name,
        "weights": encoder.weights.as_dict(),
        "normalisation": normalisation,
        "device": encoder.device.type,
        "dtype": encoder.precision,
        "head_dtype": encoder.head_precision,
        **encoder.makers,
        "n_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit_learn": version("scikit-learn"),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "n_cores": os.cpu_count(),
    }


def machine_of(environment: dict[str, Any]) -> dict[str, Any]:
    """Return the part that each round and training records."""
    return {name: environment[name] for name in _MACHINE if name in environment}
