"""QuPath's GeoJSON, both ways: the only module that knows its dialect.

Owns what a feature's properties are called and how an object's identity is made. Knows nothing of
truth, slides or projects. What is read is taken for hostile: bounded, and checked to be finite.

Facts of the dialect (QuPath 0.5 to 0.7): a `classification` without `color` stops the import; a
class probability is lost unless it is a measurement; an `id` must be a UUID; QuPath itself writes
the key `metadata` twice.
"""

from __future__ import annotations

import gzip
import json
import math
import uuid
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from slideloop.errors import GeometryError, InvalidInputError
from slideloop.files import whole_file
from slideloop.masks.cells import CellMask, Component, class_index, components
from slideloop.masks.colours import colour_of, name_parts

ObjectKind = Literal["detections", "annotations", "tiles"]

KINDS: tuple[ObjectKind, ...] = ("detections", "annotations", "tiles")
OBJECT_TYPES: dict[str, str] = dict(zip(KINDS, ("detection", "annotation", "tile"), strict=True))
OBJECT_NAMESPACE = uuid.UUID("6f1c3b0e-9f4d-5b7a-8a55-0d7c2e91b3a4")
"""Namespace of the UUIDv5 of mask objects; a change of it would make every import look edited."""

PROBABILITY = "slideloop probability"
_MARKER = "slideloop/"
_ABOUT = "slideloop"
MAX_BYTES = 512 * 2**20
"""Most bytes of GeoJSON that are read, after unpacking."""


@dataclass(frozen=True)
class Feature:
    """One object read from GeoJSON.

    Parameters
    ----------
    number : int
        Place in the file, from 1.
    geometry : shapely geometry
        Level-0 pixels, finite, not empty; not checked to be valid.
    class_name : str or None
        "Tumor", or "Tumor: Invasive" for a derived class; None where unclassified.
    name : str or None
        The object's own name.
    object_id : str or None
        Its `id`, as written.
    object_type : str or None
        "annotation", "detection", "tile", ..., as written.
    probability : float
        The measurement of that name; NaN where there is none.
    """

    number: int
    geometry: BaseGeometry
    class_name: str | None
    name: str | None
    object_id: str | None
    object_type: str | None = None
    probability: float = math.nan


@dataclass(frozen=True)
class MaskFile:
    """A mask of one study, read from GeoJSON.

    Attributes
    ----------
    study : str
        Id of the study that made it.
    kind : {"detections", "annotations", "tiles"}
    features : list of dict
        As of `mask_features`.
    project, entry : int and str, or None
        The QuPath project that it was made for, by the time in ms when that was made, and the id of
        the image in it.
    """

    study: str
    kind: ObjectKind
    features: list[dict[str, Any]]
    project: int | None = None
    entry: str | None = None


def marker(study_id: str) -> str:
    """Give the name that marks an object as made by a study (interfaces, "Files")."""
    return f"{_MARKER}{study_id}"


def study_of(name: str | None) -> str | None:
    """Return the study that made an object of that name; None if it is none of slideloop."""
    if name is None or not name.startswith(_MARKER) or name == _MARKER:
        return None
    return name.removeprefix(_MARKER)


def object_id(study_id: str, class_name: str, geometry: BaseGeometry) -> uuid.UUID:
    """Make the identity of a mask object: it fits as long as nobody edits the object.

    Parameters
    ----------
    study_id : str
        Study that made the mask.
    class_name : str
        Class of the object.
    geometry : shapely geometry
        Level-0 pixels; vertices are rounded to integers and sorted, each counted once, so neither
        the start of a ring nor its direction matters.

    Returns
    -------
    uuid.UUID
        UUIDv5 of (study, class, vertices).
    """
    vertices = np.unique(np.rint(shapely.get_coordinates(geometry)).astype(np.int64), axis=0)
    text = " ".join(f"{x},{y}" for x, y in vertices.tolist())
    return uuid.uuid5(OBJECT_NAMESPACE, f"{study_id}\n{class_name}\n{text}")


