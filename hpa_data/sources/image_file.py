"""An opened image file, and the limits that every decoder keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError, first_line

# uint8, uint16, uint32 or float32.
Pixels = npt.NDArray[Any]

# The largest known image, an interleaved 16-bit stack of 7 channels at 4096 x 4096, has 235 MB.
MAX_DECODED_BYTES = 256 * 2**20

# Pixels of a plane: 8192 x 8192, four times the largest known.
MAX_PIXELS = 2**26

# Bytes that may follow the end of a PNG or JPEG: some programs append notes.
MAX_TAIL = 4096


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An image file that was opened."""

    file: str
    """The name of the file, for messages."""

    format: str
    """A name in `decode.FORMATS`."""

    shape: tuple[int, int]
    """(Y, X) of each plane."""

    n_planes: int
    """Without transparency."""

    is_color: bool
    """Whether the three planes are the red, green and blue of one image."""

    n_extra: int = 0
    """Planes after those, which the file calls transparency: they are read by number alone."""

    dtype: str = "uint8"
    """Of the pixels in the file: uint8, int16, float64."""

    max_value: float
    """The value of white: what the file declares, else the highest value of its bit depth: 255, 4095, 65535; 1.0 for
    floating-point pixels."""

    declared: str = ""
    """Where the file says that less than its whole bit depth counts: ``SignificantBits=12``. Empty: nowhere."""

    names: tuple[str, ...] = ()
    """The names of the planes; empty if the file does not name each."""

    load: Callable[[int], Pixels]
    """Returns the plane of an index, uint8, uint16, uint32 or float32 (Y, X)."""

    def describe(self) -> str:
        """Describe the file, in the same words if another is alike: ``PNG 512 x 512, 8 bit``, rows by columns."""
        height, width = self.shape
        return f"{self.format} {height} x {width}, {self.describe_depth()}"

    def describe_depth(self) -> str:
        """Say how many bits a pixel has, and how many of them count: ``16 bit, of which 12 count (sBIT=12)``."""
        kind = np.dtype(self.dtype)
        if kind.kind == "f":
            return f"{8 * kind.itemsize} bit floating point"
        bits = f"{8 * kind.itemsize} bit{' signed' if kind.kind == 'i' else ''}"
        if not self.declared:
            return bits
        return f"{bits}, of which {int(self.max_value).bit_length()} count ({self.declared})"


def from_array(
    array: Pixels, file: str, format_name: str, *, max_value: float | None = None, declared: str = ""
) -> ImageFile:
    """Make an `ImageFile` of decoded pixels.

    Parameters
    ----------
    array : array of uint8 or uint16, shape (Y, X) or (Y, X, planes)
        With an even number of planes, the last one is transparency.
    file, format_name, max_value, declared
        See `ImageFile`. By default, white is the highest value of the data type.
    """
    n_stored = 1 if array.ndim == 2 else array.shape[2]
    n_planes = (n_stored - 1) // 2 * 2 + 1
    pixels = array.reshape(*array.shape[:2], -1)  # (Y, X, planes)

    def load(index: int) -> Pixels:
        # OpenCV takes one plane out of three in a fifth of NumPy's time.
        return pixels[..., 0] if array.ndim == 2 else cv2.extractChannel(pixels, index)

    return ImageFile(
        file=file,
        format=format_name,
        shape=(array.shape[0], array.shape[1]),
        n_planes=n_planes,
        is_color=n_planes == 3,
        n_extra=n_stored - n_planes,
        dtype=str(array.dtype),
        max_value=2 ** (8 * array.itemsize) - 1 if max_value is None else max_value,
        declared=declared,
        load=load,
    )


def check_size(file: str, height: int, width: int, n_bytes: int) -> None:
    """Refuse an image that is too large, before its pixels are decoded.

    Parameters
    ----------
    file : str
    height, width : int
        As its header gives them.
    n_bytes : int
        Of its decoded pixels, all planes.

    Raises
    ------
    InputError
        If it has more than `MAX_PIXELS` or `MAX_DECODED_BYTES`.
    """
    if height * width > MAX_PIXELS or n_bytes > MAX_DECODED_BYTES:
        raise cannot_decode(
            file,
            f"its header gives {height} x {width} pixels and {n_bytes} bytes; the limits are {MAX_PIXELS} pixels and "
            f"{MAX_DECODED_BYTES} bytes",
            "Crop or reduce the image.",
        )


def check_end(content: bytes, end: bytes) -> None:
    """Refuse a file that was cut short: decoders pad it with gray, or do not check for an end."""
    if content.rfind(end, max(len(content) - len(end) - MAX_TAIL, 0)) < 0:
        raise ValueError("its end is missing")


def cannot_decode(file: str, reason: str, remedy: str) -> InputError:
    """Return the error for an image file that cannot be used."""
    return InputError(f"Cannot decode {file}: {reason}. {remedy}", file=file)


def damaged_file(file: str, n_bytes: int, error: Exception) -> InputError:
    """Return the error for an image file whose decoder failed."""
    # imageio's own message names only the plugin.
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    if isinstance(cause, MemoryError):
        return cannot_decode(file, "there is not enough memory to decode it", "Close other programs, and try again.")
    return cannot_decode(file, f"it is damaged ({n_bytes} bytes: {first_line(cause)[:200]})", "Fetch the file again.")
