"""Surface Dice and boundary IoU against distances that are measured pixel by pixel, and by hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.workers.scoring.one_class import value

pairs = hnp.arrays(bool, (2, 6, 7))
METRICS = ["nsd", "nsd(tolerance=2)", "boundary_iou", "boundary_iou(width=0.2)"]


@pytest.mark.parametrize("name", METRICS)
@settings(max_examples=20)
@given(pairs)
def test_boundaries_are_scored_from_0_to_1_alike_in_both_directions(name, pair):
    first, second = pair
    found = value(name, first, second)
    assert 0 <= found <= 1
    assert found == pytest.approx(value(name, second, first))
    assert value(name, first, first) == 1


@pytest.mark.parametrize("name", METRICS)
def test_a_missed_boundary_scores_0(name):
    square = np.zeros((6, 6), bool)
    square[2:4, 2:4] = True
    assert value(name, square, np.zeros_like(square)) == value(name, np.zeros_like(square), square) == 0


@settings(max_examples=20)
@given(pairs, st.floats(0.3, 4), st.floats(0.3, 4))
def test_a_larger_tolerance_is_never_worse(pair, one, other):
    low, high = sorted((round(one, 3), round(other, 3)))
    assert value(f"nsd(tolerance={low!r})", *pair) <= value(f"nsd(tolerance={high!r})", *pair) + 1e-12


def test_the_tolerance_is_in_the_unit_of_the_spacing():
    first, second = np.zeros((2, 20, 20), bool)
    first[5:15, 5:15], second[7:17, 5:15] = True, True
    assert value("nsd(tolerance=2)", first, second) == 1
    # Each outline is 4 sides of 9 and 4 corners that are cut off. Of it, 8 of each long side and two corners lie on
    # the other one.
    corner = math.sqrt(0.5)
    assert value("nsd(tolerance=0)", first, second) == pytest.approx((2 * 8 + 2 * corner) / (4 * 9 + 4 * corner))
    assert value("nsd(tolerance=2)", first, second, spacing=(3.0, 3.0)) < 1
    assert value("nsd(tolerance=6)", first, second, spacing=(3.0, 3.0)) == 1


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (2.0, 1.0, 0.5)])
def test_surface_dice_of_concentric_balls_goes_by_the_difference_of_their_radii(spacing):
    shape = [int(60 / s) + 1 for s in spacing]
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    squares = sum(((g - (n - 1) / 2) * s) ** 2 for g, n, s in zip(grid, shape, spacing, strict=True))
    small, large = squares <= 12**2, squares <= 20**2
    assert value("nsd(tolerance=5)", small, large, spacing=spacing) == 0
    assert value("nsd(tolerance=11)", small, large, spacing=spacing) == 1


def band(mask, reach, spacing):
    """The pixels of a mask that are near one outside of it, by measuring every distance."""
    padded = np.pad(mask, 1)
    outside = [np.array(p) for p in np.ndindex(padded.shape) if not padded[p]]
    near = np.zeros_like(mask)
    for place in itertools.product(*map(range, mask.shape)):
        if mask[place]:
            steps = [(np.array(place) + 1 - other) * spacing for other in outside]
            near[place] = min(math.hypot(*step) for step in steps) <= reach + 1e-9
    return near


@settings(max_examples=12)
@given(pairs, st.sampled_from([(1.0, 1.0), (0.5, 2.0)]), st.sampled_from([0.02, 0.25, 0.4]))
def test_boundary_iou_agrees_with_bands_that_are_measured_pixel_by_pixel(pair, spacing, width):
    reach = max(width * math.hypot(6 * spacing[0], 7 * spacing[1]), min(spacing))
    first, second = (band(mask, reach, spacing) for mask in pair)
    union = (first | second).sum()
    expected = (first & second).sum() / union if union else 1.0
    assert value(f"boundary_iou(width={width})", *pair, spacing=spacing) == pytest.approx(expected)


def test_a_hole_that_is_missed_lowers_boundary_iou_more_than_iou():
    full = np.zeros((40, 40), bool)
    full[5:35, 5:35] = True
    hollow = full.copy()
    hollow[18:22, 18:22] = False
    assert value("iou", hollow, full) > 0.97
    assert value("boundary_iou", hollow, full) < 0.92
