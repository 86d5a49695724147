"""Images and masks at coordinates: SciPy's numbers to the last bit, borders and single slices included."""

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from workers.training.interpolation import at

# Where the compiler of SciPy's wheel may fuse a product and a sum, a last digit may differ.
LAST_DIGITS = 0 if platform.machine() in ("x86_64", "AMD64") else 1e-5


def scipys(image, label, coordinates, order):
    channels = [
        map_coordinates(c.astype(np.float64), coordinates, order=order, mode="constant", cval=0)
        for c in np.moveaxis(image, -1, 0)
    ]
    mask = map_coordinates(label.astype(np.float64), coordinates, order=0, mode="constant", cval=0)
    return np.stack(channels, axis=-1).astype(np.float32), mask.astype(np.uint8)


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=3).map(tuple),
    channels=st.integers(1, 3),
    size=st.integers(1, 8),
    order=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_is_scipys_interpolation_everywhere(shape, channels, size, order, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(*shape, channels)).astype(np.float32)
    label = rng.integers(0, 5, shape, dtype=np.uint8)
    ends = np.asarray(shape, float).reshape([-1] + [1] * len(shape)) - 1
    coordinates = rng.uniform(-1.5, ends + 1.5, size=(len(shape), *(size,) * len(shape)))
    # Voxels themselves, halves, and both ends, where rounding and mirroring decide.
    special = np.clip(np.rint(2 * coordinates) / 2, 0, ends)
    coordinates = np.where(rng.random(coordinates.shape) < 0.5, special, coordinates)
    expected, expected_mask = scipys(image, label, coordinates, order)
    moved, mask = at(image, label, coordinates, order)
    assert (moved.dtype, mask.dtype, moved.flags.c_contiguous) == (np.float32, np.uint8, True)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=LAST_DIGITS)
    assert np.array_equal(mask, expected_mask)


@pytest.mark.parametrize("shape", [(70, 90), (40, 44, 42)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("order", [1, 3])
def test_a_turned_image_is_scipys_to_the_last_bit(shape, channels, order):
    """Many blocks of points whose neighbours lie side by side, others at the border, and the last block not full."""
    rng = np.random.default_rng(0)
    image = rng.normal(size=(*shape, channels)).astype(np.float32)
    label = rng.integers(0, 5, shape, dtype=np.uint8)
    middle = [(n - 1) / 2 for n in shape]
    coordinates = np.stack(
        np.meshgrid(*(np.arange(n - 3) - m for n, m in zip(shape, middle, strict=True)), indexing="ij")
    )
    turn = np.eye(len(shape)) * 1.1
    turn[-2:, -2:] = [[1.05, -0.3], [0.3, 1.05]]
    coordinates = np.tensordot(turn, coordinates, 1) + np.reshape(middle, [-1] + [1] * len(shape))
    coordinates = coordinates.astype(np.float32 if order == 1 else np.float64)
    expected, expected_mask = scipys(image, label, coordinates, order)
    moved, mask = at(image, label, coordinates, order)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=LAST_DIGITS)
    assert np.array_equal(mask, expected_mask)
    assert (mask == 0).mean() > np.mean(label == 0)  # some points lie outside


def test_arrays_of_any_layout_are_read_as_they_are():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(3, 12, 10)).astype(np.float32).transpose(2, 1, 0)
    label = rng.integers(0, 2, (12, 10), dtype=np.uint8).T
    coordinates = rng.uniform(0, 9, (20, 2)).astype(np.float32).T
    found = at(image, label, coordinates, 3)
    assert np.array_equal(found[0], scipys(image, label, coordinates, 3)[0])
    assert np.array_equal(found[1], scipys(image, label, coordinates, 3)[1])


def test_another_order_is_refused():
    with pytest.raises(ValueError, match="order is 2"):
        at(np.zeros((4, 4, 1), np.float32), np.zeros((4, 4), np.uint8), np.zeros((2, 1)), 2)
