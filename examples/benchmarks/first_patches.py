"""How long a pathologist waits for the first patches of a slide that the server has never seen.

Owns one run over HTTP on a new workspace; `bench.py` repeats it.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from slideloop.cli.served import ServerProcess
from slideloop.evaluation.client import Client
from slideloop.evaluation.generated import TUMOUR, Scene

PATCH = 256
CLASSES = ("Tumor", "Normal")
MOSTLY = 0.9
"""Share of the query's rectangle that is tumour."""


def first_patches(
    slide: Path, scene: Scene, small: Path, small_scene: Scene, folder: Path, options: list[str]
) -> dict[str, float]:
    """Start a server, play a round on the small slide, then open the other one and wait.

    Parameters
    ----------
    slide, small : Path
        Generated slides, both below one folder.
    scene, small_scene : Scene
        What they show.
    folder : Path
        Of the new workspace and the server's log.
    options : list of str
        Of `slideloop serve`.

    Returns
    -------
    dict
        Seconds from the first request on until the slide is open (`opened_s`), the query is
        accepted (`queried_s`) and the patches are there (`first_s`).
    """
    places = ["--workspace", str(folder / "workspace")]
    places += ["--slides-root", str(slide.parent), "--slides-root", str(small.parent)]
    folder.mkdir(parents=True)
    with ServerProcess([*places, *options], folder / "server.log") as server:
        client = Client(server.url())
        _play_a_round(client, small, small_scene)
        query = _rectangle_of_tumour(scene)
        begun = time.perf_counter()
        opened = client.request("POST", "/slides", {"path": str(slide)})
        opened_s = time.perf_counter() - begun
        study = _begin(client, opened["slide"]["id"], query)
        queried_s = time.perf_counter() - begun
        _patches(client.round(study))
        return {
            "first_s": time.perf_counter() - begun,
            "opened_s": opened_s,
            "queried_s": queried_s,
        }


def _play_a_round(client: Client, slide: Path, scene: Scene) -> None:
    opened = client.request("POST", "/slides", {"path": str(slide)})
    if opened.get("job"):
        client.finished(opened["job"])
    study = _begin(client, opened["slide"]["id"], _rectangle_of_tumour(scene))
    shown = client.round(study)
    for number, patch in enumerate(_patches(shown)):
        body = {"round_id": shown["round_id"], "label": CLASSES[number % 2]}
        client.request("PUT", f"/studies/{study}/labels/{patch['id']}", body)
    _patches(client.round(study))


def _begin(client: Client, slide: str, rectangle: dict[str, int]) -> str:
    fields = {"slides": [slide], "mode": "classes", "classes": CLASSES}
    study = client.request("POST", "/studies", fields)["id"]
    query = {"slide": slide, "label": CLASSES[0], **rectangle}
    client.request("POST", f"/studies/{study}/queries", query)
    return study


def _patches(shown: dict[str, Any]) -> list[dict[str, Any]]:
    if shown["state"] != "labelling":
        raise RuntimeError(f"The server shows no patches, its round is {shown['state']}.")
    return shown["patches"]


def _rectangle_of_tumour(scene: Scene) -> dict[str, int]:
    places = [
        (x, y)
        for x in range(0, scene.width - PATCH + 1, PATCH)
        for y in range(0, scene.height - PATCH + 1, PATCH)
    ]
    for x, y in random.Random(0).sample(places, len(places)):
        if np.mean(scene.tissue(x, y, PATCH, PATCH) == TUMOUR) >= MOSTLY:
            return {"x": x, "y": y, "width": PATCH, "height": PATCH}
    raise RuntimeError("The slide shows no tumour.")
