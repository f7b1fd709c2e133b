"""The orientation of an image, as TIFF and EXIF give it, tag 274: how its pixels must be turned to be seen upright."""

import struct

import numpy as np

from hpa_data.sources.image_file import Pixels

# The number of the tag, and the value of an image that is stored upright.
ORIENTATION_TAG, UPRIGHT = 274, 1

# From 5 on, the stored rows are the columns of the image.
_FIRST_TRANSPOSED = 5

# Entries of a directory that are read; cameras write about 20.
_MAX_ENTRIES = 256


def read_exif_orientation(exif: bytes) -> int:
    r"""Read the orientation from EXIF metadata, 1 to 8; 1 if they do not give it, or cannot be read.

    Parameters
    ----------
    exif : bytes
        From the byte order on (``II*`` or ``MM*``), without ``Exif\0\0`` before it.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return UPRIGHT
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (n_entries,) = struct.unpack_from(f"{order}H", exif, start)
        for index in range(min(n_entries, _MAX_ENTRIES)):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", exif, start + 2 + 12 * index)
            if tag == ORIENTATION_TAG and kind == 3:  # a 16-bit number
                return check_orientation(value)
    except struct.error:  # a directory outside the metadata
        pass
    return UPRIGHT


def check_orientation(value: object) -> int:
    """Return an orientation, or 1 for a value that is none: viewers ignore it."""
    return value if isinstance(value, int) and UPRIGHT <= value <= 8 else UPRIGHT


def turned_shape(shape: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (Y, X) of an image once it is upright."""
    return shape[::-1] if orientation >= _FIRST_TRANSPOSED else shape


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror pixels so that they are seen upright.

    Parameters
    ----------
    pixels : array, shape (Y, X) or (Y, X, planes)
    orientation : int
        Where the stored first row and first column belong, by the TIFF specification: 1 top left, 2 top right,
        3 bottom right, 4 bottom left; 5 to 8 the same with rows and columns exchanged.

    Returns
    -------
    array, shape `turned_shape`
        The same array for orientation 1; else contiguous.
    """
    if orientation == UPRIGHT:
        return pixels
    if orientation >= _FIRST_TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
