"""Images to change, and what changes them as the layer does."""

from collections.abc import Mapping
from typing import Any

import imageio.v3 as iio
import keras
import numpy as np

from hpa_data.dataset import HPA_2018, Channel
from hpa_model.augment import OPERATIONS
from hpa_model.augment.kinds import Call, Frame
from hpa_model.augment.resample import make_coordinates, take_pixels
from tests.conftest import REAL_DATA

CHANNELS = HPA_2018.channels


def make_images(n: int = 2, side: int = 64, n_channels: int = 4) -> np.ndarray:
    """Make images of noise, half of them smooth, uint8 (N, Y, X, C)."""
    rng = np.random.default_rng(side)
    images = rng.integers(0, 256, (n, side, side, n_channels), np.uint8)
    y, x = np.mgrid[:side, :side] / side
    images[::2] = (127 + 120 * np.sin(9 * x + 5 * y + 20 * x * y))[..., None].astype(np.uint8)
    return images


def read_real() -> np.ndarray:
    """Read two samples of the atlas, uint8 (2, 512, 512, 4)."""
    folder = REAL_DATA / "kaggle" / "train"
    names = sorted(path.name.removesuffix("_green.png") for path in folder.glob("*_green.png"))[:2]
    planes = [[iio.imread(folder / f"{name}_{channel.name}.png") for channel in CHANNELS] for name in names]
    return np.moveaxis(np.array(planes), 1, -1)


def change(
    name: str,
    images: np.ndarray,
    values: Mapping[str, Any],
    *,
    image_shape: tuple[int, int, int] | None = None,
    channels: tuple[Channel, ...] = CHANNELS,
) -> np.ndarray:
    """Apply an operation with these values of its parameters, (B, n) each, to images of a store's `image_shape`."""
    operation, size = OPERATIONS[name], images.shape[1:3]
    frame = Frame(channels=channels, image_shape=image_shape or images.shape[1:], size=size)
    arrays = {key: np.asarray(value, np.float64) for key, value in values.items()}
    columns = operation.encode(arrays, operation.parameters, frame).astype(np.float32)
    call = Call(keras.ops.convert_to_tensor(columns), operation.parameters, frame)
    tensor = keras.ops.convert_to_tensor(images.astype(np.float32))
    assert operation.apply is not None
    if operation.kind == "move":
        return keras.ops.convert_to_numpy(take_pixels(tensor, operation.apply(make_coordinates(size), call)))
    return keras.ops.convert_to_numpy(operation.apply(tensor, call))
