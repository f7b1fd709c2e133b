import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from tests.data.sources.encoded import COLOR, DEEP, GRAY, load_all, split, write_pillow

FLAT = COLOR // 86 * 86  # 27 colors: few enough for a palette


def write_pgm(pixels: np.ndarray, max_value: int) -> bytes:
    return b"P5 %d %d %d\n" % (*pixels.shape[::-1], max_value) + pixels.astype(">u2").tobytes()


@pytest.mark.parametrize(
    ("content", "planes"),
    [
        (write_pillow(COLOR, "BMP"), split(COLOR)),
        (write_pillow(COLOR, "PPM"), split(COLOR)),
        (write_pillow(COLOR, "JPEG2000"), split(COLOR)),
        (write_pillow(FLAT, "GIF"), split(FLAT)),
        (write_pillow(np.dstack([COLOR, GRAY | 1]), "WEBP", lossless=True), split(COLOR)),
    ],
)
def test_color_images_give_red_green_and_blue_without_transparency(content: bytes, planes: np.ndarray) -> None:
    image = open_image(content, "a")
    assert (image.n_planes, image.is_color, image.max_value) == (3, True, 255)
    assert (load_all(image) == planes).all()


@pytest.mark.parametrize("content", [write_pillow(DEEP, "JPEG2000"), write_pgm(DEEP, 65535)])
def test_gray_images_of_16_bits_keep_them(content: bytes) -> None:
    image = open_image(content, "a")
    assert (image.max_value, image.load(0).dtype) == (65535, np.uint16)
    assert (load_all(image) == DEEP).all()


def test_a_pgm_of_12_bits_is_scaled_to_16() -> None:
    image = open_image(write_pgm(DEEP >> 4, 4095), "a.pgm")
    assert image.max_value == 65535
    assert np.abs(image.load(0) - (DEEP >> 4) * (65535 / 4095)).max() <= 0.5


@pytest.mark.parametrize("name", ["GIF", "WEBP"])
def test_a_file_of_several_images_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="Cannot decode a: it holds several images"):
        open_image(write_pillow(GRAY, name, 255 - GRAY), "a")


def test_inks_are_not_taken_for_red_green_and_blue() -> None:
    file = io.BytesIO()
    Image.new("CMYK", (64, 64)).save(file, "JPEG2000")
    with pytest.raises(InputError, match="Cannot decode a: its colors are CMYK, neither gray nor RGB"):
        open_image(file.getvalue(), "a")


def test_changed_bytes_inside_a_file_raise_no_other_error() -> None:
    rng = np.random.default_rng(0)
    for name in ("BMP", "GIF", "JPEG2000", "PPM", "WEBP"):
        content = write_pillow(GRAY, name)
        for _ in range(60):
            changed = bytearray(content)
            for position in rng.integers(4, min(len(content), 200), 3):
                changed[position] = rng.integers(256)
            with contextlib.suppress(InputError):
                assert open_image(bytes(changed), "a").load(0).dtype in {np.dtype(np.uint8), np.dtype(np.uint16)}
