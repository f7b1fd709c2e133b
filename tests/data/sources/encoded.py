"""Image files, encoded by other libraries than those that decode them where there are two."""

import io
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from hpa_data.dataset import HPA_2018
from hpa_data.sources.image_file import ImageFile

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (64, 80), np.uint8)
DEEP = RNG.integers(0, 65536, (64, 80), np.uint16)
STACK = RNG.integers(0, 65536, (7, 64, 80), np.uint16)
COLOR = RNG.integers(0, 256, (64, 80, 3), np.uint8)


def write_png(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.png_encode(pixels))


def write_jpeg(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(pixels))


def write_tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)  # type: ignore[arg-type]
    return file.getvalue()


def write_pillow(pixels: np.ndarray, name: str, *others: np.ndarray, **options: object) -> bytes:
    """Write an image, or several in one file, in a format of Pillow's."""
    file = io.BytesIO()
    frames = {"save_all": True, "append_images": [Image.fromarray(other) for other in others]} if others else {}
    Image.fromarray(pixels).save(file, name, **frames, **options)
    return file.getvalue()


def load_all(image: ImageFile) -> np.ndarray:
    """Load all planes of an image, (planes, Y, X)."""
    return np.stack([image.load(index) for index in range(image.n_planes)])


def split(color: np.ndarray) -> np.ndarray:
    """Return (Y, X, planes) as (planes, Y, X)."""
    return np.moveaxis(color, -1, 0)


def write_hpav18(folder: Path, stem: str, image: np.ndarray, *, extension: str = ".jpg") -> None:
    """Write planes as HPAv18 has them: the signal in one color, for yellow in red and green."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, channel in enumerate(HPA_2018.channel_names):
        colors = np.zeros((*image.shape[:2], 3), np.uint8)
        for color in {"red": [0], "green": [1], "blue": [2], "yellow": [0, 1]}[channel]:
            colors[..., color] = image[..., index]
        content = imagecodecs.jpeg8_encode(colors, level=100)
        (folder / f"{stem}_{channel}{extension}").write_bytes(content)
