"""Masks and corrections in our Groovy: the same ids, replace rule and patches as the server's."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import shapely
from tests.groovy.jvm import Groovy

from slideloop.masks.cells import CellMask
from slideloop.masks.geojson import marker, mask_features, object_id
from slideloop.slides.grid import Grid, make_grid
from slideloop.studies.areas import _covered_by

STUDY = "0b8d1c52-7a51-4a7b-9a25-0c2c6e1d9a11"
CLASSES = ("Tumor", "Gefäß: groß", "腫瘍")
SIDE = 96
GRID = make_grid(2000, 1500, None, SIDE)


class Masks:
    """A JVM that answers one command after the other."""

    def __init__(self, groovy: Groovy) -> None:
        self._child: subprocess.Popen[str] = groovy.start("masks")

    def __call__(self, command: str, **fields: Any) -> Any:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps({"command": command, **fields}) + "\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._child.communicate(timeout=30)


@pytest.fixture(scope="module")
def masks(groovy: Groovy) -> Iterator[Masks]:
    """The program, for all tests of one version of Groovy."""
    masks = Masks(groovy)
    yield masks
    masks.close()


def _mask(seed: int, stride: int = SIDE) -> CellMask:
    rng = np.random.default_rng(seed)
    label = rng.integers(-1, len(CLASSES), (15, 20)).astype(np.int16)
    probability = rng.random(label.shape).astype(np.float32)
    probability[label < 0] = np.nan
    return CellMask(label, probability, CLASSES, SIDE, stride, 20 * stride, 15 * stride)


def _collection(kind: Any = "detections", seed: int = 0, stride: int = SIDE) -> dict[str, Any]:
    return mask_features(_mask(seed, stride), STUDY, CLASSES, kind)


def _held(feature: dict[str, Any], **changes: Any) -> dict[str, Any]:
    name = feature["properties"]["classification"]
    class_name = name.get("name") or ": ".join(name["names"])
    found = {"id": feature["id"], "name": marker(STUDY), "class": class_name}
    return {**found, "geometry": feature["geometry"], **changes}


def _slide() -> dict[str, Any]:
    return {"id": "slide", "width": 2000, "height": 1500, "grid": asdict(GRID)}


def _areas() -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    areas: list[Any] = [shapely.Polygon(rng.uniform(-100, 2100, (5, 2))) for _ in range(20)]
    areas += [
        shapely.Point(*rng.uniform(0, 1500, 2)).buffer(rng.uniform(50, 600)) for _ in range(10)
    ]
    ring = shapely.box(200, 200, 1000, 1000) - shapely.box(400, 400, 700, 700)
    apart = shapely.box(0, 0, 144, 96) | shapely.box(960, 960, 1300, 1200)
    return [
        shapely.geometry.mapping(area) for area in [*areas, ring, apart, shapely.box(48, 0, 96, 96)]
    ]


def _patches(area: dict[str, Any], grid: Grid) -> list[int]:
    polygon: Any = shapely.geometry.shape(area)
    if not polygon.is_valid:
        polygon = shapely.make_valid(polygon, method="structure", keep_collapsed=False)
    return sorted(row * grid.n_columns + column for column, row in _covered_by(polygon, grid))


@pytest.mark.parametrize("kind", ["detections", "annotations", "tiles"])
@pytest.mark.parametrize("stride", [SIDE, 64, 111])
def test_an_objects_id_is_the_servers(masks: Masks, kind: str, stride: int) -> None:
    ids = masks("ids", study=STUDY, collection=_collection(kind, stride, stride))
    assert len(ids) > 50
    assert all(servers == ours for servers, ours in ids)


def test_vertices_are_rounded_sorted_and_counted_once_as_the_server_does(masks: Masks) -> None:
    points = [(10.5, 3.5), (11.5, -0.4), (-7.5, 2), (10.4, 4.49), (-7.5, 2), (1e6, 9), (9, 1e6)]
    x, y = zip(*points, strict=True)
    fields = {"class": "Gefäß: groß", "x": x, "y": y}
    server = object_id(STUDY, "Gefäß: groß", shapely.MultiPoint(points))
    assert masks("of", study=STUDY, **fields) == str(server)


@pytest.mark.parametrize(
    ("in_qupath", "in_study"),
    [
        ("Tumor: Invasive", "Tumor:Invasive"),
        ("Gefa\u0308ß", "Gefäß"),
        ("tumor", None),
        (None, None),
    ],
)
def test_a_class_is_known_however_quepath_writes_it(
    masks: Masks, in_qupath: str | None, in_study: str | None
) -> None:
    classes = ["Tumor:Invasive", "Gefäß", "Tumor"]
    assert masks("classOf", classes=classes, name=in_qupath) == in_study


def test_a_first_import_adds_all_and_removes_nothing(masks: Masks) -> None:
    collection = _collection()
    foreign = _held(collection["features"][0], name=None, id=str(uuid.uuid4()))
    plan = masks("plan", study=STUDY, held=[foreign], collection=collection, discard=False)
    assert not plan["replacing"] and plan["removed"] == []
    assert plan["added"] == [feature["id"] for feature in collection["features"]]
    assert plan["after"] == len(plan["added"]) + 1


def test_a_replacement_leaves_what_was_edited_and_what_is_not_ours(masks: Masks) -> None:
    old, new = _collection(seed=0)["features"], _collection(seed=1)
    moved = shapely.geometry.mapping(
        shapely.transform(shapely.geometry.shape(old[2]["geometry"]), lambda xy: xy + 5)
    )
    others = marker(str(uuid.uuid4()))
    held = [
        _held(old[0]),
        _held(old[1], **{"class": "腫瘍" if _held(old[1])["class"] != "腫瘍" else "Tumor"}),
        _held(old[2], geometry=moved),
        _held(old[3], **{"class": None}),
        _held(old[4], name=others),
        _held(old[5], name="mine"),
    ]
    plan = masks("plan", study=STUDY, held=held, collection=new, discard=False)
    assert plan["replacing"]
    assert plan["removed"] == [old[0]["id"]]
    assert plan["edited"] == [feature["id"] for feature in old[1:4]]
    assert plan["after"] == 5 + len(plan["added"])
    plan = masks("plan", study=STUDY, held=held, collection=new, discard=True)
    assert plan["removed"] == [feature["id"] for feature in old[:4]]


def test_an_object_is_not_added_over_an_edited_copy_of_itself(masks: Masks) -> None:
    collection = _collection()
    edited, *rest = collection["features"]
    held = [_held(edited, **{"class": None}), *map(_held, rest)]
    plan = masks("plan", study=STUDY, held=held, collection=collection, discard=False)
    assert plan["leftOut"] == 1
    assert plan["added"] == [feature["id"] for feature in rest]
    plan = masks("plan", study=STUDY, held=held, collection=collection, discard=True)
    assert plan["leftOut"] == 0
    assert len(plan["added"]) == plan["after"] == len(collection["features"])


@pytest.mark.parametrize(("n_more", "ends"), [(0, False), (1, True)])
def test_undo_ends_above_ten_thousand_objects(masks: Masks, n_more: int, ends: bool) -> None:
    collection = _collection("tiles")
    square = _held(collection["features"][0], name=None)
    n = 10_000 - len(collection["features"]) + n_more
    held = [{**square, "id": str(uuid.uuid4())} for _ in range(n)]
    plan = masks("plan", study=STUDY, held=held, collection=collection, discard=False)
    assert plan["endsUndo"] is ends


def test_a_region_covers_the_patches_that_the_server_finds(masks: Masks) -> None:
    areas = _areas()
    covered = masks("cover", slide=_slide(), areas=areas)
    assert [sorted(found) for found in covered] == [_patches(area, GRID) for area in areas]
    assert sum(map(bool, covered)) > 25


def test_a_geometry_comes_back_as_type_and_coordinates_alone(masks: Masks) -> None:
    for area in _areas()[-3:]:
        written = masks("written", geometry=area)
        assert set(written) == {"type", "coordinates"}
        shape: Any = shapely.geometry.shape(written)
        assert shape.equals_exact(shapely.geometry.shape(area))
        assert not shape.has_z


def test_a_valid_area_is_written_the_same_whichever_vertex_it_begins_with(masks: Masks) -> None:
    square, crossing = [(0, 0), (0, 9), (9, 9), (9, 0)], [(0, 0), (9, 9), (9, 0), (0, 9)]
    for ring in (square, crossing):
        turned = [ring[i:] + ring[:i] for i in range(4)]
        areas = [shapely.geometry.mapping(shapely.Polygon(each)) for each in turned]
        first, *others = [masks("valid", geometry=area) for area in areas]
        assert others == [first] * 3


def _drawn(number: int, label: str, area: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.UUID(int=number)),
        "label": label,
        "geometry": shapely.geometry.mapping(area),
    }


def _looked(masks: Masks, drawn: list[dict[str, Any]], events: Any = (), waiting: Any = ()) -> Any:
    return masks(
        "corrections",
        study=STUDY, slide=_slide(), drawn=drawn, events=list(events), waiting=list(waiting),
    )  # fmt: skip


def _states(looked: Any) -> list[str]:
    return [correction["state"] for correction in looked["corrections"]]


def _journal(looked: Any, first: int = 1) -> list[dict[str, Any]]:
    bodies = [correction["body"] for correction in looked["corrections"]]
    return [{"seq": first + i, "type": "region", "data": body} for i, body in enumerate(bodies)]


def _undo(seq: int, *undone: int) -> dict[str, Any]:
    return {"seq": seq, "type": "undo", "data": {"scope": "last", "undone": list(undone)}}


def test_a_correction_that_the_study_has_is_not_sent_again(masks: Masks) -> None:
    drawn = [_drawn(1, "Tumor", shapely.box(100, 100, 500.25, 500.5))]
    first = _looked(masks, drawn)
    assert _states(first) == ["new"]
    assert _states(_looked(masks, drawn, _journal(first))) == ["sent"]


def test_one_that_is_on_its_way_is_not_sent_again(masks: Masks) -> None:
    drawn = [_drawn(1, "Tumor", shapely.box(100, 100, 500, 500))]
    body = _looked(masks, drawn)["corrections"][0]["body"]
    entry = {"event_id": body["event_id"], "path": f"/studies/{STUDY}/regions", "body": body}
    assert _states(_looked(masks, drawn, waiting=[entry])) == ["sent"]
    elsewhere = {**entry, "path": f"/studies/{uuid.uuid4()}/regions"}
    assert _states(_looked(masks, drawn, waiting=[elsewhere])) == ["new"]


@pytest.mark.parametrize(
    ("label", "area"),
    [("腫瘍", shapely.box(100, 100, 500, 500)), ("Tumor", shapely.box(100, 100, 500, 501))],
)
def test_another_class_or_outline_is_sent_under_another_id_and_back_again(
    masks: Masks, label: str, area: Any
) -> None:
    before = [_drawn(1, "Tumor", shapely.box(100, 100, 500, 500))]
    after = [_drawn(1, label, area)]
    events = _journal(_looked(masks, before))
    changed = _looked(masks, after, events)
    assert _states(changed) == ["new"]
    events += _journal(changed, 2)
    assert _states(_looked(masks, after, events)) == ["sent"]
    back = _looked(masks, before, events)
    assert _states(back) == ["new"]
    ids = {event["data"]["event_id"] for event in events + _journal(back)}
    assert len(ids) == 3


def test_what_undo_took_back_can_be_sent_again_but_is_not_by_itself(masks: Masks) -> None:
    drawn = [_drawn(1, "Tumor", shapely.box(100, 100, 500, 500))]
    events = [*_journal(_looked(masks, drawn)), _undo(2, 1)]
    looked = _looked(masks, drawn, events)
    assert _states(looked) == ["taken back"]
    assert looked["corrections"][0]["body"]["event_id"] != events[0]["data"]["event_id"]


def test_the_larger_goes_first_and_what_lies_in_it_follows_again(masks: Masks) -> None:
    inner = _drawn(1, "Tumor", shapely.box(300, 300, 600, 600))
    outer = _drawn(2, "腫瘍", shapely.box(100, 100, 1000, 1000))
    events = _journal(_looked(masks, [inner]))
    looked = _looked(masks, [inner, outer], events)
    assert [c["id"] for c in looked["corrections"]] == [outer["id"], inner["id"]]
    assert _states(looked) == ["new", "again"]
    # All patches once, though the inner ones are in both.
    assert looked["nPatches"] == len(_patches(outer["geometry"], GRID))
    events += _journal(looked, 2)
    assert _states(_looked(masks, [inner, outer], events)) == ["sent", "sent"]


def test_one_that_covers_no_patch_to_half_says_so(masks: Masks) -> None:
    assert _states(_looked(masks, [_drawn(1, "Tumor", shapely.box(0, 0, 40, 40))])) == ["nothing"]


def test_a_prediction_is_counted(masks: Masks) -> None:
    answer = {
        "slide": "slide", "grid": asdict(GRID), "classes": list(CLASSES), "n": 5, "complete": False,
        "model_round": 4, "col": [0, 1, 2, 3, 4], "row": [0] * 5, "label": [0, 0, 1, -1, 0],
        "probability": [0.5, 0.9, 0.75, 1.0, 1.0], "given": [0, 0, 0, 1, 1],
    }  # fmt: skip
    found = masks("prediction", answer=answer, pixel_um2=0.25)
    assert found["counts"] == [3, 1, 0]
    assert found["means"] == [pytest.approx(0.7), 0.75, None]
    assert (found["given"], found["sure"]) == (2, 1)
    area, share, certainty, looked_at, sure, origin = (
        text.replace("\u00a0", " ") for text in found["words"]
    )
    assert (area, share, certainty) == ("0.007 mm²", "60 %", "70 %")
    assert looked_at == "Labelled by you: 2 of 5 patches (40 %)."
    assert sure == "Of the others, 33 % are at least 90 % probable."
    assert origin == "after training 4; the slide is still being indexed"
    assert masks("prediction", answer=answer, pixel_um2=None)["words"][0] == ""
