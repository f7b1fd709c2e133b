"""From the planes of a picture to channels of 512 x 512 gray levels: colours, bit depths, sizes."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import IMAGE_SIZE
from hpa_data.errors import InputError
from hpa_data.sources.decode import ImageFile, Pixels
from hpa_data.sources.options import IntensityScaling

# Of `intensity="percentile"`: 0.1 % of the pixels at either end say nothing of the range (dead and hot pixels).
PERCENTILES = (0.1, 99.9)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One channel as its file has it.

    Attributes
    ----------
    file : str
        The file's name, for messages.
    pixels : array of uint8 or uint16, shape (Y, X)
    max_value : int
        The value that stands for white.
    note : str
        What to know of it; empty if nothing.
    """

    file: str
    pixels: Pixels
    max_value: int
    note: str = ""


def extract_gray(picture: ImageFile, key: str | int) -> Plane:
    """Take the one plane of a gray picture, or of one that stores the same gray as red, green and blue."""
    first = picture.load(0)
    if picture.n_planes == 3 and picture.is_colour:
        if any(not np.array_equal(first, picture.load(other)) for other in (1, 2)):
            raise InputError(
                f"A plane must be gray. Received: {picture.file}, which has colours. Pass --source hpav18 to take the "
                "plane of each file's colour.",
                file=picture.file,
            )
    elif picture.n_planes != 1:
        raise InputError(
            f"A plane must be one gray picture. Received: {picture.file} with {picture.n_planes} planes. Pass "
            "--source stack for files that hold whole samples.",
            file=picture.file,
        )
    return Plane(file=picture.file, pixels=first, max_value=picture.max_value)


def extract_color(picture: ImageFile, key: str | int) -> Plane:
    """Take the plane that carries the signal of a coloured picture: of yellow, the mean of red and green.

    The note says if another colour is the stronger one, as in a picture under a wrong name. A gray picture is taken as
    it is.
    """
    if not picture.is_colour:
        return extract_gray(picture, key)
    red, green, blue = (picture.load(index) for index in range(3))
    strength = {"red": cv2.sumElems(red)[0], "green": cv2.sumElems(green)[0], "blue": cv2.sumElems(blue)[0]}
    if key == "yellow":
        # In the file's own 8 bits the sum would overflow.
        pixels: Pixels = np.add(red, green, dtype=np.uint16 if picture.max_value == 255 else np.uint32)
        max_value = 2 * picture.max_value
        expected, others = min(strength["red"], strength["green"]), [strength["blue"]]
    else:
        pixels, max_value = {"red": red, "green": green, "blue": blue}[str(key)], picture.max_value
        expected, others = strength.pop(str(key)), list(strength.values())
    note = f"{picture.file}: another colour than {key} is stronger" if max(others) > expected else ""
    return Plane(file=picture.file, pixels=pixels, max_value=max_value, note=note)


def find_plane(picture: ImageFile, key: str | int) -> int | None:
    """Find a plane of a stack by its number, from 0, or by its name; None if there is none, or two of that name."""
    if isinstance(key, int):
        return key if key < picture.n_planes else None
    names = [name.casefold() for name in picture.names]
    return names.index(key.casefold()) if names.count(key.casefold()) == 1 else None


def extract_plane(picture: ImageFile, key: str | int) -> Plane:
    """Take a plane of a stack by its number, from 0, or by the name that the file gives it, whatever its case."""
    index = find_plane(picture, key)
    if index is None:
        told = ", ".join(picture.names) or "without names"
        raise InputError(
            f"A channel must be one of the planes of its file. Received: {key!r} of {picture.file}, which has "
            f"{picture.n_planes}: {told}. Pass --channels, as in red=2,green=0,blue=1,yellow=3.",
            file=picture.file,
        )
    return Plane(file=picture.file, pixels=picture.load(index), max_value=picture.max_value)


def to_uint8(plane: Plane, *, intensity: IntensityScaling = "full") -> npt.NDArray[np.uint8]:
    """Bring a plane to 512 x 512 and 8 bit.

    Larger planes are averaged over areas; pixels that straddle a border count by their share. What has more than 8 bits
    is scaled after that, so that it is rounded once.

    Parameters
    ----------
    plane : Plane
        Square, at least 512 wide.
    intensity : str
        What becomes 0 and 255 in a plane of more than 8 bits. ``full``: 0 and the highest value of its bit depth.
        ``minmax``: its lowest and highest pixel. ``percentile``: its percentiles 0.1 and 99.9.

    Returns
    -------
    array of uint8, shape (512, 512)
        An 8-bit plane of that size comes back as it is.

    Raises
    ------
    InputError
        If the plane is not square or too small.
    """
    height, width = plane.pixels.shape
    if height != width or height < IMAGE_SIZE:
        raise InputError(
            f"A plane must be square and at least {IMAGE_SIZE} x {IMAGE_SIZE}. Received: {plane.file} of {height} x "
            f"{width}. Cut or pad it, or take the sample out.",
            file=plane.file,
        )
    is_small = height == IMAGE_SIZE
    if is_small and plane.max_value == 255 and plane.pixels.dtype == np.uint8:
        return np.ascontiguousarray(plane.pixels, np.uint8)
    levels = plane.pixels.astype(np.float32)
    low, high = 0.0, float(plane.max_value)
    if intensity != "full" and plane.max_value not in {255, 510}:  # 510: yellow, of two 8-bit planes
        low, high = _find_range(plane.pixels, intensity)
    if not is_small:
        levels = cv2.resize(levels, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)
    scaled = (levels - np.float32(low)) * np.float32(255 / max(high - low, 1))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _find_range(pixels: Pixels, intensity: IntensityScaling) -> tuple[float, float]:
    """Return the values that become black and white."""
    if intensity == "minmax":
        return float(pixels.min()), float(pixels.max())
    low, high = np.percentile(pixels, PERCENTILES)
    return float(low), float(high)
