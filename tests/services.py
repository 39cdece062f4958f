"""Settings of services that tests open: the quickest of the real encoders, small patches."""

from __future__ import annotations

from pathlib import Path

from slideloop.settings import Settings, load_settings


def quick_settings(workspace: Path) -> Settings:
    """What `command_line.QUICK` says, for a service in this process."""
    return load_settings(
        workspace=workspace, weights="random", encoder="squeezenet1_1", patch=96, device="cpu"
    )
