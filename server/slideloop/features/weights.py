"""Pretrained weights: torchvision's ImageNet file, a file of the user's, or seeded random ones.

Owns where weights come from and what is recorded of them; knows nothing of how a network is cut.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import warnings
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slideloop.errors import WeightsError
from slideloop.files import unwritable, whole_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import torch

RANDOM_SEED = 0
"""Seed of `--weights random`: one network for all studies, so that stores can be shared."""

DOWNLOAD_TIMEOUT_S = 20.0

# SHA-256 of torchvision's published file where it is known in full; elsewhere torchvision's own
# check applies, the first eight digits in the file's name.
IMAGENET_SHA256 = {
    "resnet18-f37072fd.pth": "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
}


@dataclass(frozen=True)
class Weights:
    """What is recorded of the weights that made features.

    Attributes
    ----------
    kind : {"imagenet", "custom", "random"}
        Shown wherever results are shown.
    name : str
        File name, or "seed 0".
    sha256 : str
        Of the file's bytes; of the name of network and seed for random weights.
    """

    kind: str
    name: str
    sha256: str

    def as_dict(self) -> dict[str, str]:
        """Return the fields as a JSON-ready mapping."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.kind} ({self.name}, {self.sha256[:12]})"


def load_weights(
    spec: str, *, imagenet_url: str, network: str
) -> tuple[dict[str, torch.Tensor] | None, Weights]:
    """Read weights as asked for on the command line.

    Parameters
    ----------
    spec : str
        "imagenet", "random" or the path of a state dict (float16 or float32).
    imagenet_url : str
        Where torchvision publishes the network's ImageNet file.
    network : str
        Name of the network, recorded with random weights.

    Returns
    -------
    state : dict of str to Tensor, or None
        None for "random": the caller initialises the network with `RANDOM_SEED`.
    weights : Weights
        What to record.

    Raises
    ------
    WeightsError
        If the file is missing, is no state dict, has the wrong checksum or cannot be fetched.
    """
    if spec == "random":
        name = f"seed {RANDOM_SEED}"
        return None, Weights("random", name, _sha256(f"{network} {name}".encode()))
    if spec == "imagenet":
        path = fetch_imagenet(imagenet_url)
        return _read_state(path), Weights("imagenet", path.name, _file_sha256(path))
    path = Path(spec).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"No weights file at {spec}.",
            hint="Give the path of a state dict, or --weights imagenet, or --weights random.",
        )
    return _read_state(path), Weights("custom", path.name, _file_sha256(path))


def fetch_imagenet(url: str) -> Path:
    """Find torchvision's ImageNet file in its cache, or download it there; check its SHA-256.

    Raises
    ------
    WeightsError
        If it cannot be fetched, or is not the published file.
    """
    import torch

    name = url.rsplit("/", 1)[1]
    expected = published_sha256(name)
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _socket_timeout(DOWNLOAD_TIMEOUT_S):
                torch.hub.download_url_to_file(url, str(path), hash_prefix=expected, progress=False)
        except (OSError, RuntimeError) as err:
            raise WeightsError(
                f"The ImageNet weights {name} are not in the cache and cannot be downloaded "
                f"({err}).",
                hint=f"On a connected machine fetch {url}, and put it in place here by "
                "`slideloop weights FILE`; or give a state dict with --weights FILE; or, for a "
                "trial only, --weights random.",
            ) from err
    if not _file_sha256(path).startswith(expected):
        raise WeightsError(
            f"{path} is not the file that torchvision publishes: its SHA-256 differs.",
            hint="Delete it, so that it is fetched again.",
        )
    return path


def published_sha256(name: str) -> str:
    """Return the SHA-256 of a file of torchvision's, or as much of it as its name says."""
    return IMAGENET_SHA256.get(name, name.removesuffix(".pth").rsplit("-", 1)[1])


def put_in_place(file: Path, names: Iterable[str], place: Callable[[str], Path]) -> Path:
    """Copy ImageNet weights that were brought by hand to where they are looked for.

    Parameters
    ----------
    file : Path
        Whatever it is called; its content tells which it is.
    names : iterable of str
        Files that torchvision publishes.
    place : callable
        Where one of them is looked for.

    Returns
    -------
    Path
        Where it is now.

    Raises
    ------
    WeightsError
        If it cannot be read, or is none of them.
    OutputError
        If it cannot be written there.
    """
    known = sorted(set(names))
    try:
        digest = _file_sha256(file)
    except OSError as err:
        raise WeightsError(
            f"{file} cannot be read: {err.strerror or err}.", hint="Give the file that was brought."
        ) from err
    name = next((each for each in known if digest.startswith(published_sha256(each))), None)
    if name is None:
        raise WeightsError(
            f"{file.name} is none of {', '.join(known)}: its SHA-256 begins with {digest[:8]}.",
            hint="Fetch it again, its download may have been cut off. A state dict of your own is "
            "given with --weights FILE.",
        )
    target = place(name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise unwritable(target, err) from err
    with whole_file(target) as path:
        shutil.copyfile(file, path)
    return target


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict as weights only, never as code."""
    import torch

    reason = "it holds something else"
    state: Any = None
    try:
        with warnings.catch_warnings():
            # Of foreign pickles torch warns before it refuses them; one sentence will do.
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as err:
        reason = str(err).strip().split("\n")[0][:160]
    except Exception as err:  # a broken pickle makes the unpickler stumble in any way
        reason = f"it is damaged or holds something else: {type(err).__name__}"
    if not isinstance(state, dict) or not state or not _is_state_dict(state):
        raise WeightsError(
            f"{path.name} is not a state dict of tensors that can be read as weights only "
            f"({reason}).",
            hint="Save one with torch.save(model.state_dict(), FILE).",
        )
    return {name: tensor.float() for name, tensor in state.items()}


def _is_state_dict(state: dict[Any, Any]) -> bool:
    import torch

    return all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items())


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Limit how long torch's downloader may wait, which takes no time limit itself."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
