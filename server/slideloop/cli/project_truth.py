"""`slideloop project run --truth-from-annotations`: a simulated expert who answers by a project."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from slideloop.cli.common import say
from slideloop.cli.simulate import play_and_write
from slideloop.errors import InvalidInputError, SlideloopError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slideloop.cli.studies import OpenStudy
    from slideloop.evaluation.truth import Truth
    from slideloop.features.sources import SlidePatches
    from slideloop.qupath.project_file import ProjectFile, ProjectImage
    from slideloop.settings import Settings

N_SEEDS = 3


def simulate_by_annotations(
    project: ProjectFile,
    images: Sequence[ProjectImage],
    opened: OpenStudy,
    settings: Settings,
    out: Path,
    as_json: bool,
) -> None:
    """Play a study again on the annotated images of a project, and write what came of it.

    The simulated expert has the study's classes, strategy, rounds and engine, as many sessions as
    it had, and `N_SEEDS` seeds. What nobody annotated is the study's other class, where it has two.

    Parameters
    ----------
    project : ProjectFile
    images : sequence of ProjectImage
        Those without annotations of a class are left out.
    opened : OpenStudy
    settings : Settings
        Device and seed.
    out : Path
        Folder; gets the truths and what `simulate` leaves.
    as_json : bool

    Raises
    ------
    QuPathError, ProjectError
        As `write_annotations`.
    InvalidInputError
        If no image has annotations that can be the truth.
    TruthError
        If all patches are of one class.
    """
    from slideloop.evaluation import outputs
    from slideloop.evaluation.simulate import Protocol
    from slideloop.evaluation.subjects import slide_subject
    from slideloop.qupath.annotations import write_annotations
    from slideloop.studies.settings import Settings as StudySettings
    from slideloop.studies.study import Study

    study = Study.of(opened.journal.events)
    made: StudySettings = study.settings
    truths_folder = out / "truths"
    outputs.prepare(truths_folder)
    rows = write_annotations(project, images, truths_folder)
    others = [name for name in made.classes if name != made.positive]
    outside = others[0] if len(others) == 1 else None
    sources: list[SlidePatches] = []
    truths: list[Truth] = []
    files: list[Path] = []
    for image, row in zip(images, rows, strict=True):
        try:
            source, truth = _truth(image, row, opened, made.positive, outside, settings)
        except SlideloopError as err:
            say(f"{image.name} is left out: {err}")
            continue
        sources.append(source)
        truths.append(truth)
        files.append(row["file"])
    if not sources:
        raise InvalidInputError(
            f"No image of the project has annotations of {made.positive!r} that can be the truth.",
            hint="Draw annotations of the study's classes in QuPath and save.",
        )
    subject = slide_subject(
        [opened.slide(source) for source in sources],
        truths,
        made.positive,
        cast("Any", made.mode),
        opened.encoder,
    )
    protocol = Protocol(
        sessions=max(1, len(study.sessions)),
        rounds=made.rounds,
        k=made.k,
        mode=made.mode,
        engine=made.engine,
        session_start=made.session_start,
        refine_query=made.refine_query,
        refine_over=made.refine_over,
        training=made.training,
    )
    seeds = range(settings.seed, settings.seed + N_SEEDS)
    # What is recorded of the experiment is how its slides were cut, not what was asked for here.
    cut = settings.model_copy(update=asdict(opened.options(settings.assume_mpp)))
    play_and_write(
        subject, protocol, opened.encoder, [made.strategy], seeds, cut, files, out, as_json
    )


def _truth(
    image: ProjectImage,
    row: dict[str, Any],
    opened: OpenStudy,
    positive: str,
    outside: str | None,
    settings: Settings,
) -> tuple[SlidePatches, Truth]:
    from slideloop.evaluation.truth import read_truth

    if "problem" in row or row["file"] is None:
        said = row.get("problem", "It has no annotations of a class.")
        raise InvalidInputError(said, hint="Draw some in QuPath and save, or choose other images.")
    assert image.path is not None
    [source] = opened.open_further([image.path], settings.assume_mpp)
    info = source.reader.info
    return source, read_truth(row["file"], positive, info.width, info.height, outside)
