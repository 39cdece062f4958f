"""The process that works on a project by paquo; the only importer of it.

Run as `python -m slideloop.qupath.paquo_child JOB ANSWERS`: JOB is a file of JSON, ANSWERS gets a
line of JSON per image. It writes into a copy of the project that is nobody else's: what became of
it, and whether it replaces the original, is its parent's business. What only looks is given the
original, read-only. paquo starts a JVM when imported.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from slideloop.masks.geojson import object_id, study_of

TEMPORARY = "slideloop.patch"
"""Key in the metadata of the annotations that show an open round in QuPath."""


class RefusedError(Exception):
    """Why an image is left as it is.

    Parameters
    ----------
    code : str
    message : str
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def main() -> None:
    """Do a job; the process ends with 0 when each image has an answer, a refusal too."""
    job = json.loads(Path(sys.argv[1]).read_bytes())
    with Path(sys.argv[2]).open("a", encoding="utf-8") as answers:

        def tell(**answer: Any) -> None:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()

        from paquo.projects import QuPathProject

        project = QuPathProject(job["project"], mode=job["mode"])
        tell(qupath=str(project.version))
        _load_openslide()
        if job["mode"] != "r":
            _add_classes(project, job["classes"])
        entries = {entry.entry_id: entry for entry in project.images}
        for task in job["tasks"]:
            try:
                done = _ACTIONS[task["action"]](entries[task["entry"]], task)
                tell(entry=task["entry"], **done)
            except RefusedError as err:
                tell(entry=task["entry"], code=err.code, problem=str(err))
            except Exception as err:
                # Java's exceptions are of no class that is known before the JVM runs.
                tell(entry=task["entry"], code="failed", problem=f"{type(err).__name__}: {err}")


def _load_openslide() -> None:
    """Have QuPath 0.5 read slides by OpenSlide, which it does by itself in its window only."""
    from jpype import JClass, java

    try:
        loader = JClass("qupath.lib.images.servers.openslide.jna.OpenSlideLoader")
        loader.tryToLoadQuietly("")
    except (TypeError, AttributeError, java.lang.Throwable):
        # Another QuPath, which needs no help.
        return


def _add_classes(project: Any, classes: list[dict[str, Any]]) -> None:
    """Add classes that the project's list lacks; those that are there keep their colours."""
    from jpype import JClass

    path_class, array = (
        JClass("qupath.lib.objects.classes.PathClass"),
        JClass("java.util.ArrayList"),
    )
    listed = array(project.java_object.getPathClasses())
    known = {str(each) for each in listed if each is not None}
    new = [each for each in classes if ": ".join(each["names"]) not in known]
    for each in new:
        red, green, blue = each["color"]
        colour = JClass("qupath.lib.common.ColorTools").packRGB(red, green, blue)
        listed.add(path_class.fromArray(*each["names"]))
        if len(each["names"]) == 1:
            listed.get(listed.size() - 1).setColor(colour)
    if new:
        # A list of another length: one of the same length would be taken for the old one.
        project.java_object.setPathClasses(listed)


def _import(entry: Any, task: dict[str, Any]) -> dict[str, Any]:
    """Put a mask into an image and save it; what is there after is compared with what was."""
    if not entry.is_readable():
        raise RefusedError("image_missing", f"The image's file is not at {entry.uri}.")
    before = Counter(map(_key, _objects(_stored(entry))))
    study, features = task["study"], Path(task["features"])
    hierarchy = entry.hierarchy.java_object
    held = list(_objects(hierarchy))
    if Counter(map(_key, held)) != before:
        raise RefusedError("data_unreadable", "QuPath does not read all objects of the image.")
    marked = [each for each in held if str(each.getName() or "") == task["marker"]]
    untouched, edited = [], []
    for each in marked:
        (edited if _is_edited(each, study) else untouched).append(each)
    if marked and not task["replace"]:
        raise RefusedError(
            "already_imported",
            f"The image has {len(marked):,} objects of this study already: see --replace.",
        )
    removed = marked if task["discard_edits"] else untouched
    gone = {str(each.getID()) for each in removed}
    expected = Counter({key: n for key, n in before.items() if key[0] not in gone})
    staying = {key[0] for key in expected}
    made = [each for each in _read(features) if str(each.getID()) not in staying]
    for each in made:
        each.setLocked(task["kind"] == "annotations")
    _exchange(hierarchy, removed, made)
    entry.save()
    after = [(_key(each), each) for each in _objects(_stored(entry))]
    expected.update(map(_key, made))
    if Counter(key for key, _ in after) != expected:
        raise RefusedError("not_saved", "What QuPath saved is not what was asked for.")
    ours = [(key, each) for key, each in after if key[0] not in staying]
    return {
        "is_changed": True,
        # paquo has it open, and opening another one takes a second.
        "shown": _shown(entry._image_data.getServer(), task["places"]),
        "n_before": len(held),
        "n_after": len(after),
        "n_added": len(made),
        "n_removed": len(removed),
        "n_edited_kept": 0 if task["discard_edits"] else len(edited),
        "n_edited_removed": len(edited) if task["discard_edits"] else 0,
        "n_left_out": task["n"] - len(made),
        "n_by_class": Counter(key[1] for key, _ in ours),
        "area_px0": sum(float(each.getROI().getArea()) for _, each in ours),
    }


