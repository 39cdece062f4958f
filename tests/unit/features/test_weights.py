"""Where weights come from, and what is refused as weights."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slideloop.errors import OutputError, WeightsError
from slideloop.features.encoders import Encoder, load_encoder
from slideloop.features.normalisation import IMAGENET
from slideloop.features.weights import fetch_imagenet, load_weights, put_in_place

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A SqueezeNet that is not the seeded one, with its classifier."""
    torch.manual_seed(11)
    return torchvision.models.get_model("squeezenet1_1", weights=None).state_dict()


def load(spec: Path | str) -> tuple[State | None, Any]:
    return load_weights(str(spec), imagenet_url="http://127.0.0.1:9/none.pth", network="any")


def embed(encoder: Encoder) -> np.ndarray:
    patches = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)
    return encoder.features(patches, IMAGENET)[1]


def test_a_file_without_the_classifier_gives_the_same_network(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "whole.pth")
    cut = {name: t for name, t in state.items() if not name.startswith("classifier.")}
    torch.save(cut, tmp_path / "cut.pth")
    whole = load_encoder("squeezenet1_1", str(tmp_path / "whole.pth"), "cpu", "fp32")
    part = load_encoder("squeezenet1_1", str(tmp_path / "cut.pth"), "cpu", "fp32")
    assert np.array_equal(embed(whole), embed(part))
    assert whole.weights.sha256 != part.weights.sha256


def test_a_classifier_of_another_size_does_not_matter(tmp_path: Path) -> None:
    net = torchvision.models.get_model("resnet18", weights=None, num_classes=9)
    torch.save(net.state_dict(), tmp_path / "nine.pth")
    assert (
        load_encoder("resnet18", str(tmp_path / "nine.pth"), "cpu", "fp32").weights.kind == "custom"
    )


def test_a_float16_file_is_read_as_its_rounded_values(tmp_path: Path, state: State) -> None:
    torch.save({name: t.half() for name, t in state.items()}, tmp_path / "half.pth")
    torch.save({name: t.half().float() for name, t in state.items()}, tmp_path / "rounded.pth")
    half = load_encoder("squeezenet1_1", str(tmp_path / "half.pth"), "cpu", "fp32")
    rounded = load_encoder("squeezenet1_1", str(tmp_path / "rounded.pth"), "cpu", "fp32")
    assert next(half.new_head().parameters()).dtype == torch.float32
    assert np.array_equal(embed(half), embed(rounded))


def test_a_file_is_recorded_as_custom_with_its_name_and_checksum(
    tmp_path: Path, state: State
) -> None:
    path = tmp_path / "mine.pth"
    torch.save(state, path)
    _, record = load(path)
    assert record.kind == "custom"
    assert record.name == "mine.pth"
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert str(record).startswith("custom (mine.pth")


def test_the_weights_of_another_network_are_refused_by_name(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "squeeze.pth")
    with pytest.raises(WeightsError, match=r"squeeze\.pth belong to another network than resnet18"):
        load_encoder("resnet18", str(tmp_path / "squeeze.pth"), "cpu", "fp32")


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_a_file_must_fit_the_network_in_every_tensor(
    tmp_path: Path, state: State, change: str
) -> None:
    changed = dict(state)
    name = "features.0.weight"
    if change == "missing":
        del changed[name]
    elif change == "extra":
        changed["features.99.weight"] = torch.zeros(1)
    else:
        changed[name] = changed[name][:, :1]
    torch.save(changed, tmp_path / "odd.pth")
    with pytest.raises(WeightsError, match="belong to another network") as caught:
        load_encoder("squeezenet1_1", str(tmp_path / "odd.pth"), "cpu", "fp32")
    assert ("features.99.weight" if change == "extra" else name) in caught.value.message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(
    tmp_path: Path, state: State, value: float
) -> None:
    changed = {name: t.clone() for name, t in state.items()}
    changed["features.3.squeeze.weight"][0, 0] = value
    torch.save(changed, tmp_path / "nan.pth")
    with pytest.raises(WeightsError, match="not finite"):
        load_encoder("squeezenet1_1", str(tmp_path / "nan.pth"), "cpu", "fp32")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"No weights file at .*gone\.pth"):
        load(tmp_path / "gone.pth")


def test_a_folder_is_no_weights_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No weights file"):
        load(tmp_path)


class _WritesOnUnpickling:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
@pytest.mark.parametrize("is_hidden", [True, False])
def test_a_malicious_pickle_is_refused_and_not_executed(
    tmp_path: Path, write: Callable[[Any, Path], Any], is_hidden: bool
) -> None:
    trap = _WritesOnUnpickling(tmp_path / "executed")
    write({"features.0.weight": torch.zeros(2), "x": trap} if is_hidden else trap, tmp_path / "bad")
    with pytest.raises(WeightsError, match="weights only"):
        load(tmp_path / "bad")
    assert not (tmp_path / "executed").exists()


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def zip_of(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


NO_STATE_DICTS = {
    "empty": b"",
    "text": b"these are no weights\n",
    "zeros": bytes(1000),
    "pickled list": pickle.dumps([1, 2]),
    "cut pickle": pickle.dumps({"a": list(range(99))})[:40],
    "tensor": saved(torch.zeros(3)),
    "checkpoint": saved({"epoch": 3, "model": {"a": torch.zeros(2)}}),
    "no entries": saved({}),
    "numbers as names": saved({1: torch.zeros(2)}),
    "cut file": saved({"a": torch.zeros(999)})[:700],
    "other archive": zip_of("readme.txt", b"hello"),
    "archive with a broken pickle": zip_of("archive/data.pkl", b"\x80\x02}q\x00(X"),
    "picture": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR",
    "stack underflow": b"\x80\x02s.",
    "no memo": b"\x80\x02h\x07.",
}


@pytest.mark.parametrize("content", NO_STATE_DICTS.values(), ids=NO_STATE_DICTS.keys())
def test_what_is_no_state_dict_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"^weights\.pth is not a state dict") as caught:
        load(path)
    assert "\n" not in caught.value.message
    assert "torch.save" in caught.value.hint


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_byte_changed_anywhere_is_refused_or_harmless(
    tmp_path: Path, position: int, value: int
) -> None:
    data = bytearray(saved({"a": torch.zeros(3), "b": torch.ones(2, 2)}))
    data[position % len(data)] = value
    (tmp_path / "flipped.pth").write_bytes(data)
    try:
        state, _ = load(tmp_path / "flipped.pth")
    except WeightsError:
        return
    assert state is not None
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_bytes_after_a_pickles_first_two_are_refused(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "random.pth").write_bytes(b"\x80\x02" + tail)
    with pytest.raises(WeightsError):
        load(tmp_path / "random.pth")


