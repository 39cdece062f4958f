"""A whole study over HTTP in plain Python: the standard library and nothing else.

    .venv/bin/python examples/make_slide.py my-slide
    .venv/bin/slideloop serve --slides-root my-slide &
    python3 examples/client.py my-slide/slide.tif my-slide/truth.geojson

The expert is simulated: it answers from the truth, QuPath annotations of which some are "Tumor".
Everything else is what any client does. The API in full: http://127.0.0.1:8765/api/v1/docs
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
import uuid
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

CLASSES = ["Tumor", "Other"]
SESSIONS, ROUNDS, K = 3, 3, 5


class Server:
    """Requests to a slideloop server."""

    def __init__(self, url: str, token: str | None) -> None:
        self.api = url.rstrip("/") + "/api/v1"
        self.headers = {"Content-Type": "application/json"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"
        self.opener = build_opener(ProxyHandler({}))  # no proxy between us and this machine

    def bytes(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        """Send a request until it is answered, and return the answer.

        A lost connection leaves open whether the request arrived. So it is sent again as it was:
        by its `event_id` the server knows that it is the same one, and does it only once.
        """
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.api + path, data, self.headers, method=method)
        for _ in range(10):
            try:
                with self.opener.open(request, timeout=90) as answer:
                    return answer.read()
            except HTTPError as error:
                problem = json.load(error)  # code, detail, hint, and whether to try again
                if not problem["retry"]:
                    sys.exit(f"{problem['code']}: {problem['detail']} {problem['hint']}")
                time.sleep(float(error.headers.get("Retry-After", 1)))
            except OSError:
                time.sleep(1)
        sys.exit(f"The server at {self.api} does not answer.")

    def get(self, path: str) -> Any:
        """Ask; a GET never changes anything."""
        return json.loads(self.bytes("GET", path))

    def post(self, path: str, /, **body: Any) -> Any:
        """Change something."""
        return json.loads(self.bytes("POST", path, body))


def once(**fields: Any) -> dict[str, Any]:
    """Return the fields with an id by which the server knows the request again."""
    return {"event_id": str(uuid.uuid4()), **fields}


def rings_of_tumour(truth: Path) -> list[list[list[float]]]:
    """Read the outlines of what is annotated as Tumor, holes among them."""
    rings: list[list[list[float]]] = []
    for feature in json.loads(truth.read_text("utf-8"))["features"]:
        if feature["properties"]["classification"]["name"] == CLASSES[0]:
            shape = feature["geometry"]
            is_single = shape["type"] == "Polygon"
            for polygon in [shape["coordinates"]] if is_single else shape["coordinates"]:
                rings += polygon
    return rings


def is_tumour(rings: list[list[list[float]]], x: float, y: float) -> bool:
    """Count the outlines to the right of a point: an odd number means inside."""
    crossings = 0
    for ring in rings:
        for (x1, y1), (x2, y2) in pairwise(ring):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                crossings += 1
    return crossings % 2 == 1


def play(server: Server, slide_path: Path, truth: Path, out: Path) -> None:
    """Play some sessions and fetch the mask."""
    rings = rings_of_tumour(truth)

    # 1. Open the slide. Its index goes on behind the scenes, as a job. (A pathologist would begin
    #    at once: the first patches are there long before the index is complete.)
    opened = server.post("/slides", path=str(slide_path.resolve()))
    slide, job = opened["slide"], opened.get("job")
    while job and job["state"] in ("queued", "running"):
        job = server.get(f"/jobs/{job['id']}?wait=5")
        print(f"index: {job['progress']:.0%}")
    if job and job["state"] != "done":
        sys.exit(f"The index is {job['state']}: {job['error']}")

    # 2. Make a study: which slides, which classes, how many patches a round.
    body = once(name="example", slides=[slide["id"]], classes=CLASSES, rounds=ROUNDS, k=K)
    study = server.post("/studies", mode="classes", **body)["id"]

    chance = random.Random(0)
    side = slide["grid"]["patch_px0"]
    for session in range(1, SESSIONS + 1):
        # 3. The query: a rectangle that shows what is sought, level-0 pixels of the slide.
        while True:
            x, y = chance.uniform(0, slide["width"]), chance.uniform(0, slide["height"])
            if is_tumour(rings, x, y):
                break
        rectangle = {"x": x - side / 2, "y": y - side / 2, "width": side, "height": side}
        query = once(slide=slide["id"], label=CLASSES[0], **rectangle)
        server.post(f"/studies/{study}/queries", **query)
        while True:
            # 4. The round: `wait` answers as soon as the next patches are there.
            found = server.get(f"/studies/{study}/round?wait=30")
            if found["state"] in ("indexing", "training"):
                if found["notes"]:  # what holds it up
                    sys.exit(found["notes"][0]["text"])
                continue
            if found["state"] != "labelling":  # session_over, or exhausted: nothing left to show
                break
            # 5. One label a patch. After the round's last one, the server trains by itself.
            for patch in found["patches"]:
                x, y = patch["x"] + patch["width"] / 2, patch["y"] + patch["height"] / 2
                label = CLASSES[0] if is_tumour(rings, x, y) else CLASSES[1]
                body = once(label=label, round_id=found["round_id"], reader="example")
                server.bytes("PUT", f"/studies/{study}/labels/{patch['id']}", body)
            print(f"session {session}, round {found['round']}: {len(found['patches'])} labels")

    # 6. The mask: as objects for QuPath, and as the picture of the paper.
    for form, name in (("geojson", "mask.geojson"), ("png", "mask.png")):
        path = f"/studies/{study}/prediction?slide={slide['id']}&format={form}"
        (out / name).write_bytes(server.bytes("GET", path))
        print(out / name)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Play a study over HTTP.")
    parser.add_argument("slide", type=Path, help="below one of the server's --slides-root folders")
    parser.add_argument(
        "truth", type=Path, help="GeoJSON of QuPath annotations, some of them Tumor"
    )
    parser.add_argument("--server", default="http://127.0.0.1:8765", metavar="URL")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the mask")
    given = parser.parse_args()
    # A token, where the server wants one, is a secret: not for the command line, which others see.
    server = Server(given.server, os.environ.get("SLIDELOOP_TOKEN"))
    play(server, given.slide, given.truth, given.out)


if __name__ == "__main__":
    main()
