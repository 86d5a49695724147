"""Sliding windows: exact coverage for any size, means as written down, bounded memory, fixed order."""

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.errors import InputError, ParameterError
from workers.scoring.inference import predict_case, predict_labels


def one_hot_of_first_channel(patches):
    """A network that is right everywhere: the image holds its own labels."""
    assert patches.dtype == np.float32
    return np.eye(3, dtype=np.float32)[np.rint(patches[..., 0]).astype(int)]


def position_in_window(patches):
    """A network whose answer depends on where in the window a voxel lies."""
    size = patches.shape[1:-1]
    ramp = np.linspace(0.1, 0.9, int(np.prod(size)), dtype=np.float32).reshape(size)
    foreground = np.broadcast_to(ramp, patches.shape[:-1]) * (1 + 0.01 * patches[..., 0])
    return np.stack([1 - foreground, foreground], axis=-1)


sizes = st.integers(1, 13)
windows = st.integers(1, 8).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p - 1)))


@settings(deadline=None)
@given(
    st.one_of(
        st.tuples(st.tuples(sizes, sizes), st.tuples(windows, windows)),
        st.tuples(st.tuples(sizes, sizes, sizes), st.tuples(windows, windows, windows)),
    ),
    st.sampled_from(["uniform", "gaussian"]),
    st.integers(1, 5),
    st.randoms(use_true_random=False),
)
def test_a_right_network_stays_right_for_any_size_patch_and_overlap(case, weighting, batch, random):
    shape, axes = case
    labels = np.random.default_rng(random.randrange(2**32)).integers(0, 3, shape)
    options = {
        "patch": tuple(p for p, _ in axes),
        "overlap": tuple(o for _, o in axes),
        "weighting": weighting,
        "batch": batch,
        "classes": 3,
    }
    image = labels[..., np.newaxis].astype(np.float32)
    probabilities = predict_case(one_hot_of_first_channel, image, **options)
    assert probabilities.shape == (*shape, 3)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, np.eye(3)[labels], atol=1e-5)
    found = predict_labels(one_hot_of_first_channel, image, **options)
    assert found.dtype == np.uint8
    assert (found == labels).all()


@pytest.mark.parametrize("weighting", ["uniform", "gaussian"])
def test_overlapping_windows_are_averaged_with_their_weights(weighting):
    """Against a plain float64 sum over windows, with nnU-Net's Gaussian written out."""
    image = np.random.default_rng(0).normal(size=(11, 9, 14, 1)).astype(np.float32)
    patch, overlap = (6, 4, 8), (3, 1, 4)
    # 11 = 6 + 3 + 2: the last window is moved back from 6 to 5.
    starts = [[0, 3, 5], [0, 3, 5], [0, 4, 6]]
    weight = np.ones(patch)
    if weighting == "gaussian":
        for axis, p in enumerate(patch):
            line = np.exp(-0.5 * ((np.arange(p) - (p - 1) / 2) / (p / 8)) ** 2)
            weight = weight * np.maximum(line, 1e-3).reshape([-1 if a == axis else 1 for a in range(3)])
    total, weights = np.zeros((11, 9, 14, 2)), np.zeros((11, 9, 14, 1))
    for corner in itertools.product(*starts):
        region = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
        total[region] += position_in_window(image[region][np.newaxis])[0] * weight[..., np.newaxis]
        weights[region] += weight[..., np.newaxis]
    found = predict_case(
        position_in_window, image, patch=patch, overlap=overlap, classes=2, weighting=weighting, batch=4
    )
    np.testing.assert_allclose(found, total / weights, rtol=1e-5, atol=1e-6)
    assert np.abs(found[..., 1] - found[..., 1].mean()).max() > 0.1


def test_windows_come_in_batches_and_no_overlap_given_is_half_a_patch():
    seen = []

    def network(patches):
        seen.append(patches.shape)
        return position_in_window(patches)

    image = np.zeros((8, 8, 12, 1), np.float32)
    predict_case(network, image, patch=(4, 4, 4), overlap=None, classes=2, batch=4)
    # starts 0, 2, 4 on two axes and 0, 2, 4, 6, 8 on the third: 45 windows
    assert seen == [(4, 4, 4, 4, 1)] * 11 + [(1, 4, 4, 4, 1)]


def test_the_same_input_gives_the_same_bits():
    image = np.random.default_rng(1).normal(size=(13, 17, 11, 2)).astype(np.float32)
    first, second = (
        predict_case(position_in_window, image, patch=(8, 8, 8), overlap=(5, 3, 4), classes=2, batch=3)
        for _ in range(2)
    )
    assert np.array_equal(first, second)


def test_an_image_without_a_patch_is_taken_whole_in_one_call():
    image = np.random.default_rng(1).normal(size=(7, 9, 3)).astype(np.float32)
    found = predict_case(position_in_window, image, patch=None, overlap=None, classes=2)
    assert np.array_equal(found, position_in_window(image[np.newaxis])[0])


def test_a_volume_smaller_than_the_patch_is_filled_up_with_zero():
    seen = []

    def network(patches):
        seen.append(patches.copy())
        return position_in_window(patches)

    image = np.ones((3, 6, 2, 1), np.float32)
    found = predict_case(network, image, patch=(4, 4, 4), overlap=(2, 2, 2), classes=2)
    assert found.shape == (3, 6, 2, 2)
    assert len(seen) == 2
    for patch in seen:
        assert (patch[0, :3, :, :2] == 1).all()
        assert patch.sum() == 3 * 4 * 2


@pytest.mark.parametrize("predict", [predict_case, predict_labels])
def test_memory_is_one_volume_of_probabilities(tmp_path, predict):
    shape, classes = (96, 96, 96), 3
    np.save(tmp_path / "image.npy", np.zeros((*shape, 1), np.float32))
    image = np.load(tmp_path / "image.npy", mmap_mode="r")

    def network(patches):
        return np.full((*patches.shape[:-1], classes), 1 / classes, np.float32)

    tracemalloc.start()
    predict(network, image, patch=(24, 24, 24), overlap=None, classes=classes, batch=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    volume, window = 4 * classes * 96**3, 4 * classes * 24**3
    labels = 96**3 if predict is predict_labels else 0
    assert peak < volume + labels + 10 * window


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap": (4, 2, 2)}, r"overlap is \(4, 2, 2\); it must be at least 0 and less than the patch \(4, 4, 4\)"),
        ({"overlap": (-1, 2, 2)}, "overlap is"),
        ({"overlap": (2, 2)}, "overlap is"),
        ({"patch": (4, 4)}, r"patch is \(4, 4\); 3 sizes"),
        ({"patch": (4, 0, 4)}, "patch is"),
        ({"batch": 0}, "batch is 0"),
        ({"weighting": "linear"}, "weighting is 'linear'; known: gaussian, uniform"),
    ],
)
def test_settings_out_of_range_are_named(options, words):
    settings = {"patch": (4, 4, 4), "overlap": (2, 2, 2), "classes": 2, **options}
    with pytest.raises(ParameterError, match=words):
        predict_case(position_in_window, np.zeros((8, 8, 8, 1), np.float32), **settings)


def test_a_network_with_another_number_of_classes_is_named():
    with pytest.raises(InputError, match=r"shape \(1, 4, 4, 2\), not \(1, 4, 4, 3\)"):
        predict_case(position_in_window, np.zeros((4, 4, 1), np.float32), patch=None, overlap=None, classes=3)
