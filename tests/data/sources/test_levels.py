"""From raw values to 8 bits: averages, scalings, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.sources.levels import to_uint8
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.planes import Plane
from hpa_data.sources.scaling import parse_scaling


def make_plane(pixels: np.ndarray, max_value: float | None = None, **fields: object) -> Plane:
    white = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    return Plane(file="a.png", pixels=pixels, max_value=max_value or white, **fields)  # type: ignore[arg-type]


def ramp(low: float, high: float, dtype: type, shape: tuple[int, int] = (64, 64)) -> np.ndarray:
    return np.linspace(low, high, shape[0] * shape[1]).astype(dtype).reshape(shape)


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
    for text in ("full", "bits=8", "window=0:255"):
        assert (to_uint8(make_plane(pixels), (512, 512), scaling=parse_scaling(text)) == pixels).all()
    for text in ("full", "minmax", "percentile"):  # as version 0.1.0 did
        assert (
            to_uint8(make_plane(pixels // 2), (512, 512), scaling=parse_scaling(text), options=ImportOptions(rules=1))
            == pixels // 2
        ).all()


@pytest.mark.parametrize(
    ("intensity", "dark", "bright"), [("full", 1000 / 257, 60_000 / 257), ("minmax", 0, 255), ("percentile", 0, 255)]
)
def test_16_bits_are_scaled_to_8_as_chosen(intensity: str, dark: float, bright: float) -> None:
    pixels = np.linspace(1000, 60_000, 512 * 512).astype(np.uint16).reshape(512, 512)
    reduced = to_uint8(make_plane(pixels), (512, 512), scaling=parse_scaling(intensity))
    assert reduced.min() == pytest.approx(dark, abs=0.5)
    assert reduced.max() == pytest.approx(bright, abs=0.5)
    assert (np.diff(reduced.ravel().astype(int)) >= 0).all()


def test_a_hot_pixel_does_not_set_the_percentile() -> None:
    pixels = np.full((512, 512), 1000, np.uint16)
    pixels[::2] = 2000
    pixels[0, 0] = 65535
    assert to_uint8(make_plane(pixels), (512, 512), scaling=parse_scaling("percentile"))[2, 0] == 255
    assert to_uint8(make_plane(pixels), (512, 512), scaling=parse_scaling("minmax"))[2, 0] == 4


def test_a_uniform_plane_of_16_bits_has_no_range_and_becomes_black() -> None:
    pixels = np.full((512, 512), 1000, np.uint16)
    assert not to_uint8(make_plane(pixels), (512, 512), scaling=parse_scaling("minmax")).any()


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_number_of_bits_says_what_white_is(bits: int) -> None:
    top = 2**bits - 1
    pixels = ramp(0, top, np.uint16)
    reduced = to_uint8(make_plane(pixels), (64, 64), scaling=parse_scaling(f"bits={bits}"))
    assert np.abs(reduced - pixels * (255 / top)).max() < 0.501


def test_a_plane_that_needs_more_bits_than_were_said_is_refused_with_their_number() -> None:
    with pytest.raises(
        InputError, match=r"a\.png to 8 bits: it has the value 4096, which .* 12 bits .* bits=13 or full"
    ):
        to_uint8(make_plane(ramp(0, 4096, np.uint16)), (64, 64), scaling=parse_scaling("bits=12"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.float32])
def test_a_window_clips_what_is_outside_of_it(dtype: type) -> None:
    pixels = ramp(0, 250, dtype)
    reduced = to_uint8(make_plane(pixels), (64, 64), scaling=parse_scaling("window=100:200"))
    assert np.abs(reduced - ((pixels.astype(float) - 100) * 2.55).clip(0, 255)).max() < 0.501


@pytest.mark.parametrize("text", ["minmax", "percentile", "percentile=0,100"])
def test_planes_of_8_bits_are_scaled_when_asked(text: str) -> None:
    reduced = to_uint8(make_plane(ramp(10, 60, np.uint8)), (64, 64), scaling=parse_scaling(text))
    assert (reduced.min(), reduced.max()) == (0, 255)


def test_the_percentiles_can_be_chosen() -> None:
    pixels = ramp(0, 10_000, np.uint16)
    reduced = to_uint8(make_plane(pixels), (64, 64), scaling=parse_scaling("percentile=10,90"))
    assert np.abs(reduced - ((pixels - 1000.0) * (255 / 8000)).clip(0, 255)).max() < 1
    assert (reduced == 255).mean() == pytest.approx(0.1, abs=0.01)


def test_floating_point_pixels_from_0_to_1_are_read_as_they_are() -> None:
    pixels = ramp(0, 1, np.float32, (128, 128))
    means = pixels.reshape(64, 2, 64, 2).mean(axis=(1, 3))
    assert np.abs(to_uint8(make_plane(pixels), (64, 64)) - means * 255).max() < 0.501


@pytest.mark.parametrize(
    ("low", "high", "remedy"),
    [(0, 255, "bits=8"), (0, 4015, "bits=12"), (-0.5, 0.5, "window=-0.5:0.5"), (0, 1.5, "window=0:1.5")],
)
def test_other_floating_point_pixels_are_refused_with_a_scaling_that_reads_them(
    low: float, high: float, remedy: str
) -> None:
    plane = make_plane(ramp(low, high, np.float32))
    with pytest.raises(InputError, match=rf"floating-point numbers from {low} to {high}.* Pass --intensity {remedy},"):
        to_uint8(plane, (64, 64))
    reduced = to_uint8(plane, (64, 64), scaling=parse_scaling(remedy))
    assert reduced.max() >= 250


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("text", ["full", "minmax", "window=0:1"])
def test_pixels_that_are_no_numbers_are_refused_whatever_the_scaling(value: float, text: str) -> None:
    pixels = ramp(0, 1, np.float32)
    pixels[3, 3] = value
    with pytest.raises(InputError, match="some of its pixels are not numbers or infinite. Set them to a number"):
        to_uint8(make_plane(pixels), (64, 64), scaling=parse_scaling(text))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("text", ["minmax", "percentile"])
def test_a_plane_of_one_value_becomes_black(dtype: type, text: str) -> None:
    assert not to_uint8(make_plane(np.full((64, 64), 7, dtype)), (64, 64), scaling=parse_scaling(text)).any()


def test_yellow_of_two_planes_takes_bits_and_windows_of_one() -> None:
    pixels = np.full((8, 8), 200, np.uint16)  # 100 each
    for text, level in (("bits=7", 100 * 255 / 127), ("window=50:150", 127.5), ("full", 100)):
        reduced = to_uint8(make_plane(pixels, 510, n_summed=2), (8, 8), scaling=parse_scaling(text))
        assert abs(int(reduced[0, 0]) - level) <= 0.501


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("text", ["minmax", "percentile"])
@pytest.mark.parametrize("shape", [(40, 40), (90, 90)])
def test_a_plane_of_one_value_stays_black_when_it_is_scaled(dtype: type, text: str, shape: tuple[int, int]) -> None:
    """Averages of equal values differ from them by rounding, and the range is nothing."""
    plane = make_plane(np.full((65, 65), np.iinfo(dtype).max // 3 * 2 + 1, dtype))
    options = ImportOptions(upscale=True)
    assert not to_uint8(plane, shape, scaling=parse_scaling(text), options=options).any()