# Random --------------------------------------------------------------------------------------


def test_random_weights_are_seeded_and_shown_as_random() -> None:
    torch.manual_seed(1)
    first = load_encoder("squeezenet1_1", "random", "cpu", "fp32")
    torch.manual_seed(2)
    second = load_encoder("squeezenet1_1", "random", "cpu", "fp32")
    assert np.array_equal(embed(first), embed(second))
    assert first.weights == second.weights
    assert first.weights.kind == "random"


def test_random_weights_of_two_networks_are_recorded_differently() -> None:
    records = [load_weights("random", imagenet_url="", network=n)[1] for n in ("a", "b")]
    assert records[0].sha256 != records[1].sha256


def test_loading_random_weights_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    load_encoder("squeezenet1_1", "random", "cpu", "fp32")
    assert torch.equal(torch.rand(2), expected)


# ImageNet ------------------------------------------------------------------------------------


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's; returns where weights lie in it."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that a server on this machine publishes, and its address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def published(folder: Path, state: State) -> str:
    """Write a file whose name states its checksum, as torchvision's do; return the name."""
    data = saved(state)
    name = f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(data)
    return name


def test_without_a_network_the_way_out_is_said(torch_home: Path) -> None:
    url = "http://127.0.0.1:9/resnet18-f37072fd.pth"
    with pytest.raises(WeightsError, match="cannot be downloaded") as caught:
        fetch_imagenet(url)
    assert url in caught.value.hint
    assert "slideloop weights FILE" in caught.value.hint
    assert "--weights FILE" in caught.value.hint and "--weights random" in caught.value.hint
    assert list(torch_home.iterdir()) == []


def test_a_cached_file_with_another_checksum_is_refused(torch_home: Path) -> None:
    path = torch_home / "resnet18-f37072fd.pth"
    path.write_bytes(saved({"a": torch.zeros(2)}))
    with pytest.raises(WeightsError, match="SHA-256 differs") as caught:
        load_encoder("resnet18", "imagenet", "cpu", "fp32")
    assert str(path) in caught.value.message
    assert "Delete it" in caught.value.hint


def test_a_cached_file_is_used_without_a_network(torch_home: Path) -> None:
    name = published(torch_home, {"a": torch.ones(2)})
    state, record = load_weights(
        "imagenet", imagenet_url=f"http://127.0.0.1:9/{name}", network="any"
    )
    assert state is not None and state["a"].tolist() == [1, 1]
    assert (record.kind, record.name) == ("imagenet", name)


def test_a_missing_file_is_fetched_and_kept(torch_home: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    name = published(folder, {"a": torch.ones(2)})
    assert fetch_imagenet(f"{address}/{name}") == torch_home / name
    assert (torch_home / name).read_bytes() == (folder / name).read_bytes()


def test_a_download_with_another_checksum_is_refused_and_not_kept(
    torch_home: Path, served: tuple[Path, str]
) -> None:
    folder, address = served
    (folder / "net-00000000.pth").write_bytes(saved({"a": torch.ones(2)}))
    with pytest.raises(WeightsError, match=r"net-00000000\.pth"):
        fetch_imagenet(f"{address}/net-00000000.pth")
    assert list(torch_home.iterdir()) == []


def test_weights_that_were_brought_by_hand_are_told_by_their_content(tmp_path: Path) -> None:
    file, place = tmp_path / "download (1)", tmp_path / "cache" / "checkpoints"
    file.write_bytes(b"weights")
    mark = hashlib.sha256(b"weights").hexdigest()[:8]
    names = ["other-00000000.pth", f"net-{mark}.pth"]
    target = put_in_place(file, names, lambda name: place / name)
    assert target == place / f"net-{mark}.pth"
    assert target.read_bytes() == b"weights"
    file.write_bytes(b"weigh")
    with pytest.raises(WeightsError, match=r"none of net-.*, other-0{8}\.pth"):
        put_in_place(file, names, lambda name: place / name)
    assert [path.name for path in place.iterdir()] == [target.name]
    with pytest.raises(WeightsError, match="cannot be read"):
        put_in_place(tmp_path / "none", names, lambda name: place / name)


def test_weights_that_cannot_be_put_in_place_are_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"weights")
    mark = hashlib.sha256(b"weights").hexdigest()[:8]
    with pytest.raises(OutputError):
        put_in_place(file, [f"net-{mark}.pth"], lambda name: file / "below" / name)
