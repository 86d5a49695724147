"""The fast spatial transform against batchgenerators': the same map, and an elastic field of the same statistics."""

import numpy as np
import pytest
from batchgenerators.augmentations.spatial_transformations import augment_spatial
from batchgenerators.augmentations.utils import create_zero_centered_coordinate_mesh, elastic_deform_coordinates

from workers.training.fast_spatial import _smoothing, coordinates, elastic_field
from workers.training.interpolation import at


def smooth(shape):
    """An image of slow waves, whose linear and cubic interpolation differ little, and a mask of it."""
    grid = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    image = sum(np.sin(g * (k + 1)) for k, g in enumerate(grid)).astype(np.float32)
    return image, (image > 0.5).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "size", "angles", "scale"),
    [
        ((64, 70), (40, 51), (0.2, 0, 0), 1.0),
        ((64, 70), (40, 51), (-0.25, 0, 0), 1.2),
        ((64, 70), (40, 51), None, 1.2),
        ((40, 44, 42), (20, 24, 21), (0.2, -0.1, 0.15), 1.0),
        ((40, 44, 42), (20, 24, 21), (-0.1, 0.2, 0.05), 1.1),
    ],
)
def test_rotation_and_scaling_are_the_map_of_batchgenerators(shape, size, angles, scale):
    image, label = smooth(shape)
    turn = [(a, a) for a in angles or (0, 0, 0)]
    # batchgenerators draws scales above 1 from (scale, scale), so that this one is certain
    expected, mask = augment_spatial(
        image[None, None],
        label[None, None].astype(np.float32),
        size,
        do_elastic_deform=False,
        do_rotation=angles is not None,
        angle_x=turn[0],
        angle_y=turn[1],
        angle_z=turn[2],
        do_scale=scale > 1,
        scale=(scale, scale),
        border_mode_data="constant",
        random_crop=False,
    )
    found = coordinates(size, np.random.default_rng(0), scale=scale, angles=angles)
    assert found.dtype == np.float32
    found += (np.array(shape).reshape([-1] + [1] * len(shape)) - 1) / 2
    found, found_mask = at(image[..., None], label, found, order=1)
    assert np.abs(found[..., 0] - expected[0, 0]).max() < 0.02
    assert (found_mask == mask[0, 0]).mean() > 0.999


def fields(size, alpha, sigma, count, fast):
    if fast:
        generator = np.random.default_rng(0)
        return np.stack([elastic_field(size, alpha, sigma, generator) for _ in range(count)])
    np.random.seed(0)
    mesh = create_zero_centered_coordinate_mesh(size)
    return np.concatenate([elastic_deform_coordinates(mesh, alpha, sigma) - mesh for _ in range(count // len(size))])


@pytest.mark.slow
@pytest.mark.parametrize(("size", "sigma"), [((90, 100), 9.0), ((90, 100), 13.0), ((40, 44, 48), 9.5)])
def test_the_elastic_field_has_the_deviation_smoothness_and_border_of_batchgenerators(size, sigma):
    count = 240 if len(size) == 2 else 120
    ours, theirs = (fields(size, 500.0, sigma, count, fast) for fast in (True, False))
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    middle = tuple(n // 2 for n in size)

    def deviation(array, index):
        window = tuple(slice(max(i - 2, 0), i + 3) for i in index)
        return array[(slice(None), *window)].std()

    for index in (middle, (0,) * len(size), (0, *middle[1:]), tuple(n // 4 for n in size)):
        assert deviation(ours, index) == pytest.approx(deviation(theirs, index), rel=0.2)
    for lag in (2, 6, int(sigma), int(1.5 * sigma)):
        correlations = []
        for array in (ours, theirs):
            line = array[(slice(None), slice(middle[0] - 12, None), *middle[1:])]
            correlations.append(np.mean(line[:, 0] * line[:, lag]) / np.mean(line[:, 0] ** 2))
        assert correlations[0] == pytest.approx(np.exp(-(lag**2) / (4 * sigma**2)), abs=0.17)
        assert correlations[0] == pytest.approx(correlations[1], abs=0.22)


def test_the_deviation_in_the_middle_is_that_of_filtered_uniform_noise():
    generator = np.random.default_rng(1)
    drawn = np.stack([elastic_field((120, 120), 900.0, 9.0, generator)[40:80, 40:80] for _ in range(300)])
    assert drawn.std() == pytest.approx(900 * np.sqrt(1 / 3) / (2 * 9 * np.sqrt(np.pi)), rel=0.03)
    assert abs(drawn.mean()) < 1


@pytest.mark.parametrize(("size", "sigma"), [(1, 9.0), (96, 9.0), (131, 12.7), (384, 11.1)])
def test_a_voxel_is_moved_by_the_noise_within_four_deviations(size, sigma):
    found = _smoothing(size, sigma)
    nodes = found.shape[1]
    step = size / nodes
    distance = np.abs(np.arange(size)[:, np.newaxis] - ((np.arange(nodes) + 0.5) * step - 0.5)) / sigma
    weights = np.exp(-0.5 * distance**2) * (np.sqrt(step) / (sigma * np.sqrt(2 * np.pi)))
    expected = np.where(distance <= 4, weights, 0).astype(np.float32)
    assert np.array_equal(found.toarray(), expected)
    assert found.dtype == np.float32
    assert found.nnz == np.count_nonzero(expected)


def test_the_field_follows_from_its_generator_and_axes_of_one_voxel_work():
    first, again = (elastic_field((20, 30), 300.0, 10.0, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again)
    assert elastic_field((1, 1, 1), 300.0, 10.0, np.random.default_rng(3)).shape == (1, 1, 1)
