"""Every plane is turned as its file says, by the rules of today."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hpa_data.sources.decode import open_image
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.orientation import read_exif_orientation, turn_upright
from tests.data.sources.encoded import (
    COLOR,
    DEEP,
    GRAY,
    load_all,
    make_exif,
    make_png_chunk,
    split,
    write_pillow,
    write_png_by_hand,
)


def exif(orientation: int) -> Image.Exif:
    metadata = Image.Exif()
    metadata[274] = orientation
    return metadata


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_pillow_turns_them(orientation: int) -> None:
    content = write_pillow(COLOR, "PNG", exif=exif(orientation))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert (turn_upright(COLOR, orientation) == upright).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "how"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95, "subsampling": 0}), ("AVIF", {"quality": 95})],
)
def test_each_format_gives_upright_planes(name: str, how: dict[str, object], orientation: int) -> None:
    smooth = np.dstack([np.add.outer(np.arange(64), np.arange(80)).astype(np.uint8)] * 3)
    smooth[:8, :40] = 250
    content = write_pillow(smooth, name, exif=exif(orientation), **how)
    image, upright = open_image(content, "a"), split(turn_upright(smooth, orientation))
    assert image.shape == upright.shape[1:]
    assert np.abs(load_all(image).astype(int) - upright).mean() < 2


def test_a_png_may_say_it_after_its_pixels() -> None:
    content = write_png_by_hand(DEEP, 0, late=make_png_chunk(b"eXIf", make_exif(6)))
    assert (open_image(content, "a").load(0) == turn_upright(DEEP, 6)).all()


def test_a_part_of_version_0_1_0_stays_as_it_was_read() -> None:
    for name in ("PNG", "WEBP", "JPEG"):
        content = write_pillow(COLOR, name, exif=exif(6))
        plain = open_image(write_pillow(COLOR, name), "a")
        assert (load_all(open_image(content, "a", ImportOptions(rules=1))) == load_all(plain)).all()


def test_an_orientation_that_is_none_is_passed_over() -> None:
    for value in (0, 9, 65535):
        assert (open_image(write_png_by_hand(GRAY, 0, (b"eXIf", make_exif(value))), "a").load(0) == GRAY).all()


@given(st.binary(max_size=60))
def test_any_bytes_give_an_orientation(content: bytes) -> None:
    for begin in (b"", b"II*\0", b"MM\0*\0\0\0\x08"):
        assert 1 <= read_exif_orientation(begin + content) <= 8
