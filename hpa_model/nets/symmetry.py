"""Flips and 90° rotations of a batch, on the device."""

from typing import Any

import keras
from keras import ops


def apply_symmetry(images: Any, codes: Any) -> Any:
    """Apply a flip or rotation that keeps the shape to each image of a batch: eight of a square, four of a rectangle.

    Parameters
    ----------
    images : tensor, shape (B, Y, X, C)
    codes : tensor of integers, shape (B,)
        0..7, the sum of 1 for a flip of Y, 2 for a flip of X and 4 for a transposition, applied in this order. 0..3 if
        Y differs from X: only a square can be transposed.

    Returns
    -------
    tensor, as `images`
    """
    codes = ops.cast(codes, "int32")[:, None, None, None]
    images = ops.where(codes % 2 == 1, ops.flip(images, axis=1), images)
    images = ops.where(codes // 2 % 2 == 1, ops.flip(images, axis=2), images)
    if images.shape[1] != images.shape[2]:
        return images
    return ops.where(codes // 4 == 1, ops.transpose(images, (0, 2, 1, 3)), images)


class ApplySymmetry(keras.layers.Layer):
    """`apply_symmetry` as a layer, called with images and codes."""

    def call(self, images: Any, codes: Any) -> Any:
        """Transform a batch."""
        return apply_symmetry(images, codes)


def with_symmetry_input(model: keras.Model) -> keras.Model:
    """Return a model that takes images and codes, transforms the images and shares all weights with `model`."""
    images = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    codes = keras.Input((), dtype="uint8", name="symmetry")
    return keras.Model([images, codes], model(ApplySymmetry()(images, codes)))
