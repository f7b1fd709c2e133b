"""What is in a file, whatever its format says; what is damaged is refused, whatever it claims."""

import io
import struct
import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from hpa_data.errors import InputError
from hpa_data.sources.decode import MAX_DECODED_BYTES, ImageFile, open_image

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (64, 80), np.uint8)
DEEP = RNG.integers(0, 65536, (64, 80), np.uint16)
STACK = RNG.integers(0, 65536, (7, 64, 80), np.uint16)
COLOUR = RNG.integers(0, 256, (64, 80, 3), np.uint8)
NAMES = ["nucleus", "ER", "DAPI", "x", "y", "z", "Microtubules"]


def write_png(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.png_encode(pixels))


def write_tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)  # type: ignore[arg-type]
    return file.getvalue()


def load_all(picture: ImageFile) -> np.ndarray:
    return np.stack([picture.load(index) for index in range(picture.n_planes)])


@pytest.mark.parametrize(
    ("content", "planes", "is_colour", "max_value"),
    [
        (write_png(GRAY), GRAY[None], False, 255),
        (write_png(DEEP), DEEP[None], False, 65535),
        (write_png(COLOUR), np.moveaxis(COLOUR, -1, 0), True, 255),
        (write_png(np.dstack([COLOUR, GRAY])), np.moveaxis(COLOUR, -1, 0), True, 255),
        (write_png(np.dstack([GRAY, GRAY])), GRAY[None], False, 255),
        (write_tiff(GRAY), GRAY[None], False, 255),
        (write_tiff(GRAY, photometric="miniswhite"), 255 - GRAY[None], False, 255),
        (write_tiff(DEEP, byteorder=">"), DEEP[None], False, 65535),
        (write_tiff(DEEP, bigtiff=True), DEEP[None], False, 65535),
        (write_tiff(DEEP, compression="lzw"), DEEP[None], False, 65535),
        (write_tiff(COLOUR, photometric="rgb"), np.moveaxis(COLOUR, -1, 0), True, 255),
        (write_tiff(STACK), STACK, False, 65535),
        (write_tiff(STACK, ome=True, metadata={"axes": "CYX"}), STACK, False, 65535),
        (write_tiff(STACK, imagej=True, metadata={"axes": "CYX"}), STACK, False, 65535),
        (write_tiff(STACK, tile=(32, 32), compression="deflate"), STACK, False, 65535),
        (write_tiff(STACK, photometric="minisblack", planarconfig="separate"), STACK, False, 65535),
        (write_tiff(np.moveaxis(STACK, 0, -1), photometric="minisblack", planarconfig="contig"), STACK, False, 65535),
    ],
)
def test_each_format_gives_its_planes(content: bytes, planes: np.ndarray, is_colour: bool, max_value: int) -> None:
    picture = open_image(content, "a.png")
    assert (picture.shape, picture.is_colour, picture.max_value) == ((64, 80), is_colour, max_value)
    assert (load_all(picture) == planes).all()


def test_a_jpeg_is_read_as_pillow_does_whatever_its_name() -> None:
    file = io.BytesIO()
    Image.fromarray(COLOUR).save(file, "jpeg")
    picture = open_image(file.getvalue(), "a.png")
    assert picture.form == "JPEG"
    assert (load_all(picture) == np.moveaxis(np.asarray(Image.open(file)), -1, 0)).all()


@pytest.mark.parametrize(
    "content",
    [
        write_tiff(STACK, ome=True, metadata={"axes": "CYX", "Channel": {"Name": NAMES}}),
        write_tiff(STACK, imagej=True, metadata={"axes": "CYX", "Labels": NAMES}),
    ],
)
def test_a_stack_tells_the_names_of_its_channels(content: bytes) -> None:
    assert open_image(content, "a.tif").names == tuple(NAMES)


def test_the_scale_of_12_bits_is_4095() -> None:
    pixels = DEEP >> 4
    picture = open_image(_pack_12_bits(pixels), "a.tif")
    assert picture.max_value == 4095
    assert (picture.load(0) == pixels).all()


