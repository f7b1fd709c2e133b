"""Any plane, size, fit and scaling, against an independent computation in float64."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.sources.levels import to_uint8
from hpa_data.sources.options import Fit, ImportOptions
from hpa_data.sources.planes import Plane
from hpa_data.sources.scaling import parse_scaling

Size = tuple[int, int]

WHITE = {"uint8": 255.0, "uint16": 65535.0, "uint32": 4294967295.0, "float32": 1.0}


def weights(size: int, new: int) -> np.ndarray:
    """Return by how much each old pixel counts in each new one: shares of areas, or linear between two centers."""
    matrix = np.zeros((new, size))
    for row in range(new):
        if new <= size:
            left, right = Fraction(row * size, new), Fraction((row + 1) * size, new)
            for column in range(size):
                share = max(min(right, column + 1) - max(left, column), 0)
                matrix[row, column] = share / (right - left)
        else:
            place = min(max((row + 0.5) * size / new - 0.5, 0), size - 1)
            below = math.floor(place)
            matrix[row, below] += 1 - (place - below)
            matrix[row, min(below + 1, size - 1)] += place - below
    return matrix


def expected_size(plane: Size, image: Size, fit: Fit | None, upscale: bool) -> Size | None:
    """Return the size that a plane is scaled to; None if it is refused."""
    factors = Fraction(image[0], plane[0]), Fraction(image[1], plane[1])
    if fit == "stretch" or factors[0] == factors[1]:
        wanted = image
    elif fit is None:
        return None
    else:
        factor = min(factors) if fit == "pad" else max(factors)
        wanted = tuple(max(math.floor(side * factor + Fraction(1, 2)), 1) for side in plane)
    if upscale or all(new <= old for new, old in zip(wanted, plane, strict=True)):
        return wanted
    return plane if fit == "pad" else None


def expected_window(pixels: np.ndarray, text: str) -> tuple[float, float]:
    name, _, numbers = text.partition("=")
    if name == "full":
        return 0, WHITE[pixels.dtype.name]
    if name == "minmax":
        return float(pixels.min()), float(pixels.max())
    if name == "percentile":
        low, high = np.percentile(pixels.astype(np.float64), [float(word) for word in numbers.split(",")])
        return low, high
    low, high = (float(word) for word in numbers.split(":"))
    return low, high


def expected_image(pixels: np.ndarray, image: Size, scaled: Size, window: tuple[float, float]) -> np.ndarray:
    """Return the image, float64, not rounded; NaN where it is black beside the plane."""
    levels = weights(pixels.shape[0], scaled[0]) @ pixels.astype(np.float64) @ weights(pixels.shape[1], scaled[1]).T
    span = window[1] - window[0] if pixels.dtype.kind == "f" else max(window[1] - window[0], 1)
    levels = ((levels - window[0]) * (255 / span if span else 0)).clip(0, 255)
    result = np.full(image, np.nan)
    for y in range(image[0]):
        for x in range(image[1]):
            # Of an odd difference, the one more is at the end.
            row, column = (
                place - (new - old) // 2 if new >= old else place + (old - new) // 2
                for place, new, old in ((y, image[0], scaled[0]), (x, image[1], scaled[1]))
            )
            if 0 <= row < scaled[0] and 0 <= column < scaled[1]:
                result[y, x] = levels[row, column]
    return result


@settings(max_examples=150, deadline=None)
@given(
    plane=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    image=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    options=st.builds(ImportOptions, fit=st.sampled_from([None, "pad", "crop", "stretch"]), upscale=st.booleans()),
    values=st.tuples(st.sampled_from(list(WHITE)), st.sampled_from([1.0, 1 / 16]), st.integers(0, 2**32 - 1)),
    text=st.sampled_from(["full", "minmax", "percentile=2,95", "window=10:200"]),
)
def test_a_plane_becomes_what_an_independent_computation_says(
    plane: Size, image: Size, options: ImportOptions, values: tuple[str, float, int], text: str
) -> None:
    dtype, share, seed = values
    pixels = (np.random.default_rng(seed).random(plane) * WHITE[dtype] * share).astype(dtype)
    if dtype == "float32" and text.startswith("window"):
        pixels *= 255
    scaled = expected_size(plane, image, options.fit, options.upscale)
    raw = Plane(file="a.tif", pixels=pixels, max_value=WHITE[dtype])
    try:
        result = to_uint8(raw, image, scaling=parse_scaling(text), options=options)
    except InputError:
        assert scaled is None
        return
    assert scaled is not None
    wanted = expected_image(pixels, image, scaled, expected_window(pixels, text))
    is_plane = ~np.isnan(wanted)
    assert not result[~is_plane].any()
    assert np.abs(result[is_plane] - wanted[is_plane]).max() < 0.51
