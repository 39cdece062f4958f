"""Features that stay on a device: as they are, as far as they fit, the last used ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from slideloop.features.resident import ResidentRows

CPU = torch.device("cpu")
SHAPE = (4, 2, 2)
ROW_BYTES = 2 * 4 * 2 * 2


@dataclass
class Slide:
    """Rows that say which of them were asked for."""

    id: str
    rows: NDArray[np.float16]
    read: list[int] = field(default_factory=list)

    def features(self) -> NDArray[np.float16]:
        outer = self

        class Watched(np.ndarray):
            def __getitem__(self, key: slice) -> NDArray[np.float16]:  # type: ignore[override]
                found = outer.rows[key]
                if key != slice(None, 1):
                    outer.read.append(len(found))
                return found

        return self.rows.view(Watched)


def slide(name: str, n: int = 10, seed: int = 0) -> Slide:
    rng = np.random.default_rng(seed)
    return Slide(name, rng.standard_normal((n, *SHAPE)).astype(np.float16))


def kept(resident: ResidentRows, of: Slide, n: int) -> NDArray[np.float16]:
    found = resident.first(of, n)
    assert found is not None
    return found.numpy()


def test_rows_are_carried_over_once() -> None:
    resident, one = ResidentRows(CPU, 1000), slide("one")
    for n in (4, 4, 9, 2, 10):
        assert np.array_equal(kept(resident, one, n), one.rows[:n])
    assert one.read == [4, 5, 1]


def test_what_was_used_longest_ago_makes_way() -> None:
    resident = ResidentRows(CPU, 20 * ROW_BYTES)
    slides = [slide(name, seed=seed) for seed, name in enumerate("abc")]
    for each in (slides[0], slides[1], slides[0], slides[2], slides[0], slides[1]):
        assert np.array_equal(kept(resident, each, 10), each.rows)
    assert [each.read for each in slides] == [[10], [10, 10], [10]]


def test_what_does_not_fit_alone_is_not_kept() -> None:
    resident = ResidentRows(CPU, 10 * ROW_BYTES)
    large, small = slide("large", 11), slide("small")
    assert resident.first(large, 11) is None
    assert large.read == []
    assert np.array_equal(kept(resident, small, 10), small.rows)


def test_a_slide_that_grows_takes_its_own_place() -> None:
    resident, one = ResidentRows(CPU, 12 * ROW_BYTES), slide("one", 12)
    assert np.array_equal(kept(resident, one, 6), one.rows[:6])
    assert np.array_equal(kept(resident, one, 12), one.rows)
    assert one.read == [6, 6]


def test_a_processor_keeps_nothing() -> None:
    assert ResidentRows.of_device(CPU) is None
