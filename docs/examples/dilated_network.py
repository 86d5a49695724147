"""A network of one's own: a few dilated convolutions at full resolution, in 2D and 3D.

    sweeper launch --grid my_grid.toml --plugin docs/examples/dilated_network.py

after which a grid may set `model.name = "dilated"`.
"""

import keras

from workers.networks import NetworkDefinition, register


def dilated(spec, input_shape, classes):
    """`spec.depth` convolutions of `spec.base_filters` filters, dilated by 1, 2, 4, ..., then a softmax in float32."""
    convolution = keras.layers.Conv2D if len(input_shape) == 3 else keras.layers.Conv3D
    image = values = keras.Input(input_shape)
    for level in range(spec.depth):
        values = convolution(spec.base_filters, 3, padding="same", dilation_rate=2**level, activation="relu")(values)
    values = convolution(classes, 1)(values)
    return keras.Model(image, keras.layers.Softmax(dtype="float32")(values), name="dilated")


register(NetworkDefinition("dilated", dilated, "Dilated convolutions at full resolution (after Yu & Koltun 2016)."))
