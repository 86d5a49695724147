"""The filters along lines: SciPy's numbers to the last bit, for every length and for what is not finite."""

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, spline_filter

from workers.training.filters import coefficients, smooth

# Where the compiler of SciPy's wheel may fuse a product and a sum, a last digit may differ.
EXACT = platform.machine() in ("x86_64", "AMD64")
SHAPES = st.lists(st.integers(1, 40), min_size=2, max_size=3).map(tuple)


def assert_same(found, expected):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if EXACT:
        assert np.array_equal(found.view(np.int64), expected.view(np.int64))
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def scipys_coefficients(image):
    return np.stack([spline_filter(channel, 3) for channel in np.moveaxis(image, -1, 0)])


@settings(deadline=None)
@given(shape=SHAPES, channels=st.integers(1, 3), zeros=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_coefficients_are_scipys(shape, channels, zeros, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(*shape, channels)).astype(np.float32) * np.float32(10.0) ** rng.integers(-30, 30)
    image[: int(zeros * shape[0])] = rng.choice([0.0, -0.0])  # as beyond a volume's border
    image[:, int((1 - zeros) * shape[1]) :] *= np.float32(1e-8)  # so that a line's far end counts for long
    assert_same(coefficients(image), scipys_coefficients(image))


@pytest.mark.parametrize("shape", [(700, 3, 1), (3, 700, 2), (2, 130, 70, 1), (130, 2, 3, 1)])
def test_coefficients_of_long_and_of_many_lines_are_scipys(shape):
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    assert_same(coefficients(image), scipys_coefficients(image))
    image[: shape[0] // 2] = 0
    image[:, : shape[1] // 2] = 0
    assert_same(coefficients(image), scipys_coefficients(image))
    assert_same(coefficients(np.zeros_like(image)), scipys_coefficients(np.zeros_like(image)))


@pytest.mark.parametrize("place", [8, 16, 24, 25, 32, 40, 48])
def test_the_sum_that_begins_a_line_ends_only_where_nothing_moves_it_any_more(place):
    image = np.zeros((60, 1, 1), np.float32)
    image[0] = 1.1
    for exponent in range(-5, 70):
        image[place] = np.float32(1.3) * np.float32(2.0) ** exponent
        assert_same(coefficients(image), scipys_coefficients(image))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 30, 79])
def test_what_is_not_finite_spreads_as_with_scipy(value, place):
    image = np.random.default_rng(0).normal(size=(80, 5, 1)).astype(np.float32)
    image[place, 2] = value
    np.testing.assert_array_equal(coefficients(image), scipys_coefficients(image))


def test_an_image_of_any_layout_is_read_as_it_is_and_not_changed():
    image = np.random.default_rng(0).normal(size=(2, 12, 10)).astype(np.float32).transpose(2, 1, 0)
    before = image.copy()
    assert_same(coefficients(image), scipys_coefficients(image))
    assert np.array_equal(image, before)


@settings(deadline=None)
@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=3).map(tuple),
    sigma=st.floats(0.2, 13.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_smoothing_is_scipys(shape, sigma, seed):
    field = np.random.default_rng(seed).random(shape) * 2 - 1
    expected = gaussian_filter(field, sigma, mode="constant", cval=0)
    smooth(field, sigma)
    assert_same(field, expected)


@pytest.mark.parametrize("shape", [(150, 3), (3, 150), (2, 70, 35)])
@pytest.mark.parametrize("sigma", [9.0, 9.2, 12.99])  # radii of 36, 37 and 52 voxels
def test_smoothing_of_long_and_of_many_lines_is_scipys(shape, sigma):
    field = np.random.default_rng(0).random(shape) * 2 - 1
    expected = gaussian_filter(field, sigma, mode="constant", cval=0)
    smooth(field, sigma)
    assert_same(field, expected)
