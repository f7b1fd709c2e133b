"""The content of a file decides how it is decoded; every format keeps the same limits."""

import io
import struct
import zlib
from collections.abc import Callable

import pytest
import tifffile

from hpa_data.errors import InputError
from hpa_data.sources.decode import EXTENSIONS, FORMATS, open_image
from hpa_data.sources.image_file import MAX_PIXELS
from tests.data.sources.encoded import COLOR, GRAY, load_all, split, write_jpeg, write_pillow, write_png, write_tiff

FILES = {
    "PNG": write_png(GRAY),
    "JPEG": write_jpeg(GRAY),
    "TIFF": write_tiff(GRAY),
    "AVIF": write_pillow(COLOR, "AVIF"),
    "BMP": write_pillow(GRAY, "BMP"),
    "GIF": write_pillow(GRAY, "GIF"),
    "JPEG 2000": write_pillow(GRAY, "JPEG2000"),
    "PNM": write_pillow(GRAY, "PPM"),
    "WebP": write_pillow(COLOR, "WEBP", lossless=True),
}


def claim_png(height: int, width: int) -> bytes:
    content = bytearray(FILES["PNG"])
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def claim_jpeg(height: int, width: int) -> bytes:
    content = bytearray(FILES["JPEG"])
    start = content.index(b"\xff\xc0") + 5
    content[start : start + 4] = struct.pack(">HH", min(height, 65_535), min(width, 65_535))
    return bytes(content)


def claim_tiff(height: int, width: int) -> bytes:
    content = bytearray(FILES["TIFF"])
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tags = file.pages.first.tags
        for name, value in (("ImageWidth", width), ("ImageLength", height)):
            content[tags[name].valueoffset : tags[name].valueoffset + 4] = struct.pack("<I", value)
    return bytes(content)


def claim_avif(height: int, width: int) -> bytes:
    content = bytearray(FILES["AVIF"])
    start = content.index(b"ispe") + 8
    content[start : start + 8] = struct.pack(">II", min(width, 16_000), min(height, 16_000))  # the limit of libavif
    return bytes(content)


def claim_bmp(height: int, width: int) -> bytes:
    content = bytearray(FILES["BMP"])
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def claim_gif(height: int, width: int) -> bytes:
    content = bytearray(FILES["GIF"])
    content[6:10] = struct.pack("<HH", min(width, 65_535), min(height, 65_535))
    return bytes(content)


def claim_jpeg_2000(height: int, width: int) -> bytes:
    content = bytearray(FILES["JPEG 2000"])
    start = content.index(b"ihdr") + 4
    content[start : start + 8] = struct.pack(">II", height, width)
    return bytes(content)


def claim_pnm(height: int, width: int) -> bytes:
    return FILES["PNM"].replace(b"80 64", b"%d %d" % (width, height))


CLAIMS = [claim_png, claim_jpeg, claim_tiff, claim_avif, claim_bmp, claim_gif, claim_jpeg_2000, claim_pnm]


def test_there_is_a_file_of_each_format() -> None:
    assert list(FILES) == [known.name for known in FORMATS]


@pytest.mark.parametrize("name", FILES)
def test_the_format_is_known_by_the_content_whatever_the_extension(name: str) -> None:
    image = open_image(FILES[name], "a.txt")
    assert (image.format, image.file, image.shape) == (name, "a.txt", (64, 80))


@pytest.mark.parametrize("name", [name for name in FILES if name not in {"JPEG", "AVIF", "WebP"}])
def test_each_lossless_format_gives_the_pixels_that_were_written(name: str) -> None:
    image = open_image(FILES[name], "a")
    assert (image.n_planes, image.is_color, image.max_value) == (1, False, 255)
    assert (load_all(image) == GRAY).all()


def test_a_color_webp_gives_the_pixels_that_were_written() -> None:
    image = open_image(FILES["WebP"], "a")
    assert (image.n_planes, image.is_color, image.max_value) == (3, True, 255)
    assert (load_all(image) == split(COLOR)).all()


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("size", [(60_000, 60_000), (9000, 9000)])
def test_a_header_that_claims_too_many_pixels_is_refused(
    claim: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    assert MAX_PIXELS < 9000 * 9000
    with pytest.raises(InputError, match=r"^Cannot decode a\.png: its header gives .* Crop or reduce the image\."):
        open_image(claim(*size), "a.png")


@pytest.mark.parametrize("claim", [claim for claim in CLAIMS if claim is not claim_gif])
def test_a_header_without_pixels_is_refused(claim: Callable[[int, int], bytes]) -> None:
    with pytest.raises(InputError, match="Cannot decode"):
        open_image(claim(10, 0), "a.png").load(0)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_file_cut_short_is_refused(name: str, keep: float) -> None:
    content = FILES[name]
    with pytest.raises(InputError, match=r"Cannot decode a: it is damaged \(\d+ bytes: .+\)\. Fetch the file again\."):
        open_image(content[: int(len(content) * keep)], "a").load(0)


@pytest.mark.parametrize("content", [b"GIF88a", b"%!PS-Adobe-3.0\n", b"RIFF\0\0\0\0WAVE", b"<svg/>"])
def test_other_content_is_refused_in_one_line_that_lists_the_formats(content: bytes) -> None:
    with pytest.raises(InputError) as raised:
        open_image(content, "a.png")
    assert str(raised.value) == (
        "Cannot decode a.png: its content is none of PNG, JPEG, TIFF, AVIF, BMP, GIF, JPEG 2000, PNM, WebP. Export it "
        "as PNG or TIFF."
    )
    assert raised.value.file == "a.png"


def test_the_extensions_of_all_formats_are_found() -> None:
    assert {".png", ".jpeg", ".tif", ".bmp", ".gif", ".jp2", ".pgm", ".webp"} <= EXTENSIONS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty. Fetch the file again."),
        (bytes(100), "it is all zeros. Fetch the file again."),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "Git LFS in place of the file. Run git lfs pull.",
        ),
        (b"\n<!DOCTYPE html><html>", "it is a web page in place of the file. Fetch the file again."),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "it is a web page in place of the file."),
        (b"\xd0\xcf\x11\xe0", "its content is none of PNG, .*. Export it as PNG or TIFF."),
    ],
)
def test_what_is_there_in_place_of_an_image_is_named(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_image(content, "a.png")
