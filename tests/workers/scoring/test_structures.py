"""Centre lines, lesions and volumes: by hand, and against a slow computation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.workers.scoring.one_class import value

pairs = hnp.arrays(bool, (2, 6, 7))


@settings(max_examples=20)
@given(hnp.arrays(bool, st.sampled_from([(2, 6, 7), (2, 4, 5, 3)])))
def test_centre_lines_are_scored_from_0_to_1_alike_in_both_directions(pair):
    first, second = pair
    found = value("cldice", first, second)
    assert 0 <= found <= 1
    assert found == pytest.approx(value("cldice", second, first))
    assert value("cldice", first, first) == 1


def test_cldice_is_about_the_centre_line_and_not_the_width():
    thin, thick, broken = np.zeros((3, 21, 40), bool)
    thin[10, 5:35] = True
    thick[8:13, 3:37] = True
    broken[10, 5:12] = True
    assert value("cldice", thin, thick) == pytest.approx(1, abs=0.05)
    assert value("dsc", thin, thick) < 0.4
    # All 7 of the prediction's centre line are right, and 7 of the truth's 30 were found.
    assert value("cldice", thin, broken) == pytest.approx(2 * (7 / 30) / (1 + 7 / 30))
    assert value("cldice", thin, np.zeros_like(thin)) == 0


def lesions(*boxes, shape=(12, 30)):
    mask = np.zeros(shape, bool)
    for rows, columns in boxes:
        mask[slice(*rows), slice(*columns)] = True
    return mask


def test_two_of_three_lesions_found_and_one_invented():
    true = lesions(((1, 4), (1, 4)), ((1, 4), (8, 11)), ((8, 10), (1, 3)))
    marked = lesions(((1, 4), (1, 4)), ((1, 4), (9, 12)), ((8, 10), (20, 25)))
    assert value("lesion_f1", true, marked) == pytest.approx(2 * 2 / (3 + 3))
    assert value("lesion_detection", true, marked) == pytest.approx(2 / 3)
    # The second overlaps by 6 of 12 pixels.
    assert value("lesion_f1(iou=0.5)", true, marked) == pytest.approx(4 / 6)
    assert value("lesion_f1(iou=0.51)", true, marked) == pytest.approx(2 / 6)
    assert value("lesion_detection(share=0.66)", true, marked) == pytest.approx(2 / 3)
    assert value("lesion_detection(share=0.67)", true, marked) == pytest.approx(1 / 3)
    assert value("lesion_detection(share=1)", true, marked) == pytest.approx(1 / 3)


def test_one_mark_over_two_lesions_matches_one_of_them():
    true = lesions(((1, 4), (1, 4)), ((1, 4), (6, 9)))
    assert value("lesion_f1", true, lesions(((1, 4), (1, 9)))) == pytest.approx(2 / 3)
    assert value("lesion_detection", true, lesions(((1, 4), (1, 9)))) == 1


def test_lesions_that_touch_at_a_corner_are_one():
    corner = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
    assert value("lesion_f1", corner, corner) == 1
    # A mark on one half of one lesion, where face neighbours alone would make it two.
    half = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0]], bool)
    assert value("lesion_detection", corner, half) == 1


@pytest.mark.parametrize(("true", "marked", "f1", "detection"), [(0, 0, 1, None), (0, 1, 0, None), (1, 0, 0, 0)])
def test_rules_where_there_is_no_lesion(true, marked, f1, detection):
    there, none = lesions(((1, 4), (1, 4))), lesions()
    masks = (there if true else none), (there if marked else none)
    assert value("lesion_f1", *masks) == f1
    assert value("lesion_detection", *masks) == detection


def components(mask):
    """Sets of pixels, by flooding from neighbour to neighbour."""
    left = {tuple(p) for p in np.argwhere(mask)}
    found = []
    while left:
        open_, own = [left.pop()], set()
        while open_:
            place = open_.pop()
            own.add(place)
            near = {tuple(np.add(place, step)) for step in itertools.product((-1, 0, 1), repeat=mask.ndim)}
            open_ += near & left
            left -= near
        found.append(own)
    return found


def most_matches(true, marked, fits):
    """As many pairs as possible, by trying every assignment."""
    short, long = sorted((true, marked), key=len)
    return max(
        (
            sum(fits(a, b) for a, b in zip(short, order, strict=True))
            for order in itertools.permutations(long, len(short))
        ),
        default=0,
    )


@settings(max_examples=30)
@given(hnp.arrays(bool, (2, 4, 7), elements=st.sampled_from([False, False, True])), st.sampled_from([0.05, 0.3, 0.5]))
def test_lesion_f1_agrees_with_every_assignment_tried(pair, iou):
    true, marked = map(components, pair)
    expected = 1.0
    if true or marked:
        matched = most_matches(true, marked, lambda a, b: len(a & b) > 0 and len(a & b) / len(a | b) >= iou)
        expected = 2 * matched / (len(true) + len(marked))
    assert value(f"lesion_f1(iou={iou})", *pair) == pytest.approx(expected)
    found = value("lesion_detection", *pair)
    hit = [any(place in set(map(tuple, np.argwhere(pair[1]))) for place in lesion) for lesion in true]
    assert found == (pytest.approx(np.mean(hit)) if hit else None)


@given(pairs, st.sampled_from([None, (0.5, 2.0), (3.0, 1.0)]))
def test_volume_differences_are_those_of_the_counted_pixels(pair, spacing):
    true, marked = pair
    pixels = abs(int(true.sum()) - int(marked.sum()))
    assert value("volume_difference", *pair, spacing=spacing) == pytest.approx(pixels * math.prod(spacing or (1,)))
    relative = value("relative_volume_difference", *pair, spacing=spacing)
    if true.any():
        assert relative == pytest.approx(pixels / true.sum())
    else:
        assert relative == (None if marked.any() else 0)
    assert value("volume_difference", true, true) == 0
