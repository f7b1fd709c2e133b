"""Flips and 90° rotations of a batch, on the device, and how they follow one another."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
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


def turn_array(image: npt.NDArray[Any], code: int) -> npt.NDArray[Any]:
    """Apply one flip or rotation to an array, (Y, X) or (Y, X, C)."""
    image = image[::-1] if code & 1 else image
    image = image[:, ::-1] if code & 2 else image
    return image.swapaxes(0, 1) if code & 4 else image


_CORNERS = np.arange(4).reshape(2, 2)
_CODE_OF = {turn_array(_CORNERS, code).tobytes(): code for code in range(8)}
# The code of one symmetry, by row, after which another one follows, by column.
COMPOSED: npt.NDArray[np.int64] = np.array(
    [[_CODE_OF[turn_array(turn_array(_CORNERS, first), then).tobytes()] for then in range(8)] for first in range(8)]
)
# The codes of rotations by 0, 1, 2 and 3 quarters, clockwise.
ROTATIONS: npt.NDArray[np.int64] = np.array([_CODE_OF[np.rot90(_CORNERS, -turns).tobytes()] for turns in range(4)])
