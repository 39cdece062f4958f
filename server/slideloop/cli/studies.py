"""From a study's journal back to a living study: its slides, features and engine.

Shared by `predict` and `study`; owns no words of its own on the terminal.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slideloop.cli.common import index_source, open_encoder, open_workspace
from slideloop.errors import StoreMismatchError, WeightsError
from slideloop.features.normalisation import Normalisation
from slideloop.features.workspace import IndexedSlide, PatchOptions, Workspace
from slideloop.learning.database import Database
from slideloop.learning.engines import create_engine
from slideloop.learning.heads import TrainingSettings
from slideloop.studies.replay import restore
from slideloop.studies.study import Study

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slideloop.cli.study_names import FoundStudy
    from slideloop.features.encoders import Encoder
    from slideloop.features.sources import SlidePatches
    from slideloop.learning.engine import Engine
    from slideloop.settings import Settings
    from slideloop.studies.journal import Journal
    from slideloop.studies.loop import Loop


@dataclass(frozen=True)
class OpenStudy:
    """A study read from its journal, with all it needs to go on.

    Attributes
    ----------
    journal : Journal
    created : dict
        Data of its first event.
    workspace : Workspace
    encoder : Encoder
    normalisation : Normalisation
    engine : Engine
    sources : list of SlidePatches
        Of the study's slides, those added later too.
    kind : str
        Of the stores: the engine decides.
    """

    journal: Journal
    created: dict[str, Any]
    workspace: Workspace
    encoder: Encoder
    normalisation: Normalisation
    engine: Engine
    sources: list[SlidePatches]
    kind: str

    def open_further(self, paths: Sequence[Path], assume_mpp: float | None) -> list[SlidePatches]:
        """Open slides that are not the study's own, cut as its first one was."""
        return self.workspace.open_slides(paths, self.options(assume_mpp), self.sources[0])

    def options(self, assume_mpp: float | None) -> PatchOptions:
        """Return how the study's first slide was cut."""
        return _options(self.created["slides"][0], assume_mpp)

    def slide(self, source: SlidePatches) -> IndexedSlide:
        """Index a slide as the study's slides were, or find its features."""
        store = index_source(self.workspace, source, self.encoder, self.normalisation, self.kind)
        return IndexedSlide(source, store, self.encoder, self.normalisation)

    def database(self, slides: list[IndexedSlide]) -> Database:
        """Return the features of slides; the study's own come first."""
        return Database([slide.store for slide in slides])

    def restored(self) -> RestoredStudy:
        """Index the study's own slides, and fold its journal."""
        own = [self.slide(source) for source in self.sources]
        loop = restore(self.journal, self.database(own), self.engine, own)
        return RestoredStudy(self, own, loop)


@dataclass(frozen=True)
class RestoredStudy:
    """A study as it was after its last event; `OpenStudy.restored` makes it.

    Attributes
    ----------
    opened : OpenStudy
    own : list of IndexedSlide
        The study's own slides, which keep their given labels.
    loop : Loop
    """

    opened: OpenStudy
    own: list[IndexedSlide]
    loop: Loop

    def find(self, source: SlidePatches) -> tuple[int, IndexedSlide]:
        """Return a slide and its number in the study; one that is not its own comes behind."""
        for number, slide in enumerate(self.own):
            if slide.source.identity == source.identity:
                return number, slide
        slide = self.opened.slide(source)
        self.loop.ground.add_slide(slide.store, slide)
        return len(self.loop.ground.slides) - 1, slide


def open_study(found: FoundStudy, settings: Settings) -> OpenStudy:
    """Open a study's slides, and load the encoder it was made with.

    Raises
    ------
    WeightsError
        If the weights given are not the study's.
    StoreMismatchError
        If a slide is not the one that was recorded, or the study is one of tiles.
    """
    journal = found.journal
    created = journal.events[0].data
    made = created["environment"]
    if "grid" not in created["slides"][0]:
        raise StoreMismatchError(
            "That is a study of tile folders, which have no mask.", hint="Use a study of slides."
        )
    encoder = open_encoder(settings.model_copy(update={"encoder": made["encoder"]}))
    if encoder.weights.sha256 != made["weights"]["sha256"]:
        raise WeightsError(
            f"The study was made with {made['weights']['kind']} weights "
            f"{made['weights']['name']} (SHA-256 {made['weights']['sha256'][:12]}), "
            f"not with {encoder.weights}.",
            hint="Give those with --weights.",
        )
    mean, std = made["normalisation"]
    workspace = open_workspace(settings.workspace)
    sources: list[SlidePatches] = []
    for record in Study.of(journal.events).slides:
        like = sources[0] if sources else None
        options = _options(record, assume_mpp=record["mpp"])
        path = found.paths.get(record["id"], Path(record["path"]))
        [source] = workspace.open_slides([path], options, like)
        sources.append(source)
        if source.identity["fingerprint"] != record["fingerprint"]:
            raise StoreMismatchError(
                f"{source.name} is not the slide that the study was made on: it was changed.",
                hint="Put the original file back.",
            )
    training = TrainingSettings(**created["settings"]["training"])
    return OpenStudy(
        journal=journal,
        created=created,
        workspace=workspace,
        encoder=encoder,
        normalisation=Normalisation(tuple(mean), tuple(std)),
        engine=create_engine(created["settings"]["engine"], encoder, training),
        sources=sources,
        kind="full" if created["settings"]["engine"] == "faithful" else "pooled",
    )


def _options(record: dict[str, Any], assume_mpp: float | None) -> PatchOptions:
    """Return how a recorded slide was cut."""
    grid = record["grid"]
    return PatchOptions(
        grid["patch_px"], grid["stride_px"], grid["mpp"], assume_mpp, record["filter"]
    )
