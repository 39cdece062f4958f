"""The thresholds of the filter, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from slideloop.errors import InvalidInputError
from slideloop.slides.filters import RULES, Verdict, is_dropped, judge

SIDE = 20  # 400 pixels, so that 80 % is 320 of them
GREY = (100, 100, 100)


def filled(colour, n_pixels: int, rest=GREY) -> np.ndarray:
    """The first n_pixels in one colour, the rest in another."""
    flat = np.full((SIDE * SIDE, 3), rest, dtype=np.uint8)
    flat[:n_pixels] = colour
    return flat.reshape(SIDE, SIDE, 3)


def dotted(n_dots: int, colour=(200, 200, 200)) -> np.ndarray:
    """Single bright pixels on grey, no two touching."""
    patch = np.full((SIDE, SIDE, 3), GREY, dtype=np.uint8)
    for dot in range(n_dots):
        patch[2 * (dot // 10), 2 * (dot % 10)] = colour
    return patch


@pytest.mark.parametrize(
    ("colour", "is_empty"),
    [
        ((211, 211, 211), True),
        ((210, 211, 211), False),
        ((211, 210, 211), False),
        ((211, 211, 210), False),
        ((255, 255, 255), True),
        ((4, 4, 4), True),
        ((5, 4, 4), False),
        ((4, 5, 4), False),
        ((4, 4, 5), False),
        ((0, 0, 0), True),
        ((0, 0, 255), False),
    ],
    ids=str,
)
def test_white_is_above_210_and_black_below_5_in_all_channels(colour, is_empty):
    assert judge(filled(colour, 400)).background is is_empty


def test_exactly_80_percent_is_not_yet_background():
    assert judge(filled((255, 255, 255), 320)).background is False


def test_one_pixel_above_80_percent_is_background():
    assert judge(filled((255, 255, 255), 321)).background is True


def test_white_and_black_count_together():
    patch = filled((255, 255, 255), 200)
    patch.reshape(-1, 3)[200:321] = 0
    assert judge(patch).background is True


def test_nine_components_are_structureless_and_ten_are_not():
    # The background is one: 8 dots make 9 components.
    assert judge(dotted(8)).structureless is True
    assert judge(dotted(9)).structureless is False


def test_grey_of_127_is_dark_and_128_is_bright():
    assert judge(dotted(50, (127, 127, 127))).structureless is True
    assert judge(dotted(50, (128, 128, 128))).structureless is False


def test_grey_is_weighted_as_itu_r_601():
    # .299 * 250 = 74.75; .587 * 250 = 146.75; .114 * 250 = 28.5, on a ground of 0.
    for colour, is_bright in [((250, 0, 0), False), ((0, 250, 0), True), ((0, 0, 250), False)]:
        patch = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
        patch[::2, ::2] = colour
        assert judge(patch).structureless is not is_bright


def test_pixels_that_touch_by_a_corner_are_one_component():
    patch = np.full((SIDE, SIDE, 3), GREY, dtype=np.uint8)
    patch[np.arange(SIDE), np.arange(SIDE)] = 200
    assert judge(patch).structureless is True


def test_a_patch_that_is_bright_all_over_is_structureless():
    assert judge(filled((255, 255, 255), 400)) == Verdict(background=True, structureless=True)


def test_a_patch_need_not_be_square_or_contiguous():
    patch = np.zeros((40, 60, 3), dtype=np.uint8)[::2, ::-3]
    assert judge(patch) == Verdict(background=True, structureless=True)


@pytest.mark.parametrize(
    ("background", "structureless", "dropped"),
    [
        (False, False, {"tissue": False, "paper": False, "none": False}),
        (True, False, {"tissue": False, "paper": True, "none": False}),
        (False, True, {"tissue": False, "paper": True, "none": False}),
        (True, True, {"tissue": True, "paper": True, "none": False}),
    ],
)
def test_tissue_drops_both_paper_drops_either_none_drops_nothing(
    background, structureless, dropped
):
    verdict = Verdict(background=background, structureless=structureless)
    assert {rule: is_dropped(verdict, rule) for rule in RULES} == dropped


def test_an_unknown_rule_is_refused():
    with pytest.raises(InvalidInputError, match="tissue, paper, none"):
        is_dropped(Verdict(background=True, structureless=True), "otsu")


def count_components(bright: np.ndarray) -> int:
    """Components with the background as one, by a flood fill of our own."""
    waiting = {tuple(pixel) for pixel in np.argwhere(bright)}
    n_components = 1
    while waiting:
        n_components += 1
        stack = [waiting.pop()]
        while stack:
            row, column = stack.pop()
            around = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & waiting
            waiting -= around
            stack.extend(around)
    return n_components


@given(
    npst.arrays(
        np.uint8, (12, 9, 3), elements=st.sampled_from([0, 4, 5, 127, 128, 200, 210, 211, 255])
    )
)
def test_a_verdict_agrees_with_a_slow_one(patch):
    values = patch.astype(int)
    empty = (values > 210).all(axis=2) | (values < 5).all(axis=2)
    grey = values @ np.array([0.299, 0.587, 0.114])
    verdict = judge(patch)
    assert verdict.background == (empty.sum() / empty.size > 0.8)
    assert verdict.structureless == (count_components(np.rint(grey) > 127) < 10)
