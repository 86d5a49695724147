"""The networks' structure: parameter counts, the pixels that move an output pixel, sizes and precision."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from sweeper.timing.layers import layers_of
from trials.spec import ModelSpec
from workers import networks
from workers.errors import ParameterError
from workers.networks import _unet

NAMES = ("unet", "attention_unet", "residual_unet")


def build(name="unet", shape=(16, 16, 3), classes=2, base=2, depth=2, normalisation="instance"):
    return networks.build(ModelSpec(name, base, depth, normalisation), input_shape=shape, classes=classes)


# --- Parameters -----------------------------------------------------------------------------------------------------


def convolution(kernel, inputs, outputs, bias):
    return kernel * inputs * outputs + (outputs if bias else 0)


def unet_parameters(base, depth, channels, classes, dimensions, normalisation):
    """The count, derived level by level from the two papers.

    A normalised 3×3(×3) convolution has no bias and two parameters per filter (scale, shift); without normalisation it
    has a bias. Up-convolutions have a bias in 2D alone. In 3D the second convolution of a level has twice the filters.
    """
    kernel, double = 3**dimensions, 2 if dimensions == 3 else 1
    per_filter = 0 if normalisation == "none" else 2

    def pair(inputs, first, second):
        bias = normalisation == "none"
        return sum(convolution(kernel, i, o, bias) + per_filter * o for i, o in ((inputs, first), (first, second)))

    encoder = [(base * 2**level, base * 2**level * double) for level in range(depth + 1)]
    total, inputs = 0, channels
    for first, second in encoder:
        total += pair(inputs, first, second)
        inputs = second
    for level in reversed(range(depth)):
        width = encoder[level][1]
        up = width if dimensions == 2 else inputs
        total += convolution(2**dimensions, inputs, up, bias=dimensions == 2) + pair(up + width, width, width)
        inputs = width
    return total + convolution(1, inputs, classes, bias=True)


def test_the_3d_unet_has_the_number_of_parameters_that_its_paper_states():
    """Çiçek et al. 2016, section 2: 'the architecture has 19069955 parameters in total' (3 channels, 3 classes)."""
    spec = ModelSpec("unet", base_filters=32, depth=3, normalisation="none")
    assert networks.build(spec, input_shape=(16, 16, 16, 3), classes=3).count_params() == 19_069_955


def test_the_2d_unet_has_the_known_number_of_parameters():
    """31,037,698 for 3 channels and 2 classes with normalised convolutions, as in the widely used PyTorch U-Net."""
    model = networks.build(networks.default_model(2), input_shape=(32, 32, 3), classes=2)
    assert model.count_params() == 31_037_698 == unet_parameters(64, 4, 3, 2, 2, "instance")


@pytest.mark.parametrize("normalisation", ["instance", "none"])
@pytest.mark.parametrize(
    ("base", "depth", "shape", "classes"),
    [(8, 3, (16, 32, 3), 2), (3, 1, (8, 8, 1), 4), (4, 2, (8, 16, 16, 1), 3), (2, 1, (4, 4, 4, 2), 2)],
)
def test_parameters_follow_the_derivation(base, depth, shape, classes, normalisation):
    model = build(shape=shape, classes=classes, base=base, depth=depth, normalisation=normalisation)
    assert model.count_params() == unet_parameters(base, depth, shape[-1], classes, len(shape) - 1, normalisation)


def operations(model):
    """Of the convolutions of a built network, by Keras' own shapes: a product and a sum for each weight and place."""
    total = 0
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            at = layer.input if "Transpose" in type(layer).__name__ else layer.output
            total += 2 * int(np.prod(layer.kernel.shape)) * int(np.prod(at.shape[1:-1]))
    return total


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("depth", "shape"), [(3, (16, 24, 3)), (1, (4, 8, 6, 1))])
def test_costs_on_paper_are_those_of_the_layers_that_are_built(name, depth, shape):
    model = build(name, shape=shape, classes=3, base=4, depth=depth)
    spec = ModelSpec(name, 4, depth, "instance")
    layers = layers_of(spec, len(shape) - 1, math.prod(shape[:-1]), shape[-1], 3)
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
    assert sum(layer.weights for layer in layers) == sum(int(np.prod(kernel.shape)) for kernel in kernels)
    assert sum(layer.operations > 0 for layer in layers) == len(kernels)
    assert sum(layer.operations for layer in layers) == operations(model)


