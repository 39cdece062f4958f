"""The stubs that the library is type-checked against promise only what each QuPath keeps."""

from __future__ import annotations

from pathlib import Path

from tests.groovy.jvm import STUBS
from tests.qupath.installed import QuPath


def _compared(qupath: QuPath, stubs: Path, folder: Path) -> dict[str, object]:
    classes = folder / "classes"
    classes.mkdir()
    return qupath.run("signatures", folder, stubs=str(stubs), classes=str(classes))


def test_every_signature_is_one_of_this_qupath(qupath: QuPath, tmp_path: Path) -> None:
    found = _compared(qupath, STUBS, tmp_path)
    assert found["broken"] == []
    assert isinstance(found["n"], (int, float))
    assert found["n"] > 60


def test_a_wrong_signature_is_found(qupath: QuPath, tmp_path: Path) -> None:
    folder = tmp_path / "stubs" / "qupath" / "lib" / "common"
    folder.mkdir(parents=True)
    (folder / "GeneralTools.groovy").write_text(
        "package qupath.lib.common\n"
        "class GeneralTools { String getVersion() { null }\n static int getAge() { 0 } }\n"
        "class Nowhere { }\n"
    )
    found = _compared(qupath, tmp_path / "stubs", tmp_path)
    assert found["broken"] == [
        "java.lang.String qupath.lib.common.GeneralTools.getVersion() is not in this QuPath.",
        "int qupath.lib.common.GeneralTools.getAge() is not in this QuPath.",
        "There is no qupath.lib.common.Nowhere.",
    ]
