"""Where the cells of a layer lie in the image."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

_CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
_POOLINGS = (layers.MaxPooling2D, layers.AveragePooling2D)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The cells of a layer along rows or columns of the image."""

    n: int

    first: float
    """The middle of the first cell, in pixels from the border of the image; that of the next is `step` further."""

    step: float

    def weigh(self, n_pixels: int, n_shown: int) -> npt.NDArray[np.float32]:
        """Return the weight of each cell in each pixel, float32 (n_shown, n): linear between the middles of cells.

        The image has `n_pixels`, and is shown with `n_shown`. Outside the outer cells, theirs hold.
        """
        pixels = (np.arange(n_shown) + 0.5) * (n_pixels / n_shown)
        places = np.clip((pixels - self.first) / self.step, 0, self.n - 1)
        return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(self.n))).astype(np.float32)

    def stretch(self, n: int) -> "Axis":
        """Return as many cells as another layer has, spread evenly over the same pixels."""
        step = self.step * self.n / n
        return Axis(n=n, first=self.first - self.step / 2 + step / 2, step=step)

    def slide(self, n: int, *, window: int, stride: int, before: int) -> "Axis":
        """Return the cells of a layer whose window moves over these, with as many zeros before the first."""
        return Axis(n=n, first=self.first + ((window - 1) / 2 - before) * self.step, step=self.step * stride)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of a layer."""

    rows: Axis
    columns: Axis

    height: int
    width: int
    """Of the image, in pixels."""

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return self.rows.n, self.columns.n

    def spread(self, cells: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
        """Spread a map of cells, (y, x), over the image at a size in pixels: float32 (height, width), bilinear."""
        spread = self.rows.weigh(self.height, height) @ cells @ self.columns.weigh(self.width, width).T
        return np.asarray(spread, np.float32)


def find_grid(model: keras.Model, layer: keras.layers.Layer) -> Grid:
    """Find where the cells of a layer lie in the image that a network is given.

    Convolutions without padding leave out the border of the image, so that to stretch the cells of `gapnet` over the
    whole image would shift those outside by 40 pixels of 512. So each convolution, pooling and padding on the way is
    followed. What any other layer gives, such as one that resizes, is spread evenly over what it was given.

    Parameters
    ----------
    model : keras.Model
        From images, (B, Y, X, C).
    layer : keras.layers.Layer
        Of the network; it gives (B, y, x, F).
    """
    height, width = model.input_shape[1:3]
    image = (Axis(n=height, first=0.5, step=1), Axis(n=width, first=0.5, step=1))
    found: dict[int, tuple[Axis, Axis]] = {id(model.inputs[0]): image}
    for each in model.operations:
        output: Any = getattr(each, "output", None)
        if id(output) in found or not is_spatial(output):
            continue
        given = next((tensor for tensor in keras.tree.flatten(each.input) if id(tensor) in found), None)
        before = image if given is None else found[id(given)]
        rows, columns = (_follow(each, axis, before[axis], int(output.shape[1 + axis])) for axis in (0, 1))
        found[id(output)] = rows, columns
    rows, columns = found[id(layer.output)]
    return Grid(rows=rows, columns=columns, height=height, width=width)


def is_spatial(output: Any) -> bool:
    """Return whether a tensor has rows and columns, more than one of either: (B, y, x, F)."""
    shape = getattr(output, "shape", ())
    return len(shape) == 4 and None not in shape[1:] and max(shape[1:3]) > 1


def _follow(layer: Any, axis: int, before: Axis, n: int) -> Axis:
    """Follow a layer along an axis, 0 or 1, from the cells that it is given to the n that it gives."""
    if isinstance(layer, _CONVOLUTIONS):
        window, stride = (layer.kernel_size[axis] - 1) * layer.dilation_rate[axis] + 1, layer.strides[axis]
    elif isinstance(layer, _POOLINGS):
        window, stride = layer.pool_size[axis], layer.strides[axis]
    elif isinstance(layer, layers.ZeroPadding2D):
        return before.slide(n, window=1, stride=1, before=layer.padding[axis][0])
    elif isinstance(layer, layers.Cropping2D):
        return before.slide(n, window=1, stride=1, before=-layer.cropping[axis][0])
    else:
        return before if n == before.n else before.stretch(n)
    padding = max((n - 1) * stride + window - before.n, 0) if layer.padding == "same" else 0
    return before.slide(n, window=window, stride=stride, before=padding // 2)
