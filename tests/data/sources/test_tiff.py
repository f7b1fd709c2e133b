import io
import struct

import numpy as np
import pytest
import tifffile

from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from tests.data.sources.encoded import COLOR, DEEP, GRAY, RNG, STACK, load_all, split, write_tiff

NAMES = ["nucleus", "ER", "DAPI", "x", "y", "z", "Microtubules"]


@pytest.mark.parametrize(
    ("content", "planes", "is_color", "max_value"),
    [
        (write_tiff(GRAY), GRAY[None], False, 255),
        (write_tiff(GRAY, photometric="miniswhite"), 255 - GRAY[None], False, 255),
        (write_tiff(DEEP, byteorder=">"), DEEP[None], False, 65535),
        (write_tiff(DEEP, bigtiff=True), DEEP[None], False, 65535),
        (write_tiff(DEEP, compression="lzw"), DEEP[None], False, 65535),
        (write_tiff(COLOR, photometric="rgb"), split(COLOR), True, 255),
        (write_tiff(np.dstack([COLOR, GRAY]), photometric="rgb"), split(COLOR), True, 255),
        (write_tiff(STACK), STACK, False, 65535),
        (write_tiff(STACK, ome=True, metadata={"axes": "CYX"}), STACK, False, 65535),
        (write_tiff(STACK, imagej=True, metadata={"axes": "CYX"}), STACK, False, 65535),
        (write_tiff(STACK, tile=(32, 32), compression="deflate"), STACK, False, 65535),
        (write_tiff(STACK, photometric="minisblack", planarconfig="separate"), STACK, False, 65535),
        (write_tiff(np.moveaxis(STACK, 0, -1), photometric="minisblack", planarconfig="contig"), STACK, False, 65535),
    ],
)
def test_each_kind_of_tiff_gives_its_planes(content: bytes, planes: np.ndarray, is_color: bool, max_value: int) -> None:
    image = open_image(content, "a.png")
    assert (image.format, image.shape, image.is_color, image.max_value) == ("TIFF", (64, 80), is_color, max_value)
    assert (load_all(image) == planes).all()


@pytest.mark.parametrize(
    "content",
    [
        write_tiff(STACK, ome=True, metadata={"axes": "CYX", "Channel": {"Name": NAMES}}),
        write_tiff(STACK, imagej=True, metadata={"axes": "CYX", "Labels": NAMES}),
    ],
)
def test_a_stack_has_the_names_of_its_channels(content: bytes) -> None:
    assert open_image(content, "a.tif").names == tuple(NAMES)


def test_white_of_12_bits_is_4095() -> None:
    pixels = DEEP >> 4
    image = open_image(write_12_bits(pixels), "a.tif")
    assert image.max_value == 4095
    assert (image.load(0) == pixels).all()


def write_12_bits(pixels: np.ndarray) -> bytes:
    """Write a TIFF of 12 bits per pixel by hand: rows of packed bits, one strip."""
    height, width = pixels.shape
    bits = np.unpackbits(pixels.astype(">u2").view(np.uint8).reshape(height, width, 2), axis=2)[..., 4:]
    body = np.packbits(bits.reshape(height, -1), axis=1).tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, len(body))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8 + len(body)) + body + struct.pack("<H", len(tags)) + entries + bytes(4)


def write_pages(*pages: tuple[np.ndarray, str | None]) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for plane, compression in pages:
            writer.write(plane, compression=compression, metadata=None)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (write_tiff(np.zeros((65, 16, 16), np.uint8), photometric="minisblack"), "it has more than 64 pages"),
        # Planes are counted within pages of one kind: plane 1 would be another one.
        (write_pages((STACK[0], None), (STACK[1], "lzw"), (STACK[2], "lzw")), "its pages are of several kinds"),
        (write_tiff(GRAY, compression="jpeg"), "its compression .* embeds an image of its own size"),
        (write_tiff(GRAY, photometric="palette", colormap=np.zeros((3, 256), np.uint16)), "indices into a palette"),
        (write_tiff(GRAY.astype(np.int64)), "its pixels are int64, not 8 or 16 bits, unsigned. Save it with 16 bits"),
        (write_tiff(GRAY.astype(np.complex64)), "its pixels are complex64, not 8 or 16 bits"),
        (write_tiff(GRAY, tile=(8192, 16384), compression="deflate"), "its header gives 8192 x 16384 pixels"),
        (write_tiff(RNG.integers(0, 255, (2, 3, 64, 80), np.uint8), ome=True, metadata={"axes": "ZCYX"}), "its axes"),
        (write_tiff(GRAY)[:-1], "its strips lie outside the file"),
    ],
)
def test_a_tiff_that_is_not_a_plane_or_a_stack_is_refused_before_it_is_decoded(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=f"^Cannot decode a.tif: .*{reason}"):
        open_image(content, "a.tif")


@pytest.mark.parametrize(
    "content",
    [write_tiff(GRAY, tile=(16, 16384), compression="deflate"), write_tiff(STACK[:1], photometric="minisblack")],
)
def test_unusual_but_safe_tiffs_are_read(content: bytes) -> None:
    assert open_image(content, "a.tif").load(0).shape == (64, 80)
