"""All checks in their order: the server first, since much depends on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slideloop.diagnosis.finding import Finding
from slideloop.diagnosis.machine import check_device, check_weights
from slideloop.diagnosis.project import check_project, check_qupath
from slideloop.diagnosis.server import Server, ask_server, printable, token_file_findings
from slideloop.diagnosis.slide import check_slide_file
from slideloop.diagnosis.workspace import check_disk, check_workspace

if TYPE_CHECKING:
    from slideloop.settings import Settings


def examine(
    settings: Settings, url: str, slide: Path | None, project: Path | None
) -> list[Finding]:
    """Look at everything; under a second if the server is down and no slide is to be opened.

    Parameters
    ----------
    settings : Settings
    url : str
        Of the server. Of one on another machine, workspace, disk, device and weights are not
        looked at, since this machine's say nothing of them.
    slide : Path or None
    project : Path or None
        A .qpproj file or its folder.

    Raises
    ------
    InvalidInputError
        If `url` is none.
    """
    server = ask_server(url, settings.workspace)
    findings = [*server.findings]
    looked_at = check_slide_file(slide, settings, server) if slide is not None else None
    if server.is_here:
        findings += _of_this_machine(settings, server, looked_at.n_patches if looked_at else None)
    elif server.info is not None:
        findings.append(_device_of(server))
    findings.append(check_qupath())
    if looked_at is not None:
        findings += looked_at.findings
    if project is not None:
        findings.append(check_project(project))
    return findings


def _of_this_machine(settings: Settings, server: Server, n_patches: int | None) -> list[Finding]:
    answers = server.info is not None
    return [
        *token_file_findings(settings.workspace),
        check_workspace(settings.workspace),
        check_disk(settings.workspace, settings, n_patches),
        _device_of(server) if answers else check_device(settings.device),
        check_weights(settings),
    ]


def _device_of(server: Server) -> Finding:
    device = printable((server.info or {}).get("device"))
    return Finding("device", "ok", f"{device}, says the server.")
