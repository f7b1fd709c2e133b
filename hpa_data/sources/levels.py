"""From raw values to 8 bits: what becomes black and white in a plane, and its reduction to the size of the images."""

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.sources.fitting import center, check_native, resize, scaled_shape
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.planes import Plane
from hpa_data.sources.scaling import FULL, Scaling

# White of 8-bit planes, and of yellow, the sum of two of them.
_WHITE_OF_8_BITS = {255, 510}

# Floating-point values that far outside 0..1 still become 0 and 255.
_HALF_LEVEL = 0.5 / 255

_DEFAULTS = ImportOptions()


def to_uint8(
    plane: Plane,
    shape: tuple[int, int],
    *,
    scaling: Scaling = FULL,
    options: ImportOptions | None = None,
) -> npt.NDArray[np.uint8]:
    """Bring a plane to the size of the images, and to 8 bits.

    Larger planes are averaged over areas; pixels on a border count by their share. Values are scaled after that, so
    that they are rounded once.

    Parameters
    ----------
    plane : Plane
    shape : tuple of int
        Its new rows and columns, (Y, X).
    scaling : Scaling
        Which values become 0 and 255; those outside are clipped, but see Raises.
    options : ImportOptions, optional
        Its `fit`, `upscale`, `native` and `rules`; by rules 1, planes of 8 bits are never scaled.

    Returns
    -------
    array of uint8, shape (Y, X)
        An 8-bit plane of that size is returned unchanged where 0 and 255 stay. A plane of one value becomes black,
        unless what is black and white does not depend on its pixels.

    Raises
    ------
    InputError
        If the plane does not fit, is not finite, or has values that are not possible where white is known.
    """
    pixels = plane.pixels
    size = (pixels.shape[0], pixels.shape[1])
    options = options or _DEFAULTS
    if options.native:
        check_native(size, shape, file=plane.file)
    scaled = scaled_shape(size, shape, fit=options.fit, upscale=options.upscale, file=plane.file)
    low, high = find_window(plane, scaling, rules=options.rules)
    if scaled == size and pixels.dtype == np.uint8 and (low, high) == (0, 255):
        return np.ascontiguousarray(center(pixels, shape), np.uint8)
    # Numbers of 32 bits need more than the 24 of float32 where they lie close together.
    is_wide = pixels.dtype == np.uint32 and options.rules > 1
    levels = resize(pixels.astype(np.float64 if is_wide else np.float32), scaled)
    # Of whole numbers, nothing lies between two neighbors; in version 0.1.0, too.
    span = high - low if pixels.dtype.kind == "f" else max(high - low, 1)
    # Where all pixels are equal, their averages may differ by rounding.
    is_flat = high <= low and (span <= 0 or (options.rules > 1 and pixels.min() == pixels.max()))
    levels -= levels.dtype.type(low)
    levels *= levels.dtype.type(0 if is_flat else 255 / span)
    np.rint(levels, out=levels)
    np.clip(levels, 0, 255, out=levels)
    return center(levels.astype(np.uint8), shape)


def find_window(plane: Plane, scaling: Scaling, *, rules: int = 2) -> tuple[float, float]:
    """Find which raw values of a plane become black and white; errors as `to_uint8`."""
    pixels = plane.pixels
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise _cannot_scale(
            plane, "some of its pixels are not numbers or infinite", "Set them to a number, and save it again."
        )
    if rules == 1 and plane.max_value in _WHITE_OF_8_BITS:
        return 0.0, float(plane.max_value)
    if scaling.method == "minmax":
        return float(pixels.min()), float(pixels.max())
    if scaling.method == "percentile":
        low, high = np.percentile(pixels, (scaling.low, scaling.high))
        return float(low), float(high)
    if scaling.method == "window":
        return scaling.low * plane.n_summed, scaling.high * plane.n_summed
    if scaling.method == "dataset-percentile":
        raise _cannot_scale(
            plane,
            "the window of its channel for dataset-percentile has not been measured",
            "Pass --intensity window=LOW:HIGH, or convert the whole part again with --overwrite.",
        )
    if scaling.method == "bits":
        white = scaling.high * plane.n_summed
        if pixels.max() > white:
            raise _cannot_scale(
                plane,
                f"it has the value {pixels.max():g}, which needs more than the {int(scaling.high).bit_length()} bits "
                "of --intensity",
                f"Pass --intensity bits={int(np.ceil(pixels.max() / plane.n_summed)).bit_length()} or full.",
            )
        return 0.0, white
    if pixels.dtype.kind == "f":
        _check_floats(plane)
    return 0.0, float(plane.max_value)


def _check_floats(plane: Plane) -> None:
    """Refuse floating-point values outside 0..1."""
    pixels, white = plane.pixels, plane.max_value
    low, high = float(pixels.min()), float(pixels.max())
    if low < -_HALF_LEVEL * white or high > (1 + _HALF_LEVEL) * white:
        raise _cannot_scale(
            plane,
            f"its pixels are floating-point numbers from {low:g} to {high:g}, and only 0 to 1 has a meaning of its own",
            f"Pass --intensity {_suggest(low, high)}, or minmax or percentile.",
        )


def _suggest(low: float, high: float) -> str:
    """Return a scaling for floating-point numbers of that range."""
    bits = next((n for n in (8, 10, 12, 14, 16) if high <= 2**n - 1), None)
    if low >= 0 and high > 2 and bits is not None:
        return f"bits={bits}"
    return f"window={low:g}:{high:g}" if f"{low:g}" != f"{high:g}" else "window=LOW:HIGH"


def _cannot_scale(plane: Plane, reason: str, remedy: str) -> InputError:
    return InputError(f"Cannot scale {plane.file} to 8 bits: {reason}. {remedy}", file=plane.file)
