"""From planes to channels of 512 x 512 gray levels."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.sources.image_file import ImageFile
from hpa_data.sources.options import IntensityScaling
from hpa_data.sources.planes import Plane, extract_color, extract_gray, extract_plane, to_uint8


def make_plane(pixels: np.ndarray, max_value: int | None = None) -> Plane:
    return Plane(file="a.png", pixels=pixels, max_value=max_value or int(np.iinfo(pixels.dtype).max))


def make_image(*planes: np.ndarray, is_color: bool = False, names: tuple[str, ...] = ()) -> ImageFile:
    return ImageFile(
        file="a.jpg",
        format="JPEG",
        shape=planes[0].shape,
        n_planes=len(planes),
        is_color=is_color,
        max_value=255,
        names=names,
        load=lambda index: planes[index],
    )


def fill(value: int) -> np.ndarray:
    return np.full((512, 512), value, np.uint8)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), factor=st.integers(2, 4), dtype=st.sampled_from([np.uint8, np.uint16]))
def test_a_whole_factor_gives_the_rounded_mean_of_each_block(seed: int, factor: int, dtype: type) -> None:
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(seed).integers(0, top + 1, (512 * factor, 512 * factor), dtype)
    means = pixels.reshape(512, factor, 512, factor).mean(axis=(1, 3)) * (255 / top)
    reduced = to_uint8(make_plane(pixels), (512, 512))
    # Half a gray level is as near as whole numbers come; float32 may decide a tie.
    assert np.abs(reduced - means).max() < 0.5 + 1e-3


def test_pixels_on_a_border_count_by_their_share() -> None:
    """1728 is 3.375 times 512: weights of rows and columns by overlap, as a matrix."""
    pixels = np.random.default_rng(0).integers(0, 256, (1728, 1728), np.uint8)
    edges = np.arange(513) * 1728 / 512
    overlap = np.clip(
        np.minimum(edges[1:, None], np.arange(1, 1729)) - np.maximum(edges[:-1, None], np.arange(1728)), 0, 1
    )
    weights = overlap / overlap.sum(axis=1, keepdims=True)
    assert np.abs(to_uint8(make_plane(pixels), (512, 512)) - weights @ pixels @ weights.T).max() < 0.51


def test_an_8_bit_plane_of_512_pixels_is_unchanged() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512), np.uint8)
    for intensity in get_args(IntensityScaling):
        assert (to_uint8(make_plane(pixels), (512, 512), intensity=intensity) == pixels).all()


@pytest.mark.parametrize(
    ("intensity", "dark", "bright"), [("full", 1000 / 257, 60_000 / 257), ("minmax", 0, 255), ("percentile", 0, 255)]
)
def test_16_bits_are_scaled_to_8_as_chosen(intensity: IntensityScaling, dark: float, bright: float) -> None:
    pixels = np.linspace(1000, 60_000, 512 * 512).astype(np.uint16).reshape(512, 512)
    reduced = to_uint8(make_plane(pixels), (512, 512), intensity=intensity)
    assert reduced.min() == pytest.approx(dark, abs=0.5)
    assert reduced.max() == pytest.approx(bright, abs=0.5)
    assert (np.diff(reduced.ravel().astype(int)) >= 0).all()


def test_a_hot_pixel_does_not_set_the_percentile() -> None:
    pixels = np.full((512, 512), 1000, np.uint16)
    pixels[::2] = 2000
    pixels[0, 0] = 65535
    assert to_uint8(make_plane(pixels), (512, 512), intensity="percentile")[2, 0] == 255
    assert to_uint8(make_plane(pixels), (512, 512), intensity="minmax")[2, 0] == 4


def test_a_uniform_plane_of_16_bits_has_no_range_and_becomes_black() -> None:
    pixels = np.full((512, 512), 1000, np.uint16)
    assert not to_uint8(make_plane(pixels), (512, 512), intensity="minmax").any()


def test_yellow_is_the_mean_of_red_and_green_without_overflow() -> None:
    plane = extract_color(make_image(fill(250), fill(201), fill(3), is_color=True), "yellow")
    assert to_uint8(plane, (512, 512))[0, 0] == 226  # 225.5, to the even neighbor
    assert plane.note == ""


@pytest.mark.parametrize(("color", "value"), [("red", 9), ("green", 7), ("blue", 5)])
def test_each_color_has_its_own_plane(color: str, value: int) -> None:
    image = make_image(fill(9), fill(7), fill(5), is_color=True)
    plane = extract_color(image, color)
    assert plane.pixels[0, 0] == value
    assert plane.note == ("" if color == "red" else f"a.jpg: another colour than {color} is stronger")


def test_yellow_must_be_stronger_than_blue() -> None:
    assert extract_color(make_image(fill(9), fill(2), fill(5), is_color=True), "yellow").note
    assert not extract_color(make_image(fill(9), fill(6), fill(5), is_color=True), "yellow").note


def test_gray_may_be_stored_as_rgb_but_colors_are_refused() -> None:
    assert (extract_gray(make_image(fill(7), fill(7), fill(7), is_color=True)).pixels == 7).all()
    with pytest.raises(InputError, match="it has colors. Pass --naming hpav18"):
        extract_gray(make_image(fill(7), fill(7), fill(8), is_color=True))
    with pytest.raises(InputError, match="it has 4 planes. Pass --naming stack"):
        extract_gray(make_image(*[fill(7)] * 4))


def test_a_gray_image_is_read_as_any_color() -> None:
    assert (extract_color(make_image(fill(7)), "blue").pixels == 7).all()


def test_a_plane_of_a_stack_is_found_by_index_or_by_a_name_that_occurs_once() -> None:
    image = make_image(fill(1), fill(2), fill(3), names=("ER", "DAPI", "ER"))
    found = [extract_plane(image, key) for key in (2, "dapi", 3, "nucleus", "ER")]
    assert [plane and plane.pixels[0, 0] for plane in found] == [3, 2, None, None, None]
