"""Overlay pictures: every colour stands where the two masks disagree, and nowhere else."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from workers.errors import DataError
from workers.scoring.overlays import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    TRUTH_OUTLINE,
    Segmentation,
    blend,
    outline,
    overlay_png,
    planes,
    to_grey_or_colour,
)


def picture(png: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return np.asarray(image.convert("RGB")).astype(int)


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Pixels whose hue leans to `colour` as a blend over grey does."""
    wanted = np.array(colour) - np.mean(colour)
    leaning = pixels - pixels.mean(axis=-1, keepdims=True)
    return (leaning @ wanted) > 0.5 * (wanted @ wanted)


def test_each_kind_of_error_has_its_colour_and_hits_have_none() -> None:
    grey = np.full((8, 8, 3), 120, np.uint8)
    truth = np.zeros((8, 8), np.uint8)
    prediction = np.zeros((8, 8), np.uint8)
    truth[0:6, 0:6] = 1
    prediction[0:6, 0:4] = 1  # columns 4 and 5 are missed
    prediction[7, 7] = 1  # invented
    result = blend(grey, truth, prediction).astype(int)
    assert near(result[2, 4], FALSE_NEGATIVE)
    assert near(result[7, 7], FALSE_POSITIVE)
    assert (result[2, 2] == 120).all()
    assert (result[7, 0] == 120).all()
    assert (result[2, 5] == TRUTH_OUTLINE).all()
    assert (grey == 120).all()  # the input is left as it was


def test_a_wrong_foreground_class_is_a_miss_of_the_right_one() -> None:
    grey = np.full((5, 5, 3), 120, np.uint8)
    truth = np.full((5, 5), 1, np.uint8)
    result = blend(grey, truth, np.full((5, 5), 2, np.uint8)).astype(int)
    assert near(result, FALSE_NEGATIVE).all()


@given(st.integers(0, 2**32 - 1))
def test_a_perfect_prediction_has_no_colour(seed: int) -> None:
    mask = np.random.default_rng(seed).integers(0, 3, (6, 7)).astype(np.uint8)
    result = blend(np.full((6, 7, 3), 90, np.uint8), mask, mask)
    assert (result.max(axis=-1) == result.min(axis=-1)).all()


def test_the_outline_is_inside_and_outside_of_the_border_only() -> None:
    mask = np.zeros((7, 7), np.uint8)
    mask[2:5, 2:5] = 1
    inside, outside = outline(mask)
    assert inside.sum() == 8
    assert not inside[3, 3]
    assert outside.sum() == 12
    assert not (inside & outside).any()
    whole, nothing = outline(np.ones((4, 4), np.uint8))
    assert not whole.any()
    assert not nothing.any()


def test_a_volume_shows_three_planes_through_its_truth() -> None:
    truth = np.zeros((6, 8, 10), np.uint8)
    truth[4, 1:3, 2:9] = 1
    truth[1, 1, 2] = 1
    case = Segmentation(np.zeros((6, 8, 10, 1)), truth, np.zeros_like(truth), spacing=(3.0, 1.0, 1.0))
    shapes = [(image.shape, ratio) for image, _, _, ratio in planes(case)]
    assert shapes == [((8, 10, 1), 1.0), ((6, 10, 1), 3.0), ((6, 8, 1), 3.0)]
    assert [int(mask.sum()) for _, mask, _, _ in planes(case)] == [14, 8, 3]


def test_without_any_truth_the_prediction_chooses_the_plane() -> None:
    empty = np.zeros((5, 5, 5), np.uint8)
    found = empty.copy()
    found[4] = 1
    case = Segmentation(np.zeros((5, 5, 5, 1)), empty, found)
    assert planes(case)[0][2].sum() == 25
    nothing = Segmentation(np.arange(125.0).reshape(5, 5, 5, 1), empty, empty)
    assert planes(nothing)[0][0][0, 0, 0] == 50  # the middle plane


def test_the_picture_holds_a_row_for_each_case_and_keeps_proportions() -> None:
    rng = np.random.default_rng(0)
    truth = (rng.random((30, 60)) > 0.5).astype(np.uint8)
    flat = Segmentation(rng.normal(size=(30, 60, 3)), truth, truth)
    one = picture(overlay_png([flat], height=120))
    two = picture(overlay_png([flat, flat], height=120))
    assert one.shape[1] == 240 + 6 + 240
    assert two.shape == (one.shape[0] + 120 + 6, one.shape[1], 3)
    wrong = picture(overlay_png([Segmentation(np.zeros((30, 60, 1)), truth, 1 - truth)], height=120))
    assert near(wrong[:120, 246:], FALSE_POSITIVE).any()
    assert near(wrong[:120, 246:], FALSE_NEGATIVE).any()
    assert not near(wrong[:120, :240], FALSE_POSITIVE).any()  # the left picture is the plain image


def test_a_plain_image_and_three_channels_become_pixels() -> None:
    assert (to_grey_or_colour(np.full((4, 4, 1), -7.0)) == 128).all()
    ramp = to_grey_or_colour(np.linspace(-5, 5, 400).reshape(20, 20, 1))
    assert ramp.shape == (20, 20, 3)
    assert ramp.min() == 0
    assert ramp.max() == 255
    two = np.stack([np.linspace(0, 1, 16).reshape(4, 4), np.zeros((4, 4))], axis=-1)
    assert (to_grey_or_colour(two)[..., 0] == to_grey_or_colour(two)[..., 2]).all()


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ((4, 4, 1), (4, 5), r"\(4, 5\)"),
        ((4, 4), (4, 4), r"\(4, 4\)"),
        ((2, 2, 2, 2, 1), (2, 2, 2, 2), "2D or 3D"),
    ],
)
def test_shapes_that_disagree_are_named(image: tuple[int, ...], mask: tuple[int, ...], message: str) -> None:
    labels = np.zeros(mask, np.uint8)
    with pytest.raises(DataError, match=message):
        overlay_png([Segmentation(np.zeros(image), labels, labels)])


def test_nothing_to_draw_and_nan_are_refused() -> None:
    labels = np.zeros((4, 4), np.uint8)
    with pytest.raises(DataError, match="at least one"):
        overlay_png([])
    with pytest.raises(DataError, match="finite"):
        overlay_png([Segmentation(np.full((4, 4, 1), np.nan), labels, labels)])