def _clean(entry: Any, _task: dict[str, Any]) -> dict[str, Any]:
    """Take away the temporary annotations of a round that was over long ago."""
    if not entry.is_readable():
        raise RefusedError("image_missing", f"The image's file is not at {entry.uri}.")
    stored = _stored(entry)
    before, n_before = Counter(map(_key, _objects(stored))), stored.nObjects()
    hierarchy = entry.hierarchy.java_object
    left = [each for each in hierarchy.getAllObjects(False) if _is_temporary(each)]
    if left:
        _exchange(hierarchy, left, [])
        entry.save()
    after = _stored(entry)
    if Counter(map(_key, _objects(after))) != before or after.nObjects() != n_before - len(left):
        raise RefusedError("not_saved", "What QuPath saved is not what was asked for.")
    n_after = int(after.nObjects())
    return {"is_changed": bool(left), "n_removed": len(left), "n_after": n_after}


def _look(entry: Any, task: dict[str, Any]) -> dict[str, Any]:
    """Say what an image holds, and how QuPath shows it."""
    hierarchy = _stored(entry)
    objects = list(_objects(hierarchy))
    masks: dict[str, Counter[str]] = {}
    for each in objects:
        study = study_of(str(each.getName() or ""))
        if study is not None:
            edited = "n_edited" if _is_edited(each, study) else "n_as_made"
            masks.setdefault(study, Counter(n_edited=0, n_as_made=0))[edited] += 1
    found: dict[str, Any] = {
        "n_objects": len(objects),
        "n_temporary": int(hierarchy.nObjects()) - len(objects),
        "masks": masks,
    }
    if not entry.is_readable():
        return found
    server = entry.java_object.getServerBuilder().build()
    try:
        return found | {"shown": _shown(server, task["places"])}
    finally:
        server.close()


def _annotations(entry: Any, task: dict[str, Any]) -> dict[str, Any]:
    """Write the annotations that have a class, but for masks of ours, as GeoJSON."""
    from jpype import JClass

    kept = JClass("java.util.ArrayList")()
    for each in _objects(_stored(entry)):
        drawn = each.isAnnotation() and each.getPathClass() is not None and each.getROI().isArea()
        if drawn and study_of(str(each.getName() or "")) is None:
            kept.add(each)
    path_io, options = (
        JClass("qupath.lib.io.PathIO"),
        JClass("qupath.lib.io.PathIO$GeoJsonExportOptions"),
    )
    file = JClass("java.nio.file.Path").of(task["out"])
    path_io.exportObjectsAsGeoJSON(file, kept, options.FEATURE_COLLECTION)
    return {"n_annotations": int(kept.size())}


_ACTIONS = {"import": _import, "clean": _clean, "look": _look, "annotations": _annotations}


def _shown(server: Any, places: list[dict[str, int]]) -> dict[str, Any]:
    """Return size, kind of server and the mean colours of some places, as QuPath shows them."""
    from jpype import JClass

    request = JClass("qupath.lib.regions.RegionRequest")
    probe: list[dict[str, Any]] = []
    for each in places:
        x, y, width, height = (each[side] for side in ("x", "y", "width", "height"))
        if x + width > server.getWidth() or y + height > server.getHeight():
            continue
        pixels = server.readRegion(
            request.createInstance(server.getPath(), 1.0, x, y, width, height)
        )
        argb = np.array(pixels.getRGB(0, 0, width, height, None, 0, width), np.int32)
        rgb = [float(((argb >> shift) & 255).mean()) for shift in (16, 8, 0)]
        probe.append({**each, "rgb": rgb})
    return {
        "width": int(server.getWidth()),
        "height": int(server.getHeight()),
        "server_type": str(server.getServerType()),
        "probe": probe,
    }


def _stored(entry: Any) -> Any:
    """Read the objects of an image from its file, which fails where QuPath would show none."""
    if not entry.java_object.hasImageData():
        from jpype import JClass

        return JClass("qupath.lib.objects.hierarchy.PathObjectHierarchy")()
    try:
        return entry.java_object.readHierarchy()
    except Exception as err:
        raise RefusedError(
            "data_unreadable", f"The image's data file cannot be read: {err}."
        ) from err


def _objects(hierarchy: Any) -> Iterator[Any]:
    """Yield all objects but the temporary ones of an open round."""
    for each in hierarchy.getAllObjects(False):
        if not _is_temporary(each):
            yield each


def _is_temporary(each: Any) -> bool:
    return bool(each.isAnnotation() and each.getMetadata().containsKey(TEMPORARY))


def _key(each: Any) -> tuple[str, str, str]:
    """Return what an object is known by: id, class and kind."""
    return str(each.getID()), str(each.getPathClass()), str(each.getClass().getSimpleName())


def _is_edited(each: Any, study: str) -> bool:
    """Return whether an object's class or outline is not what its id was made of."""
    from jpype import JClass

    if each.getPathClass() is None or each.getROI() is None:
        return True
    raw = JClass("org.locationtech.jts.io.WKBWriter")().write(each.getROI().getGeometry())
    shape = shapely.from_wkb(bytes(raw))
    return uuid.UUID(str(each.getID())) != object_id(study, str(each.getPathClass()), shape)


def _read(features: Path) -> list[Any]:
    """Have QuPath read a GeoJSON file."""
    from jpype import JClass

    paths, path_io = JClass("java.nio.file.Path"), JClass("qupath.lib.io.PathIO")
    return list(path_io.readObjects(paths.of(str(features))))


def _exchange(hierarchy: Any, removed: list[Any], made: list[Any]) -> None:
    from jpype import JClass

    array = JClass("java.util.ArrayList")
    if removed:
        # What was drawn inside an imported annotation stays.
        hierarchy.removeObjects(array(removed), True)
    if made:
        hierarchy.addObjects(array(made))


if __name__ == "__main__":
    main()