def mask_features(
    mask: CellMask,
    study_id: str,
    class_names: Iterable[str],
    kind: ObjectKind = "detections",
    threshold: float | None = None,
) -> dict[str, Any]:
    """Turn a mask into QuPath objects.

    Parameters
    ----------
    mask : CellMask
        Cells of one slide.
    study_id : str
        Study that made the mask.
    class_names : iterable of str
        Classes wanted.
    kind : {"detections", "annotations", "tiles"}
        Object type; "tiles" is a square per patch, the others one object per 4-connected group.
    threshold : float, optional
        Cells of a lower probability are left out.

    Returns
    -------
    dict
        A GeoJSON FeatureCollection, level-0 pixels, free of NaN.

    Raises
    ------
    InvalidInputError
        If the mask lacks one of the classes, or there is no such kind.
    """
    if kind not in OBJECT_TYPES:
        raise InvalidInputError(
            f"There is no kind of object '{kind}'.", hint=f"Choose from {', '.join(OBJECT_TYPES)}."
        )
    names = list(class_names)
    parts = (
        _patches(mask, names, threshold) if kind == "tiles" else components(mask, names, threshold)
    )
    features = [_feature(part, study_id, OBJECT_TYPES[kind]) for part in parts]
    return {"type": "FeatureCollection", "features": features}


