import gc
import io
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.planes import extract_gray, extract_plane
from tests.data.sources.encoded import (
    COLOR,
    DEEP,
    GRAY,
    load_all,
    make_png_chunk,
    split,
    write_jpeg,
    write_pillow,
    write_png,
    write_png_by_hand,
)


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


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_the_bits_that_a_png_says_count_give_white(bits: int) -> None:
    pixels = DEEP >> (16 - bits)
    content = write_png_by_hand(pixels, 0, (b"sBIT", bytes([bits])))
    image = open_image(content, "a.png")
    assert (image.max_value, image.declared) == (2**bits - 1, f"sBIT={bits}")
    assert image.describe_depth() == f"16 bit, of which {bits} count (sBIT={bits})"
    assert (image.load(0) == pixels).all()
    assert open_image(content, "a.png", ImportOptions(rules=1)).max_value == 65535


def test_values_scaled_up_to_the_whole_depth_have_its_white() -> None:
    few = DEEP >> 4
    for scaled in (few << 4, few << 4 | few >> 8, np.rint(few * (65535 / 4095)).astype(np.uint16)):
        image = open_image(write_png_by_hand(scaled, 0, (b"sBIT", b"\x0c")), "a.png")
        assert (image.max_value, image.declared) == (65535, "")


def test_a_declared_white_that_pixels_exceed_is_ignored_and_told() -> None:
    plane = extract_plane(open_image(write_png_by_hand(DEEP, 0, (b"sBIT", b"\x0c")), "a.png"), 0)
    assert plane is not None
    assert (plane.max_value, plane.declared) == (65535, "")
    assert plane.note == f"a.png: sBIT=12 is ignored, because {(DEEP > 4095).sum()} pixels are above 4095"


@pytest.mark.parametrize("chunk", [b"", b"\0", b"\x10", b"\xff", b"\x0c\x0a\x0c"])
def test_bits_that_make_no_sense_are_passed_over(chunk: bytes) -> None:
    color = 2 if len(chunk) == 3 else 0
    pixels = np.dstack([DEEP] * 3) if color else DEEP
    image = open_image(write_png_by_hand(pixels >> 4, color, (b"sBIT", chunk)), "a.png")
    assert (image.max_value, image.declared) == (65535, "")


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(("color", "n_stored"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_an_interlaced_png_gives_the_same_planes(color: int, n_stored: int, deep: bool) -> None:
    pixels = np.dstack([DEEP if deep else GRAY, DEEP.T.reshape(64, 80) if deep else 255 - GRAY] * 2)[..., :n_stored]
    plain, woven = (
        open_image(write_png_by_hand(pixels, color, interlaced=interlaced), "a") for interlaced in (False, True)
    )
    assert (plain.n_planes, plain.n_extra) == (woven.n_planes, woven.n_extra)
    for index in range(n_stored):
        assert (plain.load(index) == pixels[..., index]).all()
        assert (woven.load(index) == pixels[..., index]).all()


def test_a_changed_byte_in_an_interlaced_png_is_found() -> None:
    content = bytearray(write_png_by_hand(GRAY, 0, interlaced=True))
    content[len(content) // 2] ^= 1
    with pytest.raises(InputError, match="it is damaged .* a checksum is wrong"):
        open_image(bytes(content), "a.png")


def test_transparency_is_read_by_number_alone() -> None:
    image = open_image(write_png(np.dstack([COLOR, GRAY])), "a.png")
    assert (image.n_planes, image.n_extra) == (3, 1)
    found = extract_plane(image, 3)
    assert found is not None
    assert (found.pixels == GRAY).all()
    assert extract_plane(image, 4) is None


def test_a_palette_of_grays_is_read_as_a_gray_plane() -> None:
    grays = np.random.default_rng(0).permutation(256).astype(np.uint8)
    image = open_image(write_png_by_hand(GRAY, 3, (b"PLTE", grays.repeat(3).tobytes())), "a.png")
    assert (extract_gray(image).pixels == grays[GRAY]).all()


@pytest.mark.parametrize(
    ("chunks", "interlaced"),
    [
        # libpng says about each: wrong profile, wrong number of significant bits, a text without its end, a bad size.
        ([(b"iCCP", b"icc\0\0" + zlib.compress(bytes(132)))], False),
        ([(b"sBIT", b"\x63")], False),
        ([(b"zTXt", b"a")], False),
        ([(b"gAMA", b"\0")], False),
        ([], True),
    ],
)
def test_nothing_is_written_to_the_screen(
    chunks: list[tuple[bytes, bytes]], interlaced: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    late = make_png_chunk(b"tIME", b"")
    content = write_png_by_hand(GRAY, 0, *chunks, late=late, interlaced=interlaced)
    assert (open_image(content, "a.png").load(0) == GRAY).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("bits", "lossless", "error"), [(12, False, 1), (12, True, 0), (16, True, 0)])
def test_a_jpeg_of_more_than_8_bits_keeps_them(bits: int, lossless: bool, error: int) -> None:
    pixels = DEEP >> (16 - bits)
    content = imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=bits, lossless=lossless)
    image = open_image(bytes(content), "a.jpg")
    assert (image.max_value, image.load(0).dtype) == (2**bits - 1, np.uint16)
    assert np.abs(image.load(0).astype(int) - pixels).max() <= error


def test_a_jpeg_ls_file_is_called_what_it_is() -> None:
    content = write_jpeg(GRAY)
    with pytest.raises(InputError, match="it is a JPEG-LS file.*Save it as PNG"):
        open_image(b"\xff\xd8\xff\xf7" + content[4:], "a.jpg")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None cannot be lost there")
def test_damaged_files_cost_no_references_to_none() -> None:
    content = bytearray(write_png(GRAY))
    content[len(content) // 2] ^= 1
    gc.collect()  # other tests leave objects that hold some
    before = sys.getrefcount(None)
    for _ in range(300):
        with pytest.raises(InputError):
            open_image(bytes(content), "a.png")
    gc.collect()
    assert sys.getrefcount(None) > before - 150
