"""Resizing on the device, by area averaging."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops


class AreaResize(keras.layers.Layer):
    """Resize images to a square by area averaging: each output pixel is the mean of the area that it covers.

    From (B, Y, X, C) of any dtype to (B, size, size, C), float. Uses only means and matrix products, because Keras's
    antialiased resize has no GPU or XLA kernel under TensorFlow.
    """

    def __init__(self, size: int, **base: Any) -> None:
        super().__init__(**base)
        self.size = size

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Resize a batch, (B, Y, X, C)."""
        _, y, x, c = images.shape
        size = self.size
        images = ops.cast(images, self.compute_dtype)
        # One axis at a time is three times as fast on a CPU as pooling both at once.
        if y % size == 0:
            images = ops.mean(ops.reshape(images, (-1, size, y // size, x * c)), axis=2)
        else:
            weights = ops.cast(area_weights(y, size), self.compute_dtype)
            images = ops.matmul(weights, ops.reshape(images, (-1, y, x * c)))
        if x % size == 0:
            return ops.mean(ops.reshape(images, (-1, size, size, x // size, c)), axis=3)
        weights = ops.cast(area_weights(x, size), self.compute_dtype)
        return ops.einsum("jx,bixc->bijc", weights, ops.reshape(images, (-1, size, x, c)))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}


def image_input(image_shape: tuple[int, int, int], image_size: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the input layer of a network, uint8 (B, Y, X, C), and the images resized to `image_size` (0: as is)."""
    inputs = keras.Input(image_shape, dtype="uint8")
    if not image_size or image_shape[:2] == (image_size, image_size):
        return inputs, inputs
    return inputs, AreaResize(image_size)(inputs)


def area_weights(n_from: int, n_to: int) -> npt.NDArray[np.float32]:
    """Return the weight of each input pixel in each output pixel along one axis.

    Returns
    -------
    array of float32, shape (n_to, n_from)
        Rows sum to 1.

    Examples
    --------
    >>> area_weights(3, 2).round(2)
    array([[0.67, 0.33, 0.  ],
           [0.  , 0.33, 0.67]], dtype=float32)
    """
    edges = np.linspace(0, n_from, n_to + 1)
    pixels = np.arange(n_from)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)  # (n_to, n_from)
    return (overlap.clip(0) * (n_to / n_from)).astype(np.float32)
