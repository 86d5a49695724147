"""The six transforms: their probabilities and ranges, image and mask alike, pure in the seed."""

import itertools
import threading
from functools import cache

import numpy as np
import pytest
import scipy.ndimage
from batchgenerators.transforms.color_transforms import BrightnessMultiplicativeTransform
from batchgenerators.transforms.spatial_transforms import SpatialTransform

from trials.spec import TrainingSpec
from workers.errors import ParameterError
from workers.training.augmentation import BRIGHTNESS, SCALE, augment, augmented, choose, margin

SPATIAL = ("scaling", "rotation", "elastic")
ALL = (*SPATIAL, "mirror_vertical", "mirror_horizontal", "brightness")
HALF = TrainingSpec(augmentation_probability=0.5)


@pytest.fixture(params=["batchgenerators", "fast"])
def half(request):
    """Each transform as often as not, with either kind of spatial transform."""
    return TrainingSpec(augmentation_probability=0.5, spatial_transform=request.param)


def sequence(seed):
    return np.random.SeedSequence([seed, 1, 2])


@cache
def transforms_of(seed):
    """What is chosen with a seed; asked for thousands of seeds again and again."""
    chosen = choose(sequence(seed), HALF)
    return frozenset(n for n in ALL if getattr(chosen, n))


def seeds_with(*names, count=1):
    """The first seeds which choose exactly the named transforms."""
    return list(itertools.islice((s for s in itertools.count() if transforms_of(s) == set(names)), count))


def sample(shape=(48, 40), channels=2):
    generator = np.random.default_rng(0)
    image = generator.normal(size=(*shape, channels)).astype(np.float32)
    return image, generator.integers(0, 3, shape).astype(np.uint8)


def test_each_transform_has_its_own_dice_of_the_papers_probability():
    samples = (choose(sequence(seed), TrainingSpec()) for seed in range(6000))
    chosen = np.array([[bool(getattr(sample, name)) for name in ALL] for sample in samples])
    tolerance = 4.5 * np.sqrt(0.15 * 0.85 / 6000)
    assert np.abs(chosen.mean(axis=0) - 0.15).max() < tolerance
    together = np.corrcoef(chosen.T)[np.triu_indices(6, 1)]
    assert np.abs(together).max() < 4.5 / np.sqrt(6000)


def test_without_a_chance_a_sample_stays_as_it_is():
    image, label = sample()
    moved, mask = augment(image, label, sequence(0), TrainingSpec(augmentation_probability=0))
    assert np.array_equal(moved, image)
    assert np.array_equal(mask, label)
    assert not np.shares_memory(moved, image)


@pytest.mark.parametrize("spatial", ["batchgenerators", "fast"])
@pytest.mark.parametrize("shape", [(48, 40), (20, 24, 16)])
def test_augmentation_is_pure(shape, spatial):
    image, label = sample(shape)
    before = image.copy(), label.copy()
    everything = TrainingSpec(augmentation_probability=1, spatial_transform=spatial)
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    first = augment(image, label, sequence(3), everything)
    assert np.array_equal(np.random.get_state()[1], state)
    np.random.seed(6)
    again, other = augment(image, label, sequence(3), everything), augment(image, label, sequence(4), everything)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert all(np.array_equal(a, b) for a, b in zip(before, (image, label), strict=True))
    moved, mask = first
    assert (moved.shape, moved.dtype, mask.shape, mask.dtype) == (image.shape, np.float32, shape, np.uint8)
    assert moved.flags.c_contiguous
    assert mask.flags.c_contiguous


