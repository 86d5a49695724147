"""The type of TensorFlow's tensors: TensorFlow has no types of its own, so that a checker sees anything at all.

Import from here wherever a tensor, a variable or what TensorFlow makes of them is meant; plain numbers and NumPy's
arrays have types of their own.
"""

from __future__ import annotations

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor or variable of TensorFlow or Keras, or what `tf.convert_to_tensor` takes."""
