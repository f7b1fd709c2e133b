"""Resizing on the device, by area averaging."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from hpa_data.errors import InputError


class AreaResize(keras.layers.Layer):
    """Resize images by area averaging: each output pixel is the mean of the area that it covers.

    From (B, Y, X, C) of any dtype to (B, rows, columns, C), float. Uses only means and matrix products, because Keras's
    antialiased resize has no GPU or XLA kernel under TensorFlow.

    Parameters
    ----------
    size : int or two of them
        Rows and columns; one number for a square.
    """

    def __init__(self, size: int | Sequence[int], **base: Any) -> None:
        super().__init__(**base)
        self.size = size if isinstance(size, int) else tuple(size)  # saved models have a list

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Resize a batch, (B, Y, X, C)."""
        _, y, x, c = images.shape
        rows, columns = (self.size, self.size) if isinstance(self.size, int) else self.size
        images = ops.cast(images, self.compute_dtype)
        # One axis at a time is three times as fast on a CPU as pooling both at once.
        if y % rows == 0:
            images = ops.mean(ops.reshape(images, (-1, rows, y // rows, x * c)), axis=2)
        else:
            weights = ops.cast(area_weights(y, rows), self.compute_dtype)
            images = ops.matmul(weights, ops.reshape(images, (-1, y, x * c)))
        if x % columns == 0:
            return ops.mean(ops.reshape(images, (-1, rows, columns, x // columns, c)), axis=3)
        weights = ops.cast(area_weights(x, columns), self.compute_dtype)
        return ops.einsum("jx,bixc->bijc", weights, ops.reshape(images, (-1, rows, x, c)))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "size": self.size}


def image_input(
    image_shape: tuple[int, int, int], image_size: tuple[int, int], *, dtype: str | None = None
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the input layer of a network, uint8 (B, Y, X, C), and the images resized to rows and columns.

    `dtype` is the precision of the resize; by default Keras's current one.
    """
    inputs = keras.Input(image_shape, dtype="uint8")
    if image_shape[:2] == image_size:
        return inputs, inputs
    rows, columns = image_size
    return inputs, AreaResize(rows if rows == columns else image_size, dtype=dtype)(inputs)


def choose_size(image_size: int | tuple[int, int], image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the rows and columns that a network sees.

    Parameters
    ----------
    image_size : int or (int, int)
        Pixels of the shorter side, the ratio of the sides kept; or rows and columns. 0: those of the images.
    image_shape : (int, int, int)
        (Y, X, C) of the images.

    Raises
    ------
    InputError
        If that is more than the images have.

    Examples
    --------
    >>> choose_size(128, (256, 384, 3)), choose_size((64, 96), (256, 384, 3)), choose_size(0, (256, 384, 3))
    ((128, 192), (64, 96), (256, 384))
    """
    rows, columns = image_shape[:2]
    shorter = min(rows, columns)
    if isinstance(image_size, int):
        factor = image_size / shorter if image_size else 1
        size = round(rows * factor), round(columns * factor)
    else:
        size = image_size
    if size[0] > rows or size[1] > columns:
        most = shorter if isinstance(image_size, int) else f"{rows} x {columns}"
        side = " of the shorter side" if isinstance(image_size, int) and rows != columns else ""
        raise InputError(
            f"image_size must be at most {most}, the size{side} of the images. Received: image_size={image_size}. "
            "Leave it out to keep their size."
        )
    return size


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
