"""Inputs that people really have, drawn by the tests, and what must be found in a store that was made from them."""

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from hpa_data.dataset import HPA_2018, OK
from hpa_data.store.store import open_store

CHANNELS = HPA_2018.channel_names
SIZE = 512
Pixels = npt.NDArray[Any]


def draw_plane(sample: str, channel: str, size: int = SIZE) -> npt.NDArray[np.uint8]:
    """Draw the plane of a sample, uint8 (size, size): smooth, other at every turn, and other for every name."""
    rng = np.random.default_rng(list(f"{sample} {channel}".encode()))
    levels = rng.integers(0, 206, (9, 9)).astype(np.float32)
    levels[:3, :5] = 230  # a bright corner, so that all samples are about as bright
    return cv2.resize(levels, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def draw_stack(sample: str, order: Sequence[str] = CHANNELS) -> npt.NDArray[np.uint8]:
    """Draw all planes of a sample, uint8 (C, Y, X), in the order of the given channels."""
    return np.stack([draw_plane(sample, channel) for channel in order])


def as_bits(bits: int) -> Callable[[Pixels], Pixels]:
    """Return a function that scales 8 bits to the lower `bits` of 16, as a camera of that depth writes them."""
    return lambda plane: np.rint(plane * ((2**bits - 1) / 255)).astype(np.uint16)


def tint(plane: Pixels, channel: str) -> Pixels:
    """Show a plane in its color, uint8 (Y, X, 3), as the Human Protein Atlas exports it."""
    parts = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}[channel]
    return plane[..., None] * np.array(parts, np.uint8)


def save(path: Path, pixels: Pixels, **options: Any) -> None:
    """Write an image in the format of its extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in {".tif", ".tiff"}:
        tifffile.imwrite(path, pixels, **options)
    elif pixels.dtype == np.uint16:
        assert cv2.imwrite(str(path), pixels)
    else:
        Image.fromarray(pixels).save(path, **options)


def write_planes(
    folder: Path,
    samples: Sequence[str] = "ab",
    name: str = "{id}_{channel}.png",
    change: Callable[[Pixels], Pixels] = lambda plane: plane,
    size: int = SIZE,
    **options: Any,
) -> None:
    """Write one file per channel of each sample."""
    for sample in samples:
        for channel in CHANNELS:
            path = folder / name.format(id=sample, channel=channel, Channel=channel.title())
            save(path, change(draw_plane(sample, channel, size)), **options)


def write_labels(
    path: Path, *rows: Sequence[str], end: str = "\n", separator: str = ",", encoding: str = "utf-8"
) -> Path:
    """Write a label table; by default Kaggle's, of the samples a and b."""
    rows = rows or (("Id", "Target"), ("a", "16 0"), ("b", "25"))
    path.write_bytes("".join(separator.join(row) + end for row in rows).encode(encoding))
    return path


def write_png(path: Path, pixels: Pixels, *chunks: tuple[bytes, bytes], bits: int = 8) -> None:
    """Write a gray PNG with chunks that no library writes; `bits` is 8 or 16."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], bits, 0, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in parts))


def read_part(store: Path, part: str = "train") -> tuple[list[str], npt.NDArray[np.uint8], list[str]]:
    """Read ids, images, uint8 (N, Y, X, C), and labels of a part; every sample must be ok."""
    opened = open_store(store).part(part)
    assert opened.read_status().tolist() == [OK] * len(opened.ids)
    labels = [" ".join(map(str, np.flatnonzero(row))) for row in (() if opened.labels is None else opened.labels)]
    with open_store(store).reader([part]) as reader:
        return opened.ids, reader.read(range(len(reader))), labels


def assert_planes(store: Path, samples: Sequence[str] = "ab", *, part: str = "train", tolerance: float = 1) -> None:
    """Check that each channel of each sample is the plane that was drawn for it, upright and as bright."""
    ids, images, _ = read_part(store, part)
    assert ids == list(samples)
    for sample, image in zip(samples, images, strict=True):
        for index, channel in enumerate(CHANNELS):
            difference = np.abs(image[..., index].astype(int) - draw_plane(sample, channel))
            assert difference.mean() <= tolerance, (sample, channel)