def test_threads_that_augment_at_once_do_not_disturb_each_other():
    image, label = sample((24, 24))
    everything = TrainingSpec(augmentation_probability=1)
    expected = [augment(image, label, sequence(s), everything)[0] for s in range(24)]
    found = {}

    def run(first):
        for s in range(first, 24, 4):
            found[s] = augment(image, label, sequence(s), everything)[0]

    threads = [threading.Thread(target=run, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(expected[s], found[s]) for s in range(24))


@pytest.mark.parametrize("shape", [(9, 7), (5, 9, 7)])
@pytest.mark.parametrize(("name", "axis"), [("mirror_vertical", -2), ("mirror_horizontal", -1)])
def test_mirroring_flips_one_axis_of_the_slice(shape, name, axis):
    image, label = sample(shape)
    (seed,) = seeds_with(name)
    moved, mask = augment(image, label, sequence(seed), HALF)
    assert np.array_equal(moved, np.flip(image, axis - 1))
    assert np.array_equal(mask, np.flip(label, axis))


def test_brightness_scales_each_channel_by_a_factor_from_half_to_two():
    image, label = sample(channels=3)
    factors = []
    for seed in seeds_with("brightness", count=60):
        moved, mask = augment(image, label, sequence(seed), HALF)
        ratio = (moved / image).reshape(-1, 3)
        np.testing.assert_allclose(ratio, ratio[:1].repeat(len(ratio), axis=0), rtol=1e-4)
        assert np.array_equal(mask, label)
        factors.append(ratio[0])
    factors = np.array(factors)
    assert 0.5 <= factors.min() < 0.6
    assert 1.9 < factors.max() <= 2
    assert not np.allclose(factors[:, 0], factors[:, 1])


@pytest.mark.parametrize(("shape", "channels"), [((48, 40), 3), ((48, 40), 1), ((9, 8, 7), 2)])
def test_brightness_is_batchgenerators_own_to_the_last_bit(shape, channels):
    image, label = sample(shape, channels)
    for seed in seeds_with("brightness", count=3):
        np.random.seed(sequence(seed).generate_state(8))
        transform = BrightnessMultiplicativeTransform(BRIGHTNESS, per_channel=True, p_per_sample=1)
        expected = transform(data=np.moveaxis(image, -1, 0)[np.newaxis].copy())["data"][0]
        assert np.array_equal(augment(image, label, sequence(seed), HALF)[0], np.moveaxis(expected, 0, -1))


@pytest.mark.parametrize("names", [(), ("brightness",), ("mirror_vertical",), ("elastic",)])
def test_what_no_transform_changes_is_a_view(names):
    image, label = sample()
    (seed,) = seeds_with(*names)
    moved, mask = augmented(image, label, sequence(seed), HALF)
    assert np.shares_memory(moved, image) == (names in ((), ("mirror_vertical",)))
    assert np.shares_memory(mask, label) == (names != ("elastic",))
    for found, expected in zip((moved, mask), augment(image, label, sequence(seed), HALF), strict=True):
        assert np.array_equal(found, expected)


def coordinates(shape):
    """An image whose channels are its own coordinates: interpolation gives where each pixel came from."""
    image = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij"), axis=-1)
    return image.astype(np.float32), np.zeros(shape, np.uint8)


def linear_map(shape, seed, half):
    """The matrix of an affine transform, from the middle half of the image, where no border was met."""
    image, label = coordinates(shape)
    moved, _ = augment(image, label, sequence(seed), half)
    middle = tuple(slice(n // 4, n - n // 4) for n in shape)
    matrix, *_ = np.linalg.lstsq(
        image[middle].reshape(-1, len(shape)), moved[middle].reshape(-1, len(shape)), rcond=None
    )
    return matrix


def test_scaling_covers_its_range_alike_on_all_axes(half):
    scales = []
    for seed in seeds_with("scaling", count=80):
        matrix = linear_map((32, 32), seed, half)
        np.testing.assert_allclose(matrix, np.eye(2) * matrix[0, 0], atol=1e-3)
        scales.append(matrix[0, 0])
    assert 0.849 <= min(scales) < 0.87
    assert 1.22 < max(scales) <= 1.251
    assert 0.3 < np.mean(np.array(scales) < 1) < 0.7


@pytest.mark.parametrize("shape", [(32, 32), (16, 16, 16)])
def test_rotation_is_by_at_most_15_degrees_about_each_axis(shape, half):
    angles = []
    for seed in seeds_with("rotation", count=60):
        matrix = linear_map(shape, seed, half)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(shape)), atol=2e-3)
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    limit = 15.1 if len(shape) == 2 else 17  # three turns, one after the other, mix
    assert np.abs(angles).max() <= limit
    assert min(angles) < -12
    assert max(angles) > 12


def test_elastic_deformation_is_smooth_and_as_strong_as_its_parameters_say(half):
    image, label = coordinates((224, 224))
    inner = (slice(80, 144),) * 2  # further from the border than any displacement
    deviations = []
    for seed in seeds_with("elastic", count=12):
        moved, _ = augment(image, label, sequence(seed), half)
        shift = (moved - image)[inner]
        deviations.append(shift.std())
        # smoothed over at least 9 pixels: neighbours move nearly alike
        assert np.abs(np.diff(shift, axis=0)).max() < 0.6 * max(np.abs(shift).max(), 1)
    # α up to 900 times the deviation of uniform noise under a Gaussian of σ = 9: 16 pixels at most
    assert 3 < np.mean(deviations) < 16
    assert min(deviations) < np.mean(deviations) < max(deviations)


@pytest.mark.parametrize("shape", [(64, 64), (32, 40, 36)])
@pytest.mark.parametrize("names", [("scaling",), ("rotation",), ("elastic",), SPATIAL, ALL])
def test_the_mask_moves_with_the_image(shape, names, half):
    distance = np.sqrt(sum((g - n / 2) ** 2 for g, n in zip(np.ogrid[tuple(map(slice, shape))], shape, strict=True)))
    label = np.where(distance < 8, 2, np.where(distance < 13, 1, 0)).astype(np.uint8)
    image = np.repeat(label[..., np.newaxis], 2, axis=-1).astype(np.float32)
    changed = []
    for seed in seeds_with(*names, count=3):
        moved, mask = augment(image, label, sequence(seed), half)
        changed.append((mask != label).mean())
        assert set(np.unique(mask)) <= {0, 1, 2}
        if "brightness" in names:
            moved = moved / (moved[mask == 2].mean(axis=0) / 2)
        edge = scipy.ndimage.grey_dilation(mask, size=3) != scipy.ndimage.grey_erosion(mask, size=3)
        assert np.abs(moved - mask[..., np.newaxis])[~edge].mean() < 0.02
        assert (np.rint(moved[..., 0]) == mask).mean() > 0.97
    assert max(changed) > 0.005


@pytest.mark.parametrize("shape", [(48, 40), (20, 24, 16)])
@pytest.mark.parametrize("names", [(n,) for n in SPATIAL] + [SPATIAL, ("elastic", "scaling"), ("rotation", "scaling")])
def test_the_default_is_batchgenerators_own_transform_to_the_last_digit(shape, names):
    image, label = sample(shape)
    for seed in seeds_with(*names, count=3):
        chosen = choose(sequence(seed), HALF)
        angles = [(a, a) for a in chosen.rotation or (0.0,) * 3]
        transform = SpatialTransform(
            shape,
            do_elastic_deform=chosen.elastic is not None,
            alpha=(chosen.elastic or (0, 9))[:1] * 2,
            sigma=(chosen.elastic or (0, 9))[1:] * 2,
            do_rotation=chosen.rotation is not None,
            angle_x=angles[0],
            angle_y=angles[1],
            angle_z=angles[2],
            do_scale=chosen.scaling,
            scale=SCALE,
            border_mode_data="constant",
            random_crop=False,
        )
        np.random.seed(sequence(seed).generate_state(8))
        given = np.moveaxis(image, -1, 0)[np.newaxis], label[np.newaxis, np.newaxis].astype(np.float32)
        expected = transform(data=given[0], seg=given[1])
        moved, mask = augment(image, label, sequence(seed), HALF)
        assert np.array_equal(np.moveaxis(moved, -1, 0), expected["data"][0])
        assert np.array_equal(mask, expected["seg"][0, 0])


def test_outside_the_image_there_is_zero_and_background(half):
    seed = next(s for s in seeds_with("scaling", count=20) if linear_map((32, 32), s, half)[0, 0] > 1.1)
    moved, mask = augment(np.full((32, 32, 1), 5, np.float32), np.ones((32, 32), np.uint8), sequence(seed), half)
    assert moved[0].max() == 0
    assert mask[0].max() == 0
    assert moved[16, 16, 0] == pytest.approx(5)


@pytest.mark.parametrize(
    ("size", "names"),
    [((12, 14, 10), ("scaling",)), ((12, 14, 10), ("rotation",)), ((12, 10, 10), SPATIAL), ((20, 24), SPATIAL)],
)
def test_a_patch_with_its_margin_gives_what_the_whole_volume_would(size, names, half):
    for seed in seeds_with(*names, count=3):
        room = margin(choose(sequence(seed), half), size)
        whole_shape = tuple(p + 2 * m + 8 for p, m in zip(size, room, strict=True))
        image, label = sample(whole_shape, channels=1)
        middle = tuple(slice(4, n - 4) for n in whole_shape)
        from_whole = augment(image, label, sequence(seed), half, size=size)
        from_crop = augment(image[middle], label[middle], sequence(seed), half, size=size)
        np.testing.assert_allclose(from_crop[0], from_whole[0], atol=2e-3)
        assert np.array_equal(from_crop[1], from_whole[1])


def test_no_margin_is_read_where_no_spatial_transform_was_chosen():
    (seed,) = seeds_with("mirror_vertical", "brightness")
    assert margin(choose(sequence(seed), HALF), (96, 96, 96)) == (0, 0, 0)
    (seed,) = seeds_with("rotation")
    assert min(margin(choose(sequence(seed), HALF), (96, 96, 96))) > 10


@pytest.mark.parametrize("probability", [-0.1, 1.5, float("nan")])
def test_a_probability_out_of_range_is_refused(probability):
    with pytest.raises(ParameterError, match="augmentation_probability is"):
        augment(*sample(), sequence(0), TrainingSpec(augmentation_probability=probability))


def test_an_unknown_spatial_transform_is_refused():
    with pytest.raises(ParameterError, match="spatial_transform is 'quick'; known: batchgenerators, fast"):
        augment(*sample(), sequence(0), TrainingSpec(spatial_transform="quick"))