def _pack_12_bits(pixels: np.ndarray) -> bytes:
    """Write a TIFF of 12 bits a sample by hand: rows of packed bits, one strip."""
    height, width = pixels.shape
    bits = np.unpackbits(pixels.astype(">u2").view(np.uint8).reshape(height, width, 2), axis=2)[..., 4:]
    body = np.packbits(bits.reshape(height, -1), axis=1).tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, len(body))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)


def claim_png(width: int, height: int) -> bytes:
    content = bytearray(write_png(GRAY))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def claim_jpeg(width: int, height: int) -> bytes:
    content = bytearray(imagecodecs.jpeg8_encode(GRAY))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def claim_tiff(width: int, height: int) -> bytes:
    content = bytearray(write_tiff(GRAY))
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        tags = file.pages.first.tags
        for name, value in (("ImageWidth", width), ("ImageLength", height)):
            content[tags[name].valueoffset : tags[name].valueoffset + 4] = struct.pack("<I", value)
    return bytes(content)


@pytest.mark.parametrize("claim", [claim_png, claim_jpeg, claim_tiff])
@pytest.mark.parametrize("size", [(60_000, 60_000), (0, 10), (65_535, 5000)])
def test_a_claim_of_absurd_size_is_refused(claim: Callable[[int, int], bytes], size: tuple[int, int]) -> None:
    assert MAX_DECODED_BYTES < 60_000 * 60_000
    with pytest.raises(InputError, match=r"must be a whole image file\. Received: a\.png of .*cannot be decoded"):
        open_image(claim(*size), "a.png").load(0)


@pytest.mark.parametrize("content", [write_png(GRAY), bytes(imagecodecs.jpeg8_encode(GRAY)), write_tiff(GRAY)])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_a_file_cut_short_is_refused(content: bytes, keep: float) -> None:
    with pytest.raises(InputError, match="cannot be decoded"):
        open_image(content[: int(len(content) * keep)], "a.png").load(0)


def test_a_tiff_of_many_pages_is_refused_before_they_are_read() -> None:
    content = write_tiff(np.zeros((65, 16, 16), np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="more than 64 pages"):
        open_image(content, "a.tif")


def test_a_jpeg_cannot_hide_its_size_behind_a_false_header() -> None:
    content = bytes(imagecodecs.jpeg8_encode(GRAY))
    false = b"\xff\x00\x00\x02" + b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00"
    with pytest.raises(InputError, match="its header is damaged"):
        open_image(content[:2] + false + content[2:], "a.jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (write_tiff(GRAY, compression="jpeg"), "may hold a picture of another size"),
        (write_tiff(GRAY, tile=(16, 16384), compression="deflate"), None),
        (write_tiff(GRAY, tile=(8192, 16384), compression="deflate"), "claims .* pixels"),
        (write_tiff(STACK[:1], photometric="minisblack"), None),
    ],
)
def test_a_tiff_that_may_unpack_to_more_than_it_says_is_refused(content: bytes, message: str | None) -> None:
    if message is None:
        assert open_image(content, "a.tif").load(0).shape == (64, 80)
        return
    with pytest.raises(InputError, match=message):
        open_image(content, "a.tif")


def test_a_stack_of_pages_of_several_kinds_is_refused() -> None:
    """Planes are counted within pages of one kind: number 1 would be another plane than it is."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for index, plane in enumerate(STACK[:4]):
            writer.write(plane, compression="lzw" if index else None, metadata=None)
    with pytest.raises(InputError, match="pages are of several kinds"):
        open_image(file.getvalue(), "a.tif")


def test_a_jpeg_with_more_scans_than_any_encoder_makes_is_refused() -> None:
    content = bytes(imagecodecs.jpeg8_encode(GRAY))
    with pytest.raises(InputError, match="more than 100 scans"):
        open_image(content[:-2] + b"\xff\xda" * 101 + content[-2:], "a.jpg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no PNG, JPEG or TIFF"),
        (b"GIF89a", "no PNG, JPEG or TIFF"),
        (write_tiff(GRAY.astype(np.float32)), "its pixels are float32"),
        (write_tiff(DEEP.astype(np.int16)), "its pixels are int16"),
        (write_tiff(RNG.integers(0, 255, (2, 3, 64, 80), np.uint8), ome=True, metadata={"axes": "ZCYX"}), "its axes"),
    ],
)
def test_what_is_no_plane_or_stack_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_image(content, "a.tif")