def test_batch_normalisation_adds_two_fixed_parameters_per_filter():
    instance, batch = build(normalisation="instance"), build(normalisation="batch")
    trainable = sum(int(np.prod(v.shape)) for v in batch.trainable_variables)
    assert trainable == instance.count_params()
    filters = sum(2 * f for f in (2, 4, 8, 4, 2))
    assert batch.count_params() - trainable == 2 * filters


def test_attention_gates_add_their_parameters():
    """Per level with skip width w and gating width 2w: θ 4·w·w, φ 2w·w + w, ψ w + 1, output w·w + 2w."""
    gates = sum(4 * w * w + 2 * w * w + w + w + 1 + w * w + 2 * w for w in (2, 4))
    assert build("attention_unet").count_params() == build("unet").count_params() + gates


def test_residual_units_add_a_projection_where_the_channels_change():
    """Encoder 3→2, 2→4, 4→8 and decoder 8→4, 4→2: 1×1 weights and two parameters per filter."""
    projections = sum(i * o + 2 * o for i, o in ((3, 2), (2, 4), (4, 8), (8, 4), (4, 2)))
    assert build("residual_unet").count_params() == build("unet").count_params() + projections


# --- Receptive structure --------------------------------------------------------------------------------------------


def reach(depth, first, last, gated):
    """First and last input pixel, along one axis, on which the output pixels `first` to `last` depend.

    Each pair of 3×3 convolutions widens by 2 on both sides, undoing a pooling doubles, an up-convolution halves. A
    gated skip connection depends on the attention map, interpolated between two neighbours of the grid below.
    """

    def encoder(level, a, b):
        a, b = a - 2, b + 2
        return (a, b) if level == 0 else encoder(level - 1, 2 * a, 2 * b + 1)

    def decoder(level, a, b):
        if level == depth:
            return encoder(level, a, b)
        a, b = a - 2, b + 2
        parts = [encoder(level, a, b), decoder(level + 1, a // 2, b // 2)]
        if gated:
            a, b = (a - 1) // 2, (b + 1) // 2
            parts += [encoder(level, 2 * a, 2 * b + 1), decoder(level + 1, a, b)]
        return min(a for a, _ in parts), max(b for _, b in parts)

    return decoder(0, first, last)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("shape", "depth"), [((48, 64, 1), 2), ((20, 24, 22, 1), 1)])
def test_an_output_pixel_is_moved_by_its_receptive_field_and_by_nothing_else(name, shape, depth):
    model = build(name, shape=shape, depth=depth, normalisation="none")
    # With positive weights and images every ReLU is open; max pooling passes one pixel in 4 or 8, a random one.
    model.set_weights([np.full(w.shape, 1.0 / w.size, np.float32) for w in model.get_weights()])
    logits = keras.Model(model.inputs, model.layers[-1].input)
    pixel = tuple(s // 2 for s in shape[:-1])
    generator = np.random.default_rng(0)
    images = tf.constant(generator.random((60 if len(shape) == 3 else 30, *shape), dtype=np.float32) + 0.5)
    with tf.GradientTape() as tape:
        tape.watch(images)
        value = logits(images)[(slice(None), *pixel, 0)]
    touched = (tape.gradient(value, images).numpy()[..., 0] != 0).any(axis=0)
    expected = np.zeros(shape[:-1], dtype=bool)
    bounds = [reach(depth, p, p, name == "attention_unet") for p in pixel]
    expected[tuple(slice(max(a, 0), b + 1) for a, b in bounds)] = True
    assert not touched[~expected].any()
    missing = expected & ~touched
    # Corners of the field have the fewest paths; all of its border must have been reached somewhere.
    assert missing.sum() <= 0.02 * expected.sum()
    for axis in range(len(pixel)):
        others = tuple(a for a in range(len(pixel)) if a != axis)
        assert (touched.any(axis=others) == expected.any(axis=others)).all()


# --- Behaviour ------------------------------------------------------------------------------------------------------


def test_a_size_that_the_depth_does_not_divide_is_padded_with_zero_and_cropped():
    odd, even = build(shape=(14, 17, 1), depth=2), build(shape=(16, 20, 1), depth=2)
    even.set_weights(odd.get_weights())
    image = np.random.default_rng(0).normal(size=(1, 14, 17, 1)).astype(np.float32)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 2), (0, 0)))
    np.testing.assert_allclose(odd(image), even(padded)[:, 1:15, 1:18], rtol=1e-5, atol=1e-6)