def write_geojson(collection: dict[str, Any], path: Path) -> None:
    """Write a FeatureCollection; the file appears only when complete.

    Parameters
    ----------
    collection : dict
        As `mask_features` makes it.
    path : Path
        File to write, `.geojson` or `.geojson.gz`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    data = json.dumps(collection, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    raw = data.encode()
    with whole_file(path) as unfinished:
        # Without a time in its header the same mask gives the same bytes.
        unfinished.write_bytes(gzip.compress(raw, mtime=0) if path.suffix == ".gz" else raw)


def for_entry(collection: dict[str, Any], project: int | None, entry: str) -> dict[str, Any]:
    """Say in a mask for which image of which QuPath project it was made, as in `MaskFile`."""
    return {**collection, _ABOUT: {"project": project, "entry": entry}}


def read_geojson(path: Path, max_bytes: int = MAX_BYTES) -> list[Feature]:
    """Read a GeoJSON file: a FeatureCollection, a bare list of features, or one feature.

    Parameters
    ----------
    path : Path
        `.geojson` or `.json`, also with `.gz`.
    max_bytes : int
        Most bytes taken, after unpacking.

    Returns
    -------
    list of Feature
        In the order of the file.

    Raises
    ------
    GeometryError
        If the file cannot be read, is too large, is no GeoJSON, or a feature has no usable
        geometry; the message names the feature.
    """
    return parse_geojson(_read(path, max_bytes), path.name)


def read_mask(path: Path) -> MaskFile | None:
    """Read a mask that slideloop wrote, also when somebody has edited the file.

    Outlines that cross themselves are mended; what is left of each gets its own id.

    Parameters
    ----------
    path : Path
        As for `read_geojson`.

    Returns
    -------
    MaskFile or None
        None where it holds no objects, and so does not say whose it is.

    Raises
    ------
    GeometryError
        If it cannot be read, or is no mask of one study with classes and areas.
    """
    loaded = _loaded(_read(path, MAX_BYTES), path.name)
    found = _features(loaded, path.name)
    if not found:
        return None
    studies = {each.name for each in found}
    kinds = {each.object_type for each in found}
    if len(studies) != 1 or len(kinds) != 1 or not kinds <= set(OBJECT_TYPES.values()):
        raise GeometryError(
            f"{path.name} is not one mask of one study of slideloop.",
            hint="Give a file that `slideloop predict` or the server wrote.",
        )
    study, object_type = study_of(studies.pop()), kinds.pop() or ""
    if study is None:
        raise GeometryError(
            f"{path.name} is not a mask of slideloop: its objects are not named {_MARKER}<study>.",
            hint="Other objects come into QuPath by its own File > Import objects.",
        )
    features: list[dict[str, Any]] = []
    for each in found:
        shape = each.geometry if each.geometry.is_valid else shapely.make_valid(each.geometry)
        # What is mended may be a collection with several areas and lines in it.
        parts = shapely.get_parts(shapely.get_parts(shape)).tolist()
        areas = [part for part in parts if isinstance(part, shapely.Polygon)]
        if each.class_name is None or not areas:
            raise GeometryError(
                f"Feature {each.number} of {path.name} has no class, or is no area.",
                hint="Correct or remove it.",
            )
        features += [
            _feature(Component(each.class_name, area, 1, each.probability), study, object_type)
            for area in areas
        ]
    kinds_of: list[ObjectKind] = [each for each in KINDS if OBJECT_TYPES[each] == object_type]
    return MaskFile(study, kinds_of[0], features, *_entry_of(loaded))


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as err:
        raise GeometryError(
            f"{path.name} cannot be read: {getattr(err, 'strerror', None) or err}.",
            hint="Give a GeoJSON file, as QuPath's File > Export objects writes it.",
        ) from err
    if len(raw) > max_bytes:
        raise GeometryError(
            f"{path.name} holds more than {max_bytes} bytes of GeoJSON.",
            hint="Export fewer objects, or simplify their outlines.",
        )
    return raw


def _entry_of(loaded: Any) -> tuple[int | None, str | None]:
    about: Any = cast(dict[str, Any], loaded).get(_ABOUT) if isinstance(loaded, dict) else None
    if not isinstance(about, dict):
        return None, None
    said = cast(dict[str, Any], about)
    project, entry = said.get("project"), said.get("entry")
    return (
        project if isinstance(project, int) else None,
        entry if isinstance(entry, str) else None,
    )


def class_of(feature: dict[str, Any]) -> str | None:
    """Return the class of a feature, derived ones as "Tumor: Invasive"; None where unclassified."""
    return _class_name(feature["properties"].get("classification"))


def parse_geojson(raw: bytes | str, source: str) -> list[Feature]:
    """Read GeoJSON text.

    Parameters
    ----------
    raw : bytes or str
        JSON in UTF-8; of a doubled key the last value counts.
    source : str
        What messages call it.

    Returns
    -------
    list of Feature
        In the order of the text.

    Raises
    ------
    GeometryError
        If it is no GeoJSON, or a feature has no usable geometry; the message names the feature.
    """
    return _features(_loaded(raw, source), source)


def _loaded(raw: bytes | str, source: str) -> Any:
    try:
        text = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as err:
        raise GeometryError(
            f"{source} is not JSON that can be used: {err}.",
            hint="Give a GeoJSON file, as QuPath's File > Export objects writes it.",
        ) from err


def _features(loaded: Any, source: str) -> list[Feature]:
    return [
        _parsed(item, number, source)
        for number, item in enumerate(_feature_list(loaded, source), start=1)
    ]


def _patches(
    mask: CellMask, class_names: list[str], threshold: float | None
) -> Iterator[Component]:
    for name in class_names:
        inside = mask.label == class_index(mask, name)
        if threshold is not None:
            inside &= mask.probability >= threshold
        row, column = np.nonzero(inside)
        x, y = column * mask.stride_px0, row * mask.stride_px0
        squares = shapely.box(x, y, x + mask.patch_px0, y + mask.patch_px0)
        for square, probability in zip(squares, mask.probability[inside].tolist(), strict=True):
            yield Component(name, square, 1, probability)


def _feature(component: Component, study_id: str, object_type: str) -> dict[str, Any]:
    name = component.class_name
    parts = name_parts(name)
    classification: dict[str, Any] = {"name": name} if len(parts) == 1 else {"names": parts}
    classification["color"] = list(colour_of(name))
    properties: dict[str, Any] = {
        "objectType": object_type,
        "name": marker(study_id),
        "classification": classification,
    }
    if math.isfinite(component.probability):
        properties["measurements"] = {PROBABILITY: round(component.probability, 6)}
    return {
        "type": "Feature",
        "id": str(object_id(study_id, name, component.polygon)),
        "geometry": {"type": "Polygon", "coordinates": _rings(component.polygon)},
        "properties": properties,
    }


def _rings(polygon: shapely.Polygon) -> list[list[list[int]]]:
    return [
        np.rint(shapely.get_coordinates(ring)).astype(np.int64).tolist()
        for ring in (polygon.exterior, *polygon.interiors)
    ]


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"it contains {word}, which is no JSON number")


def _feature_list(loaded: Any, source: str) -> list[Any]:
    if isinstance(loaded, list):
        return cast(list[Any], loaded)
    if isinstance(loaded, dict):
        content = cast(dict[str, Any], loaded)
        features = content.get("features")
        if content.get("type") == "FeatureCollection" and isinstance(features, list):
            return cast(list[Any], features)
        if content.get("type") == "Feature":
            return [content]
    raise GeometryError(
        f"{source} is neither a FeatureCollection, a list of features, nor a feature.",
        hint="Give a GeoJSON file, as QuPath's File > Export objects writes it.",
    )


def _parsed(item: Any, number: int, source: str) -> Feature:
    feature = cast(dict[str, Any], item) if isinstance(item, dict) else {}
    if not isinstance(feature.get("geometry"), dict):
        raise GeometryError(f"Feature {number} of {source} has no geometry.", hint="Remove it.")
    raw: Any = feature.get("properties")
    properties = cast(dict[str, Any], raw) if isinstance(raw, dict) else {}
    name, own_id = properties.get("name"), feature.get("id")
    kind: Any = properties.get("objectType")
    return Feature(
        number=number,
        geometry=_geometry(feature["geometry"], number, source),
        class_name=_class_name(properties.get("classification")),
        name=name if isinstance(name, str) else None,
        object_id=own_id if isinstance(own_id, str) else None,
        object_type=kind if isinstance(kind, str) else None,
        probability=_probability(properties.get("measurements")),
    )


def _probability(measurements: Any) -> float:
    found: Any = None
    if isinstance(measurements, dict):
        found = cast(dict[str, Any], measurements).get(PROBABILITY)
    elif isinstance(measurements, list):
        # QuPath itself writes them so at times.
        for each in cast(list[Any], measurements):
            if isinstance(each, dict) and cast(dict[str, Any], each).get("name") == PROBABILITY:
                found = cast(dict[str, Any], each).get("value")
    return float(found) if isinstance(found, int | float) else math.nan


def _geometry(content: dict[str, Any], number: int, source: str) -> BaseGeometry:
    try:
        # `from_geojson` would take NaN and print its own words to stderr; `shape` does neither.
        geometry: BaseGeometry = shapely.geometry.shape(content)
        coordinates = shapely.get_coordinates(geometry)
    except (
        AttributeError,
        IndexError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
        shapely.errors.ShapelyError,
    ) as err:
        reason = "it lacks 'coordinates'" if isinstance(err, KeyError) else str(err).rstrip(".")
        raise GeometryError(
            f"Feature {number} of {source} has a geometry that cannot be read: {reason}.",
            hint="Correct or remove it.",
        ) from err
    if not len(coordinates):
        raise GeometryError(f"Feature {number} of {source} is empty.", hint="Remove it.")
    if not np.isfinite(coordinates).all():
        raise GeometryError(
            f"Feature {number} of {source} has a coordinate that is not a finite number.",
            hint="Correct or remove it.",
        )
    return shapely.force_2d(geometry)  # pyright: ignore[reportUnknownMemberType]


def _class_name(classification: Any) -> str | None:
    if isinstance(classification, dict):
        content = cast(dict[str, Any], classification)
        names: Any = content.get("names")
        if isinstance(names, list):
            words = [word for word in cast(list[Any], names) if isinstance(word, str)]
            return ": ".join(words) or None
        classification = content.get("name")
    if isinstance(classification, str) and classification.strip():
        return ": ".join(name_parts(classification.strip()))
    return None
