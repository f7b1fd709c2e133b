import io

import numpy as np
import pytest
from PIL import Image

from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from tests.data.sources.encoded import COLOR, DEEP, GRAY, load_all, split, write_jpeg, write_pillow, write_png


@pytest.mark.parametrize(
    ("pixels", "planes", "is_color", "max_value"),
    [
        (GRAY, GRAY[None], False, 255),
        (DEEP, DEEP[None], False, 65535),
        (COLOR, split(COLOR), True, 255),
        (np.dstack([COLOR, GRAY]), split(COLOR), True, 255),
        (np.dstack([GRAY, GRAY]), GRAY[None], False, 255),
    ],
)
def test_a_png_gives_its_planes_without_transparency(
    pixels: np.ndarray, planes: np.ndarray, is_color: bool, max_value: int
) -> None:
    image = open_image(write_png(pixels), "a.png")
    assert (image.shape, image.is_color, image.max_value) == ((64, 80), is_color, max_value)
    assert (load_all(image) == planes).all()


def test_a_jpeg_is_decoded_as_pillow_does() -> None:
    content = write_pillow(COLOR, "jpeg")
    image = open_image(content, "a.png")
    assert image.format == "JPEG"
    assert (load_all(image) == split(np.asarray(Image.open(io.BytesIO(content))))).all()


def test_a_jpeg_cannot_hide_its_size_behind_a_false_header() -> None:
    content = write_jpeg(GRAY)
    false = b"\xff\x00\x00\x02" + b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00"
    with pytest.raises(InputError, match="its header is damaged"):
        open_image(content[:2] + false + content[2:], "a.jpg")


def test_a_jpeg_with_more_scans_than_any_encoder_makes_is_refused() -> None:
    content = write_jpeg(GRAY)
    with pytest.raises(InputError, match="more than 100 scans"):
        open_image(content[:-2] + b"\xff\xda" * 101 + content[-2:], "a.jpg")


def test_a_jpeg_of_four_inks_is_refused() -> None:
    inks = io.BytesIO()
    Image.fromarray(np.dstack([COLOR, GRAY]), "CMYK").save(inks, "jpeg")
    with pytest.raises(InputError, match="it has 4 planes, neither gray nor RGB"):
        open_image(inks.getvalue(), "a.jpg")