def test_instance_normalisation_makes_images_independent_of_each_other_and_of_their_contrast():
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32) * 10
    instance, plain = build(), build(normalisation="none")
    for model in (instance, plain):
        model.set_weights(networks.initial_weights(model, 0))
    both = instance(images, training=True).numpy()
    np.testing.assert_allclose(both[:1], instance(images[:1], training=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both, instance(3 * images, training=True), atol=1e-3)
    assert np.abs(plain(3 * images).numpy() - plain(images).numpy()).max() > 0.05


def test_output_is_float32_under_mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy(before)
    assert {layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.Conv2D)} == {"float16"}
    assert model(np.zeros((1, 16, 16, 3), np.float32)).dtype == tf.float32
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


@pytest.mark.parametrize("shape", [(6, 10), (3, 5, 4)])
def test_attention_maps_are_interpolated_linearly(shape):
    coarse = np.random.default_rng(0).random(shape).astype(np.float32)
    inputs = keras.Input((*shape, 1))
    fine = keras.Model(inputs, _unet._upsample_map(inputs))(coarse[np.newaxis, ..., np.newaxis]).numpy()[0, ..., 0]
    expected = coarse
    for axis, size in enumerate(shape):
        positions = (np.arange(2 * size) + 0.5) / 2 - 0.5  # half-pixel centres, the edge repeated
        lines = np.moveaxis(expected, axis, -1).reshape(-1, size)
        finer = np.stack([np.interp(positions, np.arange(size), line) for line in lines])
        expected = np.moveaxis(finer.reshape(*np.moveaxis(expected, axis, -1).shape[:-1], 2 * size), -1, axis)
    np.testing.assert_allclose(fine, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "classes", "words"),
    [((16, 16), 2, "input_shape"), ((0, 16, 3), 2, "input_shape"), ((16, 16, 3), 1, "classes is 1")],
)
def test_impossible_shapes_are_refused(shape, classes, words):
    with pytest.raises(ParameterError, match=words):
        networks.build(ModelSpec(), input_shape=shape, classes=classes)


def test_a_depth_that_leaves_one_voxel_is_refused_with_the_depth_that_works():
    with pytest.raises(ParameterError, match=r"depth 4 leaves one voxel of 16×16.*depth to at most 3"):
        build(shape=(16, 16, 3), depth=4)
    build(shape=(16, 16, 3), depth=3)
    build(shape=(16, 16, 3), depth=4, normalisation="none")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(24, 20, 1), (8, 10, 9, 1)])
def test_a_small_network_learns_a_ball_by_plain_gradient_descent(name, shape):
    """The trial's optimiser and rate, 60 steps on one image: wrongly wired gradients or weights would not."""
    model = build(name, shape=shape, base=4)
    model.set_weights(networks.initial_weights(model, 0))
    grid = np.ogrid[tuple(slice(n) for n in shape[:-1])]
    truth = sum((g - n / 2) ** 2 for g, n in zip(grid, shape, strict=False)) < 16
    noise = np.random.default_rng(0).normal(size=(1, *shape))
    image = tf.constant(noise * 0.5 + 2.0 * truth[np.newaxis, ..., np.newaxis], tf.float32)
    target = tf.constant(truth[np.newaxis].astype(np.int32))
    optimiser = keras.optimizers.SGD(0.1)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            probability = tf.gather(model(image, training=True), target, batch_dims=len(shape))
            loss = -tf.reduce_mean(tf.math.log(probability + 1e-7))
        optimiser.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    losses = [float(step()) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    found = model(image).numpy()[0, ..., 1] > 0.5
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9
