from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from workers.datasets.preprocessing import (
    Preprocessing,
    canonical_affine,
    from_canonical,
    preprocess,
    resample,
    resample_label,
    resampled_shape,
    sample_positions,
    to_canonical,
    z_score,
)
from workers.errors import DataError, ParameterError

ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def turned_affine(order: tuple[int, ...], signs: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """Affine of a file whose axis i runs along world axis order[i], in direction signs[i]."""
    affine = np.zeros((4, 4))
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = sign * spacing[world]
    affine[:3, 3] = (10, -20, 30)
    affine[3, 3] = 1
    return affine


def stored(world: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """The array (x, y, z, …) as such a file holds it."""
    turned = np.moveaxis(world, order, (0, 1, 2))
    return turned[tuple(slice(None, None, sign) for sign in signs)]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_the_same_body_stored_in_any_of_48_orientations_gives_the_same_arrays(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(1)
    world = rng.normal(size=(7, 8, 9, 1)).astype(np.float32)
    label = rng.integers(0, 3, (7, 8, 9), np.uint8)
    spacing = (1.0, 0.8, 2.5)
    settings = Preprocessing(spacing=(2.0, 1.2, 1.2))
    expected = preprocess(world.copy(), label, spacing, np.diag([*spacing, 1.0]), settings)
    affine = turned_affine(order, signs, spacing)
    file_spacing = tuple(spacing[world_axis] for world_axis in order)
    got = preprocess(stored(world, order, signs).copy(), stored(label, order, signs), file_spacing, affine, settings)
    np.testing.assert_allclose(got.image, expected.image, atol=1e-5)
    np.testing.assert_array_equal(got.label, expected.label)
    assert got.spacing == (2.0, 1.2, 1.2)
    assert got.label.shape == (11, 5, 6)  # 9 · 2.5 / 2 = 11.25, 8 · 0.8 / 1.2 = 5.33, 7 · 1 / 1.2 = 5.83


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
def test_canonical_axes_are_superior_anterior_right_and_can_be_undone(
    order: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    affine = turned_affine(order, signs, (1.0, 2.0, 3.0))
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    there = to_canonical(array, affine)
    np.testing.assert_array_equal(from_canonical(there, affine), array)
    canonical = canonical_affine(array.shape, affine)
    np.testing.assert_allclose(canonical[:3, :3], [[0, 0, 1], [0, 2, 0], [3, 0, 0]])
    index = np.argwhere(there == array[1, 2, 3])[0]
    np.testing.assert_allclose(canonical @ [*index, 1], affine @ [1, 2, 3, 1])


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize(("shape", "steps"), [((5, 12, 4), (2.3, 0.6, 1.7)), ((22, 6, 9), (0.5, 1.3, 0.8))])
def test_resampling_agrees_with_scipy(order: int, shape: tuple[int, ...], steps: tuple[float, ...]) -> None:
    volume = np.random.default_rng(0).normal(size=(11, 7, 8)).astype(np.float32)
    positions = [
        np.clip(sample_positions(n, m, step), 0, n - 1) for n, m, step in zip(volume.shape, shape, steps, strict=True)
    ]
    expected = map_coordinates(
        volume.astype(np.float64), np.meshgrid(*positions, indexing="ij"), order=order, mode="mirror"
    )
    got = resample(volume, shape, steps, order)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_resampling_in_slabs_and_from_views_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = np.random.default_rng(0).normal(size=(9, 10, 11)).astype(np.float32)
    whole = resample(volume, (6, 5, 14), (1.5, 2.0, 0.8), 3)
    monkeypatch.setattr("workers.datasets.preprocessing._SLAB_VALUES", 100)
    view = np.asfortranarray(volume[::-1])[::-1]
    np.testing.assert_allclose(resample(view, (6, 5, 14), (1.5, 2.0, 0.8), 3), whole, atol=1e-6)


@given(n=st.integers(1, 40), factor=st.integers(1, 4))
def test_a_constant_stays_constant_and_labels_stay_labels(n: int, factor: int) -> None:
    volume = np.full((n, 3, 2), 7.5, np.float32)
    np.testing.assert_allclose(resample(volume, (n * factor, 3, 2), (1 / factor, 1, 1), 3), 7.5, atol=1e-5)
    label = np.random.default_rng(n).integers(0, 3, (n, 3)).astype(np.uint8)
    finer = resample_label(label, (n * factor, 3), (1 / factor, 1))
    np.testing.assert_array_equal(finer, np.repeat(label, factor, axis=0))


@given(n=st.integers(1, 600), spacing=st.floats(0.3, 6), target=st.floats(0.3, 6))
def test_the_new_grid_covers_the_extent_to_half_a_voxel(n: int, spacing: float, target: float) -> None:
    (m,) = resampled_shape((n,), (spacing,), (target,))
    assert m >= 1
    assert abs(m * target - n * spacing) <= 0.5001 * target or m == 1
    positions = sample_positions(n, m, target / spacing)
    assert positions.mean() == pytest.approx((n - 1) / 2)


@given(st.integers(0, 2**32 - 1), st.floats(-500, 500), st.floats(0.01, 300))
@settings(max_examples=30)
def test_z_score_has_mean_0_and_deviation_1_over_all_channels(seed: int, mean: float, deviation: float) -> None:
    image = np.random.default_rng(seed).normal(mean, deviation, (6, 7, 3)).astype(np.float32)
    scored = z_score(image.copy())
    assert scored.mean(dtype=np.float64) == pytest.approx(0, abs=1e-2)  # float32 holds 7 digits of a large mean
    assert scored.std(dtype=np.float64) == pytest.approx(1, abs=1e-2)
    np.testing.assert_allclose(scored * image.std() + image.mean(), image, atol=1e-3 * abs(mean) + 1e-2 * deviation)


def test_z_score_follows_clipping() -> None:
    image = np.array([[-1000, 0], [100, 3000]], np.float32)[..., None]
    scored = preprocess(image, np.zeros((2, 2), np.uint8), (1, 1), None, Preprocessing(clip=(-79, 304))).image
    clipped = np.array([[-79, 0], [100, 304]])
    np.testing.assert_allclose(scored[..., 0], (clipped - clipped.mean()) / clipped.std(), rtol=1e-5)


def test_2d_images_are_resized_with_their_masks() -> None:
    y, x = np.indices((60, 80))
    mask = ((y - 20) ** 2 + (x - 50) ** 2 < 144).astype(np.uint8)
    image = np.stack([100.0 * mask + 20] * 3, axis=-1).astype(np.float32)
    ready = preprocess(image, mask, (1, 1), None, Preprocessing(size=(30, 40)))
    assert ready.image.shape == (30, 40, 3)
    assert ready.image.dtype == np.float32
    assert ready.label.dtype == np.uint8
    assert ready.label.mean() == pytest.approx(mask.mean(), rel=0.05)
    bright = ready.image[..., 0] > (ready.image.max() + ready.image.min()) / 2
    assert (bright == ready.label).mean() > 0.98  # image and mask stay aligned


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    image = np.random.default_rng(0).normal(size=(8, 9, 3)).astype(np.float32)
    ready = preprocess(image.copy(), np.zeros((8, 9), np.uint8), (1, 1), None, Preprocessing(size=(8, 9)))
    np.testing.assert_allclose(ready.image, (image - image.mean()) / image.std(), atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    image = np.ones((4, 4, 1), np.float32)
    image[1, 2] = bad
    with pytest.raises(DataError, match=r"scan7\.png: 1 of 16 values are NaN or infinite"):
        preprocess(image, np.zeros((4, 4), np.uint8), (1, 1), None, Preprocessing(), where="scan7.png")


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_an_image_of_one_value_is_refused(value: float) -> None:
    with pytest.raises(DataError, match=r"scan7\.png: every value of the image is"):
        z_score(np.full((50, 50, 3), value, np.float32), "scan7.png")


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="the image has shape 4×5 and its mask 5×4"):
        preprocess(np.ones((4, 5, 1), np.float32), np.zeros((5, 4), np.uint8), (1, 1), None, Preprocessing())


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": (0, 4)},
        {"spacing": (1.0, 0.0, 1.0)},
        {"spacing": (1.0, float("nan"), 1.0)},
        {"clip": (5.0, 5.0)},
        {"order": 2},
    ],
)
def test_settings_outside_their_range_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(arguments))):
        Preprocessing(**arguments)  # type: ignore[arg-type]
