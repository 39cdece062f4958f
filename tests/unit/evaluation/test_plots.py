from __future__ import annotations

import cv2
import numpy as np
import pytest

from slideloop.errors import InvalidInputError, OutputError
from slideloop.evaluation.plots import learning_curves, mask_picture, overlaid


def run(strategy: str, seed: int, engine: str = "linear", n_sessions: int = 4, **measures):
    curve = [
        {"session": n, "n_labels": 25 * n, "f1": 0.5 + 0.1 * n, "f1_unreviewed": 0.45 + 0.1 * n}
        | measures
        for n in range(1, n_sessions + 1)
    ]
    return {"strategy": strategy, "seed": seed, "engine": engine, "curve": curve}


def result(*runs, **settings):
    return {"settings": {"positive": "Tumor", "weights": "random"} | settings, "runs": list(runs)}


def size_of(path):
    height, width = cv2.imread(str(path)).shape[:2]
    return width, height


def test_curves_of_several_strategies_and_seeds_become_a_picture(tmp_path):
    runs = [run(name, seed) for name in ("cnfp", "random", "of_a_plugin") for seed in range(3)]
    learning_curves(result(*runs), tmp_path / "curves.png")
    assert size_of(tmp_path / "curves.png")[0] >= 1200


def test_only_the_finished_picture_is_left(tmp_path):
    learning_curves(result(run("cnfp", 0)), tmp_path / "curves.png")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_a_picture_is_replaced(tmp_path):
    (tmp_path / "curves.png").write_bytes(b"old")
    learning_curves(result(run("cnfp", 0)), tmp_path / "curves.png")
    assert size_of(tmp_path / "curves.png")[0] >= 1200


def test_one_seed_and_a_second_engine_are_drawn(tmp_path):
    both = result(run("cnfp", 0), run("cnfp", 0, "faithful", n_sessions=1))
    learning_curves(both, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_measures_that_are_null_everywhere_are_drawn_as_nothing(tmp_path):
    nothing = result(run("cnfp", 0, f1=None, f1_unreviewed=None))
    learning_curves(nothing, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_names_with_dollars_and_foreign_letters_are_no_formula(tmp_path):
    learning_curves(result(run("cnfp", 0), positive="T$_{um$ 腫瘍"), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_the_tile_experiment_gets_two_panels(tmp_path):
    runs = [run("cnfp", seed, accuracy=0.8, perfect_p10=0.6, p10=0.9) for seed in range(2)]
    learning_curves(result(*runs), tmp_path / "tiles.svg")
    drawing = (tmp_path / "tiles.svg").read_text()
    assert 'id="axes_2"' in drawing
    assert 'id="axes_3"' not in drawing


def test_full_supervision_is_a_level_line(tmp_path):
    runs = [run("cnfp", seed, accuracy=0.8, perfect_p10=0.6, p10=0.9) for seed in range(2)]
    full = {"n_labels": 1234, "accuracy": 0.95, "perfect_p10": None}
    for name, more in (("with", {"full_supervision": full}), ("without", {})):
        learning_curves(result(*runs) | more, tmp_path / f"{name}.svg")
    drawn, plain = ((tmp_path / f"{name}.svg").read_text() for name in ("with", "without"))
    # In the panel of the accuracy and its legend; there is no perfect P@10 of it.
    assert drawn.count('id="line2d_') == plain.count('id="line2d_') + 2


def test_measures_can_be_chosen(tmp_path):
    runs = [run("cnfp", seed, jaccard=0.6, jaccard_unreviewed=0.5) for seed in range(2)]
    both = ("f1_unreviewed", "jaccard_unreviewed")
    learning_curves(result(*runs), tmp_path / "both.svg", both)
    assert 'id="axes_2"' in (tmp_path / "both.svg").read_text()


def test_a_result_without_a_point_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="no curve"):
        learning_curves(result(run("cnfp", 0, n_sessions=0)), tmp_path / "curves.png")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OutputError, match="nowhere"):
        learning_curves(result(run("cnfp", 0)), tmp_path / "nowhere" / "curves.png")


def test_a_mask_is_drawn_beside_its_slide_and_truth(tmp_path):
    slide = np.full((60, 80, 3), 200, np.uint8)
    mask = np.zeros((6, 8, 3), np.uint8)
    mask[2:4, 2:5] = 0, 160, 70
    masks = [("25 labels", mask), ("Mask", mask)]
    mask_picture(slide, masks[1:], tmp_path / "mask.png", truth_rgb=mask, title="cnfp, seed 0")
    mask_picture(slide, masks, tmp_path / "masks.png", truth_rgb=mask, title="cnfp, seed 0")
    (width, height), (same, lower) = (size_of(tmp_path / f"{n}.png") for n in ("mask", "masks"))
    assert width >= 1200
    # Four pictures share the width of three.
    assert same == width
    assert lower < height


def test_black_leaves_the_slide_as_it_is():
    slide = np.full((40, 40, 3), 200, np.uint8)
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[:, 2:] = 0, 160, 70
    out = overlaid(slide, colours)
    assert np.array_equal(out[:, :20], slide[:, :20])


def test_a_covered_area_shows_the_slide_through_and_has_a_dark_rim():
    slide = np.full((40, 40, 3), 200, np.uint8)
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[:, 2:] = 0, 160, 70
    out = overlaid(slide, colours, opacity=0.5)
    assert out[20, 30].tolist() == [100, 180, 135]
    assert out[20, 20].tolist() == [25, 25, 25]


def test_colours_of_a_grid_that_ends_early_are_not_stretched():
    slide = np.full((40, 50, 3), 200, np.uint8)
    colours = np.full((4, 4, 3), 90, np.uint8)
    out = overlaid(slide, colours, covered=(0.8, 1.0))
    assert np.array_equal(out[:, 40:], slide[:, 40:])
    assert (out[:, :40] != slide[:, :40]).all()
