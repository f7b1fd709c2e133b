"""Pictures of samples for a page: composites and single channels, with a contrast that the page can name."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.preview.tiles import MAX_GAIN, brighten, find_gain, to_rgb
from hpa_data.reader.reader import Reader

# Pixels of the longer side; 0 for as they are. Few, so that the memory of encoded pictures serves many requests.
SIZES = (0, 96, 192, 256, 384, 512)
# Encoded pictures that are kept: some thousand of a grid.
CACHE_BYTES = 2**26
# In place of a number to multiply with: what `find_gain` finds for each channel of each image.
STRETCHED = 0.0


@dataclass(frozen=True, kw_only=True)
class View:
    """How a sample is shown."""

    channels: tuple[int, ...]
    """Indices of channels, ascending; none: black."""

    gain: float = 1.0
    """What all pixels are multiplied by, or `STRETCHED`."""

    size: int = 256
    """One of `SIZES`."""

    gray: bool = False
    """Of one channel: in gray, without its color."""


def parse_view(given: Mapping[str, str], n_channels: int) -> View:
    """Read a view from texts by name, as of an address; InputError if one has no such name or value."""
    unknown = sorted(set(given) - {"channels", "gain", "size", "gray"})
    if unknown:
        raise InputError(f"view must have channels, gain, size and gray. Received: {unknown[0][:80]!r}. Leave it out.")
    try:
        text = given.get("channels", ",".join(map(str, range(n_channels))))
        channels = tuple(sorted({int(number) for number in text.split(",")})) if text else ()
        gain, size = float(given.get("gain", "1")), int(given.get("size", "256"))
    except (ValueError, OverflowError) as error:
        raise InputError("view must be of numbers. Received: other words. Leave them out.") from error
    gray = given.get("gray", "0") == "1"
    if channels and not 0 <= channels[0] <= channels[-1] < n_channels:
        raise InputError(f"channels must be from 0 to {n_channels - 1}. Received: {channels}. Leave them out.")
    if not (gain == STRETCHED or 1 <= gain <= MAX_GAIN) or gain * 4 % 1:
        raise InputError(f"gain must be 0, or from 1 to {MAX_GAIN:g} in steps of 0.25. Received: {gain}. Leave it out.")
    if size not in SIZES or (gray and len(channels) != 1):
        raise InputError(f"size must be one of {SIZES}, gray of one channel. Received: {size}. Leave it out.")
    return View(channels=channels, gain=gain, size=size, gray=gray)


class Pictures:
    """Makes encoded pictures of the samples of a reader, and keeps some. Safe to use from several threads."""

    def __init__(self, reader: Reader, cache_bytes: int = CACHE_BYTES) -> None:
        self._reader = reader
        self._cache_bytes = cache_bytes
        self._kept: OrderedDict[tuple[int, View], tuple[bytes, str]] = OrderedDict()
        self._n_bytes = 0
        self._lock = threading.Lock()

    def render(self, index: int, view: View) -> tuple[bytes, str]:
        """Return a picture of a sample and its media type: PNG of the size in the store, else JPEG.

        Raises
        ------
        InputError
            If the sample cannot be read.
        """
        key = index, view
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = encode(draw(self._reader.read_one(index), self._reader, view), lossless=not view.size)
        with self._lock:
            if key not in self._kept and len(made[0]) <= self._cache_bytes:
                self._kept[key] = made
                self._n_bytes += len(made[0])
                while self._n_bytes > self._cache_bytes:
                    self._n_bytes -= len(self._kept.popitem(last=False)[1][0])
        return made

    def find_gains(self, index: int) -> list[float]:
        """Return what each channel of a sample is multiplied by where it is stretched."""
        image = self._reader.read_one(index)
        return [find_gain(image[..., c]) for c in range(image.shape[2])]


def draw(image: npt.NDArray[np.uint8], reader: Reader, view: View) -> npt.NDArray[np.uint8]:
    """Draw a view of an image, uint8 (Y, X, C), as RGB, (Y, X, 3), or gray, (Y, X)."""
    chosen = image if len(view.channels) == image.shape[2] else image[..., list(view.channels)]
    if not view.channels:
        chosen = np.zeros((*image.shape[:2], 1), np.uint8)
    # Contrast first: the brightest pixels of the whole image count, not those of its reduced version.
    if view.gain != 1:
        gain = None if view.gain == STRETCHED else view.gain
        chosen = np.stack([brighten(chosen[..., c], gain) for c in range(chosen.shape[2])], axis=-1)
    height, width = chosen.shape[:2]
    scale = view.size / max(height, width)
    if 0 < scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        chosen = cv2.resize(chosen, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1).astype(np.uint8)
    if view.gray or not view.channels:
        return chosen[..., 0]
    return to_rgb(chosen, [reader.dataset.channels[c] for c in view.channels])


def encode(image: npt.NDArray[np.uint8], *, lossless: bool, quality: int = 82) -> tuple[bytes, str]:
    """Encode a picture, RGB (Y, X, 3) or gray (Y, X), uint8; return it and its media type."""
    pixels = image[..., ::-1] if image.ndim == 3 else image  # OpenCV writes BGR
    if lossless:
        return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes(), "image/png"
    # Color at full resolution, which JPEG would halve: thin red structures would smear.
    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, *sampling]
    return cv2.imencode(".jpg", pixels, options)[1].tobytes(), "image/jpeg"
