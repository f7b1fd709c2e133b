"""Image files, encoded by other libraries than those that decode them where there are two."""

import io
import struct
import zlib
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


def make_png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


# Of `zlib.compress`ed PNG rows: where each pass of an interlaced image begins, and its steps, by row and by column.
INTERLACED = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def write_png_by_hand(
    pixels: np.ndarray, color: int, *chunks: tuple[bytes, bytes], late: bytes = b"", interlaced: bool = False
) -> bytes:
    """Write a PNG of 8 or 16 bits, with chunks of any name before its pixels, and complete ones after them."""
    depth = 8 * pixels.itemsize
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, color, 0, 0, interlaced)
    rows = pixels.astype(f">u{pixels.itemsize}")
    passes = INTERLACED if interlaced else ((0, 0, 1, 1),)
    lines = [b"\0" + row.tobytes() for y, x, down, right in passes for row in rows[y::down, x::right]]
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(b"".join(lines)))]
    body = b"".join(make_png_chunk(*part) for part in parts)
    return b"\x89PNG\r\n\x1a\n" + body + late + make_png_chunk(b"IEND", b"")


def make_exif(orientation: int) -> bytes:
    """Make EXIF metadata, from their byte order on."""
    return struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 274, 3, 1, orientation, 0)


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
