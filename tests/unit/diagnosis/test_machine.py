"""What the doctor says of device, weights, workspace and disk."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
import torchvision

from slideloop.diagnosis import machine
from slideloop.diagnosis.encoders import DOWNLOADS, FACTS, cached_file
from slideloop.diagnosis.finding import size
from slideloop.diagnosis.machine import check_device, check_weights, nvidia_card, torch_build
from slideloop.diagnosis.workspace import TYPICAL_PATCHES, check_disk, check_workspace
from slideloop.features.encoders import ENCODERS, choose_device
from slideloop.features.weights import IMAGENET_SHA256
from slideloop.settings import load_settings

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """A folder in which the driver lists one card."""
    folder = tmp_path / "gpus" / "0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t 105\n")
    return folder.parent


def free_bytes(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**13, 0, int(free)))


def test_what_is_known_of_encoders_without_torch_is_what_torch_knows():
    assert FACTS.keys() == ENCODERS.keys()
    for name, facts in FACTS.items():
        architecture = ENCODERS[name]
        weights = torchvision.models.get_model_weights(architecture.network)["IMAGENET1K_V1"]
        assert weights.url == f"{DOWNLOADS}/{facts.file}"
        channels, height, width = architecture.feature_shape
        assert facts.patch_bytes("pooled") == 2 * channels
        assert facts.patch_bytes("full") == 2 * channels * (height * width + 1)


@pytest.mark.parametrize("variable", ["TORCH_HOME", "XDG_CACHE_HOME", None])
def test_the_weights_cache_is_torchs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str | None
):
    monkeypatch.delenv("TORCH_HOME", raising=False)
    if variable:
        monkeypatch.setenv(variable, str(tmp_path))
    assert cached_file("a.pth") == Path(torch.hub.get_dir()) / "checkpoints" / "a.pth"


def test_torch_is_described_without_loading_it():
    assert torch_build() == (True, torch.version.cuda)


def test_the_device_named_is_the_one_that_auto_takes():
    finding = check_device("auto")
    assert finding.state in {"ok", "warning"}
    assert finding.found.startswith(choose_device("auto").type)


def test_a_card_that_the_driver_lists_is_named(card: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "torch_build", lambda: (True, "12.4"))
    assert nvidia_card(card) == "NVIDIA H100 80GB HBM3"
    finding = check_device("auto", card)
    assert (finding.state, finding.found) == ("ok", "cuda (NVIDIA H100 80GB HBM3).")


def test_a_card_that_torch_cannot_use_is_a_warning(card: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "torch_build", lambda: (True, None))
    finding = check_device("auto", card)
    assert finding.state == "warning"
    assert "built without CUDA" in finding.found
    assert check_device("cuda", card).state == "problem"
    assert check_device("cpu", card).state == "ok"


def test_a_device_that_is_not_there_is_a_problem(tmp_path: Path):
    finding = check_device("cuda", tmp_path / "no-driver")
    assert (finding.state, finding.todo) == ("problem", "Use --device auto.")


def test_random_weights_are_a_warning():
    assert check_weights(load_settings(weights="random")).state == "warning"


def test_weights_of_an_encoder_that_is_not_known_are_a_problem():
    finding = check_weights(load_settings(encoder="vgg"))
    assert (finding.state, finding.todo) == ("problem", f"Known encoders: {', '.join(FACTS)}.")


def test_a_file_of_weights_is_shown_with_its_hash(tmp_path: Path):
    path = tmp_path / "mine.pth"
    path.write_bytes(b"weights")
    finding = check_weights(load_settings(weights=str(path)))
    assert finding.state == "ok"
    assert hashlib.sha256(b"weights").hexdigest()[:12] in finding.found
    assert check_weights(load_settings(weights=str(tmp_path / "none.pth"))).state == "problem"


@pytest.mark.parametrize("encoder", ["resnet18", "squeezenet1_1"])
def test_the_cached_file_is_checked_against_the_published_hash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, encoder: str
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    settings = load_settings(encoder=encoder)
    missing = check_weights(settings)
    assert missing.state == "warning"
    path = cached_file(FACTS[encoder].file)
    assert f"{DOWNLOADS}/{path.name}" in missing.todo
    assert "slideloop weights FILE" in missing.todo

    path.parent.mkdir(parents=True)
    path.write_bytes(b"a page of a proxy's, saved as weights")
    assert check_weights(settings).state == "problem"

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(IMAGENET_SHA256, path.name, digest)
    assert check_weights(settings).state == "ok"


def test_a_workspace_that_is_not_there_yet_is_not_made(tmp_path: Path):
    finding = check_workspace(tmp_path / "a" / "b")
    assert finding.state == "ok"
    assert "made when needed" in finding.found
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_workspace_is_a_problem(tmp_path: Path):
    (tmp_path / "a").touch()
    assert check_workspace(tmp_path / "a").state == "problem"
    assert check_workspace(tmp_path / "a" / "b").state == "problem"


def test_a_link_that_leads_nowhere_is_a_problem(tmp_path: Path):
    (tmp_path / "a").symlink_to(tmp_path / "gone")
    assert check_workspace(tmp_path / "a").state == "problem"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_workspace_that_may_not_be_written_is_a_problem(tmp_path: Path):
    tmp_path.chmod(0o500)
    assert check_workspace(tmp_path / "a").state == "problem"
    tmp_path.chmod(0o700)


def test_a_workspace_with_a_damaged_database_is_a_problem(tmp_path: Path):
    (tmp_path / "slideloop.db").write_bytes(b"no database at all" * 1000)
    assert check_workspace(tmp_path).state == "problem"


def test_a_disk_with_room_for_a_slide_is_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    free_bytes(monkeypatch, 50e9)
    finding = check_disk(tmp_path / "not" / "there", load_settings(), None)
    assert finding.state == "ok"
    need = TYPICAL_PATCHES * FACTS["resnet18"].patch_bytes("full")
    assert f"about {size(need)}" in finding.found


def test_a_disk_without_room_for_the_slide_is_a_warning_with_both_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    free_bytes(monkeypatch, 1e9)
    full = check_disk(tmp_path, load_settings(), 100_000)
    assert full.state == "warning"
    assert "1.0 GB are free" in full.found
    assert "up to 5.1 GB" in full.found
    assert "--store pooled" in full.todo
    assert check_disk(tmp_path, load_settings(store="pooled"), 100_000).state == "ok"


def test_a_full_disk_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    free_bytes(monkeypatch, 5e7)
    assert check_disk(tmp_path, load_settings(), 10).state == "problem"


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (51.2e6, "51.2 MB"), (3.2e15, "3200.0 TB")],
)
def test_sizes_are_said_with_a_unit(n_bytes: float, text: str):
    assert size(n_bytes) == text
