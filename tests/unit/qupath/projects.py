"""Projects as QuPath leaves them, as far as their own files go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slideloop.qupath.project_file import CLASSES, DATA, ProjectFile, read_project

WHOLE = b"\xac\xed\x00\x05 objects t\x00\x03EOF"
"""As a data file begins and ends."""


def entry(id_: int, name: str, uri: str | None = None, **more: Any) -> dict[str, Any]:
    """One image of a project; its file is called as it is."""
    builder = {
        "builderType": "uri",
        "uri": uri or f"file:/slides/{name}",
        "args": [],
        "metadata": {"width": 1536, "height": 1024, "isRGB": True},
    }
    return {"serverBuilder": builder, "entryID": id_, "imageName": name, "metadata": {}, **more}


def write_project(
    folder: Path, *entries: dict[str, Any], version: str | None = "0.6.0"
) -> ProjectFile:
    """Write a project, each image with a whole data file, and read it."""
    folder.mkdir(exist_ok=True)
    content = {"version": version, "uri": "file:/elsewhere", "images": list(entries)}
    (folder / "project.qpproj").write_text(json.dumps(content), "utf-8")
    (folder / CLASSES).parent.mkdir(exist_ok=True)
    classes = [{"name": "Tumor", "color": -1}, {"names": ["Tumor", "In situ"], "color": -2}]
    (folder / CLASSES).write_text(json.dumps({"pathClasses": classes}), "utf-8")
    for each in entries:
        data = folder / "data" / str(each["entryID"]) / DATA
        data.parent.mkdir(parents=True, exist_ok=True)
        data.write_bytes(WHOLE)
    return read_project(folder)
