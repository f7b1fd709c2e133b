"""Planes of any size and shape become images of one size."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.sources.fitting import center, resize, scaled_shape
from hpa_data.sources.levels import to_uint8
from hpa_data.sources.options import Fit, ImportOptions
from hpa_data.sources.planes import Plane

Size = tuple[int, int]


def fitted(pixels: np.ndarray, shape: Size, fit: Fit | None = None, upscale: bool = False) -> np.ndarray:
    options = ImportOptions(fit=fit, upscale=upscale)
    return to_uint8(Plane(file="a.png", pixels=pixels, max_value=255), shape, options=options)


def draw(shape: Size) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, shape, np.uint8)


@pytest.mark.parametrize(
    ("plane", "image", "fit", "upscale", "scaled"),
    [
        ((512, 512), (512, 512), None, False, (512, 512)),
        ((2048, 2048), (1024, 1024), None, False, (1024, 1024)),
        ((300, 200), (150, 100), None, False, (150, 100)),
        ((60, 60), (80, 80), None, True, (80, 80)),
        ((60, 60), (80, 80), "pad", False, (60, 60)),
        ((60, 60), (80, 80), "pad", True, (80, 80)),
        ((60, 60), (80, 80), "crop", True, (80, 80)),
        ((300, 200), (150, 150), "pad", False, (150, 100)),
        ((200, 300), (150, 150), "pad", False, (100, 150)),
        ((300, 200), (150, 150), "crop", False, (225, 150)),
        ((200, 300), (150, 150), "crop", False, (150, 225)),
        ((300, 200), (150, 150), "stretch", False, (150, 150)),
        ((300, 200), (256, 256), "pad", False, (256, 171)),
        ((300, 200), (256, 256), "crop", True, (384, 256)),
        ((300, 200), (256, 256), "stretch", True, (256, 256)),
        ((30, 20), (256, 256), "pad", False, (30, 20)),
        ((30, 20), (256, 256), "pad", True, (256, 171)),
        ((5000, 1), (100, 100), "pad", False, (100, 1)),
        ((300, 200), (256, 384), "crop", True, (576, 384)),
    ],
)
def test_a_plane_is_scaled_to_this_size(plane: Size, image: Size, fit: Fit | None, upscale: bool, scaled: Size) -> None:
    assert scaled_shape(plane, image, fit=fit, upscale=upscale) == scaled


def test_another_aspect_ratio_is_refused_with_the_three_ways_out() -> None:
    with pytest.raises(
        InputError,
        match=r"a\.png: it has 300 x 200 pixels \(rows x columns\), .* --fit pad .* --fit crop .* --fit stretch",
    ):
        fitted(draw((300, 200)), (150, 150))


@pytest.mark.parametrize("fit", [None, "crop", "stretch"])
def test_smaller_planes_are_refused_with_the_ways_out(fit: Fit | None) -> None:
    with pytest.raises(InputError, match=r"60 x 60 .*, fewer than the images, 80 x 80. Pass --upscale .* --fit pad"):
        fitted(draw((60, 60)), (80, 80), fit)


def test_a_smaller_plane_is_padded_bit_for_bit() -> None:
    pixels = draw((61, 60))
    image = fitted(pixels, (80, 80), "pad")
    assert (image[9:70, 10:70] == pixels).all()
    assert np.count_nonzero(image) == pixels.size


def test_black_borders_stay_black_where_the_plane_is_scaled() -> None:
    pixels = draw((60, 60)).astype(np.uint16) * 100
    image = to_uint8(Plane(file="a.png", pixels=pixels, max_value=65535), (60, 80), options=ImportOptions(fit="pad"))
    assert not image[:, :10].any()
    assert not image[:, 70:].any()
    assert (image[:, 10:70] == np.rint(pixels / 257)).all()


def test_a_larger_plane_is_cropped_at_its_center() -> None:
    pixels = draw((60, 80))
    assert (fitted(pixels, (60, 60), "crop") == pixels[:, 10:70]).all()
    halves = pixels.reshape(30, 2, 40, 2).mean(axis=(1, 3))
    assert np.abs(fitted(pixels, (30, 30), "crop") - halves[:, 5:35]).max() < 0.501


def test_with_the_native_size_no_plane_is_scaled() -> None:
    plane = Plane(file="a.png", pixels=draw((120, 120)), max_value=255)
    assert (to_uint8(plane, (120, 120), options=ImportOptions(native=True)) == plane.pixels).all()
    with pytest.raises(
        InputError, match=r"120 x 120 .* native all files .* size of the images, 60 x 60.* --image-size 60x60"
    ):
        to_uint8(plane, (60, 60), options=ImportOptions(native=True))
    with pytest.raises(InputError, match="native must not be combined with fit or upscale"):
        ImportOptions(native=True, fit="pad")


def overlaps(size: int, new: int) -> np.ndarray:
    """Return the share of each old pixel in each new one, (new, size)."""
    edges = np.arange(new + 1) * size / new
    left, right = np.arange(size), np.arange(1, size + 1)
    shares = np.clip(np.minimum(edges[1:, None], right) - np.maximum(edges[:-1, None], left), 0, 1)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(20, 60), columns=st.integers(20, 60), height=st.integers(4, 20), width=st.integers(4, 20))
def test_stretched_planes_are_averages_of_areas(rows: int, columns: int, height: int, width: int) -> None:
    pixels = draw((rows, columns))
    means = overlaps(rows, height) @ pixels @ overlaps(columns, width).T
    assert np.abs(fitted(pixels, (height, width), "stretch") - means).max() < 0.51


def test_1728_pixels_become_1024_by_their_share() -> None:
    pixels = draw((1728, 1728))
    weights = overlaps(1728, 1024)
    assert np.abs(fitted(pixels, (1024, 1024)) - weights @ pixels @ weights.T).max() < 0.51


def test_an_axis_that_shrinks_is_averaged_while_the_other_grows() -> None:
    pixels = draw((90, 20)).astype(np.float32)
    shrunk = overlaps(90, 30) @ pixels
    grown = cv2.resize(shrunk, (50, 30), interpolation=cv2.INTER_LINEAR)
    assert np.abs(resize(pixels, (30, 50)) - grown).max() < 1e-3


def test_an_enlarged_plane_has_no_value_beyond_its_own() -> None:
    image = fitted(np.where(draw((20, 20)) > 128, 200, 50).astype(np.uint8), (64, 64), upscale=True)
    assert (image.min(), image.max()) == (50, 200)


@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 9)] * 4))
def test_centering_keeps_the_middle(sizes: tuple[int, int, int, int]) -> None:
    pixels, shape = draw(sizes[:2]), sizes[2:]
    image = center(pixels, shape)
    back = center(image, sizes[:2])
    assert image.shape == shape
    assert ((back == pixels) | (back == 0)).all()
    assert np.count_nonzero(image) == min(sizes[0], sizes[2]) * min(sizes[1], sizes[3])
