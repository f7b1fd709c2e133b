"""How planes of any size become images of one size: scaled, padded or cropped."""

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.sources.image_file import Pixels
from hpa_data.sources.options import Fit


def scaled_shape(
    plane: tuple[int, int], image: tuple[int, int], *, fit: Fit | None = None, upscale: bool = False, file: str = ""
) -> tuple[int, int]:
    """Find to which size a plane is scaled, before it is centered on the image; its edges may be cut off then.

    Parameters
    ----------
    plane : tuple of int
        Its rows and columns, (Y, X).
    image : tuple of int
        Rows and columns of the images.
    fit : {"pad", "crop", "stretch"}, optional
        What is done where the aspect ratio differs. ``pad``: scaled to fit inside, and, if it is smaller than the
        image, not scaled. ``crop``: scaled to cover the image. ``stretch``: each axis by itself. None: refused.
    upscale : bool
        Whether it may be enlarged.
    file : str
        Its name, for messages.

    Returns
    -------
    tuple of int
        Rows and columns, the exact ones rounded, at least 1.

    Raises
    ------
    InputError
        If the aspect ratio differs and there is no `fit`, or the plane would have to be enlarged.

    Examples
    --------
    >>> [scaled_shape((300, 200), (150, 150), fit=fit) for fit in ("pad", "crop", "stretch")]
    [(150, 100), (225, 150), (150, 150)]
    """
    height, width = plane
    rows, columns = image
    across, along = height * columns, width * rows
    if across != along and fit is None:
        raise InputError(
            f"Cannot use {file}: it has {height} x {width} pixels (rows x columns), which is not the aspect ratio of "
            f"the images, {rows} x {columns}. Pass --fit pad (black borders), --fit crop (edges cut off) or --fit "
            "stretch (distorted), or another --image-size.",
            file=file,
        )
    if fit == "stretch" or across == along:
        scaled = image
    # Exact, rounded half up; `across >= along`: the plane is the taller one.
    elif (across >= along) == (fit == "pad"):
        scaled = rows, max((2 * along + height) // (2 * height), 1)
    else:
        scaled = max((2 * across + width) // (2 * width), 1), columns
    if upscale or (scaled[0] <= height and scaled[1] <= width):
        return scaled
    if fit == "pad":
        return plane
    raise InputError(
        f"Cannot use {file}: it has {height} x {width} pixels (rows x columns), fewer than the images, {rows} x "
        f"{columns}. Pass --upscale to enlarge it, --fit pad to surround it with black, or a smaller size: "
        f"--image-size {height}x{width}.",
        file=file,
    )


def check_native(plane: tuple[int, int], image: tuple[int, int], *, file: str) -> None:
    """Refuse a plane whose size is not that of the images, (Y, X) both: InputError."""
    if plane != image:
        raise InputError(
            f"Cannot use {file}: it has {plane[0]} x {plane[1]} pixels (rows x columns), and with --image-size native "
            f"all files must have the size of the images, {image[0]} x {image[1]}. Remove it, or pass a size that all "
            f"can be reduced to: --image-size {min(plane[0], image[0])}x{min(plane[1], image[1])}, with --fit where "
            "the aspect ratio differs.",
            file=file,
        )


def resize(levels: Pixels, shape: tuple[int, int]) -> Pixels:
    """Resize a plane, float32 or float64 (Y, X): an axis that shrinks is averaged, one that grows is interpolated.

    Pixels on a border count by their share. Interpolation is linear, because it makes no value beyond those of the
    plane.
    """
    shrunk = min(levels.shape[0], shape[0]), min(levels.shape[1], shape[1])
    if shrunk != levels.shape:
        levels = cv2.resize(levels, shrunk[::-1], interpolation=cv2.INTER_AREA)
    if shrunk != shape:
        levels = cv2.resize(levels, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return levels


def center(levels: npt.NDArray[np.uint8], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Center a plane, uint8 (Y, X), on black of another shape, its edges cut off where it is larger.

    Of an odd number of rows or columns, the one more is at the end.
    """
    if levels.shape == shape:
        return levels
    wanted = tuple(
        slice(max(size - new, 0) // 2, max(size - new, 0) // 2 + min(size, new))
        for size, new in zip(levels.shape, shape, strict=True)
    )
    kept = levels[wanted]
    if kept.shape == shape:
        return np.ascontiguousarray(kept)
    top, left = ((new - size) // 2 for size, new in zip(kept.shape, shape, strict=True))
    image = np.zeros(shape, np.uint8)
    image[top : top + kept.shape[0], left : left + kept.shape[1]] = kept
    return image
