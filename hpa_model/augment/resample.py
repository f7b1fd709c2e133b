"""Moving the pixels of a batch: coordinates that operations change, and one interpolation at their end."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops


class Coordinates(NamedTuple):
    """Where each pixel of a batch comes from, in pixels of the image before.

    An operation that is applied after others changes coordinates before them.
    """

    y: Any
    """Tensor of float32 that broadcasts to (B, Y, X)."""

    x: Any
    """Tensor of float32 that broadcasts to (B, Y, X)."""

    inside: Any = None
    """Tensor of float32 that broadcasts to (B, Y, X), or None: how much of the pixel is not the black outside."""


def make_coordinates(size: tuple[int, int]) -> Coordinates:
    """Return the coordinates of images that stay as they are, of rows and columns."""
    rows, columns = (np.arange(n, dtype=np.float32) for n in size)
    return Coordinates(ops.convert_to_tensor(rows[None, :, None]), ops.convert_to_tensor(columns[None, None, :]))


def take_pixels(images: Any, coordinates: Coordinates) -> Any:
    """Interpolate linearly between the four pixels around each coordinate.

    Parameters
    ----------
    images : tensor of float32, shape (B, Y, X, C)
    coordinates : Coordinates
        Those outside of the image are moved to its border. Whole ones give the pixel itself, exactly.

    Returns
    -------
    tensor of float32, shape (B, Y, X, C)
    """
    _, n_y, n_x, n_channels = images.shape
    y, x = ops.clip(coordinates.y, 0.0, n_y - 1.0), ops.clip(coordinates.x, 0.0, n_x - 1.0)
    top, left = ops.floor(y), ops.floor(x)
    rows = [ops.cast(each, "int32") for each in (top, ops.minimum(top + 1, n_y - 1.0))]
    columns = [ops.cast(each, "int32") for each in (left, ops.minimum(left + 1, n_x - 1.0))]
    share_y, share_x = (y - top)[..., None], (x - left)[..., None]
    starts = ops.arange(ops.shape(images)[0], dtype="int32")[:, None, None] * (n_y * n_x)
    pixels = ops.reshape(images, (-1, n_channels))

    def take(row: Any, column: Any) -> Any:
        return ops.take(pixels, starts + row * n_x + column, axis=0)  # (B, Y, X, C)

    upper, lower = (take(row, columns[0]) * (1 - share_x) + take(row, columns[1]) * share_x for row in rows)
    moved = upper * (1 - share_y) + lower * share_y
    return moved if coordinates.inside is None else moved * coordinates.inside[..., None]


def turn_coordinates(coordinates: Coordinates, codes: Any, size: tuple[int, int]) -> Coordinates:
    """Take pixels from where they are before a flip or rotation, see `symmetry.apply_symmetry`, exactly."""
    codes = ops.cast(codes, "int32")[:, None, None]
    y, x = coordinates.y, coordinates.x
    if size[0] == size[1]:
        y, x = ops.where(codes // 4 == 1, x, y), ops.where(codes // 4 == 1, y, x)
    y = ops.where(codes % 2 == 1, size[0] - 1.0 - y, y)
    x = ops.where(codes // 2 % 2 == 1, size[1] - 1.0 - x, x)
    return Coordinates(y, x, coordinates.inside)


def reflect(coordinates: Any, n: int) -> Any:
    """Mirror coordinates at the centers of the first and the last of n pixels, from up to n pixels outside."""
    return (n - 1.0) - ops.abs((n - 1.0) - ops.abs(coordinates))
