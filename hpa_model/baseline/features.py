"""Classical features of an image: intensities, textures, agreement of channels, places in structures."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.dataset import Channel
from hpa_model.baseline import regions, texture
from hpa_model.baseline.texture import Features

# Channels that are compared with all others, where more than these are signals or no role is known.
MAX_SIGNALS = 4


def find_signals(channels: Sequence[Channel]) -> tuple[int, ...]:
    """Return the indices of the channels that the labels describe; of a data set without roles, the first ones."""
    signals = [index for index, channel in enumerate(channels) if channel.role == "signal"]
    return tuple(signals or range(len(channels)))[:MAX_SIGNALS]


def measure_image(image: npt.NDArray[np.uint8], channels: Sequence[Channel], size: int) -> npt.NDArray[np.float32]:
    """Measure an image.

    Parameters
    ----------
    image : array of uint8, shape (Y, X, C)
    channels : sequence of Channel, length C
    size : int
        Pixels of the shorter side that it is reduced to first. Smaller images stay as they are.

    Returns
    -------
    array of float32, shape (D,)
        In the order of `name_features`; all are finite.
    """
    values = np.fromiter(_measure(_reduce(image, size), channels).values(), np.float32)
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def measure_images(
    images: npt.NDArray[np.uint8], channels: Sequence[Channel], size: int, *, threads: int | None = None
) -> npt.NDArray[np.float32]:
    """Measure images, uint8 (B, Y, X, C), in several threads, by default one per core; see `measure_image`.

    Returns
    -------
    array of float32, shape (B, D)
        It does not depend on the number of threads.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a thread takes whole images, which has less overhead
    try:
        with ThreadPoolExecutor(threads or CPU_COUNT) as pool:
            return np.stack(list(pool.map(lambda image: measure_image(image, channels, size), images)))
    finally:
        cv2.setNumThreads(before)


@lru_cache(maxsize=8)
def name_features(channels: tuple[Channel, ...]) -> tuple[str, ...]:
    """Return the names of the features of images with these channels."""
    return tuple(_measure(np.zeros((64, 64, len(channels)), np.float32), channels))


def _reduce(image: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.float32]:
    """Reduce an image to `size` pixels of the shorter side, with intensities in [0, 1], float32 (Y, X, C)."""
    height, width, _ = image.shape
    scale = size / min(height, width)
    if scale >= 1:
        return image.astype(np.float32) / np.float32(255)
    shape = max(round(width * scale), 1), max(round(height * scale), 1)  # OpenCV's order
    # Channel by channel, as OpenCV reduces at most four at once.
    planes = [
        cv2.resize(image[..., c].astype(np.float32), shape, interpolation=cv2.INTER_AREA) for c in range(image.shape[2])
    ]
    reduced: npt.NDArray[np.float32] = np.stack(planes, axis=-1)
    return reduced / np.float32(255)


def _measure(image: npt.NDArray[np.float32], channels: Sequence[Channel]) -> Features:
    """Measure an image, float32 (Y, X, C) in [0, 1]; the features by their names, always the same in the same order."""
    planes = [regions.make_plane(np.ascontiguousarray(image[..., c])) for c in range(image.shape[2])]
    names = [channel.name for channel in channels]
    signals = find_signals(channels)
    features: Features = {}

    def add(prefix: str, found: Features) -> None:
        features.update({f"{prefix}: {name}": value for name, value in found.items()})

    for c, (plane, name) in enumerate(zip(planes, names, strict=True)):
        pixels = plane.pixels
        add(name, texture.measure_intensity(pixels))
        add(name, texture.measure_bands(plane.bands, float(pixels.std())))
        if c in signals:
            add(name, texture.measure_granules(pixels))
            add(name, texture.measure_directions(pixels))
            add(name, texture.measure_texture(pixels))
            add(name, texture.measure_objects(pixels))
        add(f"structures of {name}", regions.measure_mask(plane.structures))
        distances = regions.measure_distances(plane.structures)
        for s in signals:
            if s != c:
                add(f"{names[s]} around {name}", regions.measure_rings(planes[s].pixels, distances))
                add(f"{names[s]} and {name}", regions.measure_agreement(planes[s], plane))
    return features
