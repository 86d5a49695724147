"""Which part of a case is shown enlarged."""

from __future__ import annotations

import numpy as np

from sweeper.views.crops import Box, box_around, box_of_disagreement, disagreement, largest_wrong


def empty(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


def test_disagreement_counts_the_losses_that_differ_from_most() -> None:
    says = [np.array([row], np.uint8) for row in ([0, 1, 2], [0, 1, 1], [0, 0, 0])]
    assert disagreement(says).tolist() == [[0, 1, 2]]


def test_where_losses_agree_the_part_has_the_most_errors_and_without_any_the_most_truth() -> None:
    truth, wrong = empty(120, 120), empty(120, 120)
    truth[5:20, 90:110] = 1
    wrong[100:110, 10:20] = 1
    alike = box_of_disagreement(truth, [truth | wrong, truth | wrong])
    assert (alike.of(wrong).sum(), alike.of(truth).sum()) == (100, 0)
    right = box_of_disagreement(truth, [truth, truth])
    assert right.of(truth).sum() == truth.sum()
    assert box_of_disagreement(empty(20, 50), [empty(20, 50)]).height == 20  # nothing anywhere: no part is smaller


def test_the_largest_wrong_component_is_connected_and_of_one_loss() -> None:
    truth, first, second = empty(9, 9, 9), empty(9, 9, 9), empty(9, 9, 9)
    first[0, :4, 0] = 1
    first[8, :4, 0] = 1  # eight wrong voxels, in two parts
    second[4, 4, 2:7] = 1
    found = largest_wrong(truth, [first, second])
    assert found is not None
    assert np.array_equal(found, second == 1)
    assert largest_wrong(truth, [truth]) is None


def test_a_part_is_as_high_as_wide_where_the_slice_is_large_enough_and_holds_the_component() -> None:
    part = np.zeros((60, 300), bool)
    part[28:32, 250:299] = True
    assert box_around(part, aspect=3.0) == Box(13, 200, 34, 100)
    assert box_around(part, aspect=1.0) == Box(0, 200, 60, 100)
    assert box_around(np.zeros((90, 90), bool)) == Box(29, 29, 32, 32)
