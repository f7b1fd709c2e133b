"""Flips and 90° rotations of a batch, on the device."""

from typing import Any

import keras
from keras import ops

from hpa_model.nets.resize import AreaResize


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
    """Return a model that takes images and codes, transforms the images and shares all weights with `model`.

    The images are transformed after the network has resized them, which gives the same up to rounding, where its
    resizing keeps their symmetries.
    """
    images = keras.Input(model.input_shape[1:], dtype="uint8", name="images")
    codes = keras.Input((), dtype="uint8", name="symmetry")
    resize = _find_resize(model)
    if resize is None:
        return keras.Model([images, codes], model(ApplySymmetry()(images, codes)))
    after = keras.Model(resize.output, model.output)
    return keras.Model([images, codes], after(ApplySymmetry()(resize(images), codes)))


def _find_resize(model: keras.Model) -> AreaResize | None:
    """Find the layer that resizes the images first; None if there is none, or it does not keep squares square."""
    resize = next((layer for layer in model.layers if isinstance(layer, AreaResize)), None)
    if resize is None or resize.input is not model.input:
        return None
    squares = [len(set(shape[1:3])) == 1 for shape in (resize.input.shape, resize.output.shape)]
    return resize if squares[1] or not squares[0] else None
