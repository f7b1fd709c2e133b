"""From the planes of an image file to channels of one size and 8 bits: colors, bit depths, sizes."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.sources.image_file import ImageFile, Pixels
from hpa_data.sources.options import IntensityScaling

# Of `intensity="percentile"`: 0.1 % of the pixels at either end may be dead or hot and are clipped.
PERCENTILES = (0.1, 99.9)


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One channel as its file has it."""

    file: str
    """The file's name, for messages."""

    pixels: Pixels
    """uint8, uint16, uint32 or float32, shape (Y, X)."""

    max_value: float
    """The value of white; see `ImageFile.max_value`."""

    declared: str = ""
    """Where the file says that less than its whole bit depth counts; see `ImageFile.declared`."""

    name: str = ""
    """The name that the plane has in the file; empty if it has none."""

    note: str = ""
    """A warning about the plane; empty if there is none."""


def extract_gray(image: ImageFile) -> Plane:
    """Return the one plane of a gray image, or of one that stores the same gray as red, green and blue."""
    first = image.load(0)
    if image.n_planes == 3 and image.is_color:
        if any(not np.array_equal(first, image.load(other)) for other in (1, 2)):
            raise InputError(
                f"Cannot read {image.file} as a gray plane: it has colors. Pass --naming hpav18 to read the plane of "
                "each file's color.",
                file=image.file,
            )
    elif image.n_planes != 1:
        raise InputError(
            f"Cannot read {image.file} as a gray plane: it has {image.n_planes} planes. Pass --naming stack for files "
            "that hold whole samples.",
            file=image.file,
        )
    return _make_plane(image, 0, first)


def extract_color(image: ImageFile, color: str) -> Plane:
    """Return the plane of a color image that carries the signal: for yellow, the sum of red and green.

    The note warns if another color is stronger, as in an image under a wrong name. A gray image is returned as it is.
    """
    if not image.is_color:
        return extract_gray(image)
    colors = red, green, blue = [image.load(index) for index in range(3)]
    white, declared, notes = _find_white(image, *colors)
    strength = {name: _sum_pixels(pixels) for name, pixels in zip(("red", "green", "blue"), colors, strict=True)}
    if color == "yellow":
        pixels: Pixels = np.add(red, green, dtype=_SUM_TYPES[red.dtype.name])
        max_value = 2 * white
        expected, others = min(strength["red"], strength["green"]), [strength["blue"]]
    else:
        pixels, max_value = {"red": red, "green": green, "blue": blue}[color], white
        expected, others = strength.pop(color), list(strength.values())
    if max(others) > expected:
        notes.append(
            f"{image.file}: another colour than {color} is stronger"
        )  # stores hold this text: its spelling stays
    return Plane(
        file=image.file,
        pixels=pixels,
        max_value=max_value,
        declared=declared,
        name=color,
        note="; ".join(notes),
    )


# Of the sum of two planes, which would overflow their own type.
_SUM_TYPES = {"uint8": np.uint16, "uint16": np.uint32, "uint32": np.float32, "float32": np.float32}


def _sum_pixels(pixels: Pixels) -> float:
    # OpenCV, several times as fast as NumPy, has no uint32.
    return float(pixels.sum(dtype=np.float64) if pixels.dtype == np.uint32 else cv2.sumElems(pixels)[0])


def extract_plane(image: ImageFile, key: str | int) -> Plane | None:
    """Return a plane of a stack by its index, or by its name in the file, whatever its case.

    None if there is no such plane, or if two have that name. By its index, a plane that the file calls transparency is
    found, too.
    """
    if isinstance(key, int):
        index = key
    else:
        names = [name.casefold() for name in image.names]
        index = names.index(key.casefold()) if names.count(key.casefold()) == 1 else image.n_planes
    if index >= image.n_planes + (image.n_extra if isinstance(key, int) else 0):
        return None
    return _make_plane(image, index, image.load(index))


def _make_plane(image: ImageFile, index: int, pixels: Pixels) -> Plane:
    white, declared, notes = _find_white(image, pixels)
    return Plane(
        file=image.file,
        pixels=pixels,
        max_value=white,
        declared=declared,
        name=image.names[index] if index < len(image.names) else "",
        note="; ".join(notes),
    )


def _find_white(image: ImageFile, *planes: Pixels) -> tuple[float, str, list[str]]:
    """Return the value of white, what declares it, and a note if it is exceeded by some pixels.

    The declaration is then wrong, so that the whole range of the type counts: nothing is clipped.
    """
    if image.declared:
        n_above = sum(np.count_nonzero(pixels > image.max_value) for pixels in planes)
        if n_above:
            note = (
                f"{image.file}: {image.declared} is ignored, because {n_above} pixels are above {image.max_value:.0f}"
            )
            return float(np.iinfo(image.dtype).max), "", [note]
    return image.max_value, image.declared, []


def to_uint8(plane: Plane, shape: tuple[int, int], *, intensity: IntensityScaling = "full") -> npt.NDArray[np.uint8]:
    """Reduce a plane to the size of the images, and to 8 bits.

    Larger planes are averaged over areas; pixels on a border count by their share. More than 8 bits are scaled after
    that, so that values are rounded once.

    Parameters
    ----------
    plane : Plane
        Of the same aspect ratio, and at least as large.
    shape : tuple of int
        Its new rows and columns, (Y, X).
    intensity : {"full", "minmax", "percentile"}
        What becomes 0 and 255 in a plane of more than 8 bits. ``full``: 0 and the highest value of its bit depth.
        ``minmax``: its lowest and highest pixel. ``percentile``: its percentiles 0.1 and 99.9.

    Returns
    -------
    array of uint8, shape (Y, X)
        An 8-bit plane of that size is returned unchanged.

    Raises
    ------
    InputError
        If the plane has another aspect ratio or is too small.
    """
    height, width = plane.pixels.shape
    if height * shape[1] != width * shape[0] or height < shape[0]:
        raise InputError(
            f"Cannot use {plane.file}: it has {height} x {width} pixels, but planes must be of the aspect ratio of "
            f"{shape[0]} x {shape[1]}, and at least as large. Crop or pad it, or remove the sample.",
            file=plane.file,
        )
    is_small = height == shape[0]
    if is_small and plane.max_value == 255 and plane.pixels.dtype == np.uint8:
        return np.ascontiguousarray(plane.pixels, np.uint8)
    levels = plane.pixels.astype(np.float32)
    low, high = 0.0, float(plane.max_value)
    if intensity != "full" and plane.max_value not in {255, 510}:  # 510: yellow, of two 8-bit planes
        low, high = _find_range(plane.pixels, intensity)
    if not is_small:
        levels = cv2.resize(levels, shape[::-1], interpolation=cv2.INTER_AREA)
    scaled = (levels - np.float32(low)) * np.float32(255 / max(high - low, 1))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)


def _find_range(pixels: Pixels, intensity: IntensityScaling) -> tuple[float, float]:
    """Return the values that become black and white."""
    if intensity == "minmax":
        return float(pixels.min()), float(pixels.max())
    low, high = np.percentile(pixels, PERCENTILES)
    return float(low), float(high)
