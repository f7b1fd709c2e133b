"""PNG and JPEG, the formats of the known data sets, decoded by imagecodecs.

Its decoders are faster than OpenCV's, JPEG twice as fast (`benchmarks/RESULTS.md`). The size is read from the header
here, because imageio takes 0.1 ms per file for that, 2 to 4 % of a conversion.
"""

import logging
import struct
import zlib
from typing import NamedTuple

import imagecodecs
import numpy as np

from hpa_data.sources.image_file import ImageFile, Pixels, cannot_decode, check_end, check_size, from_array
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.orientation import UPRIGHT, read_exif_orientation, turn_upright
from hpa_data.sources.png_filters import FILTERS
from hpa_data.sources.png_plain import decode_plain

# Scans of a progressive JPEG, each a pass over the whole image; encoders make about ten.
MAX_SCANS = 100

# Of PNG, what decides the pixels. libpng writes a line to the screen about what it dislikes in any other chunk.
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})

# Bytes before the first chunk of a PNG.
_SIGNATURE_BYTES = 8

_PALETTE, _GRAY_TYPES = 3, {0, 4}

# What imagecodecs logs about every interlaced PNG, and which is no fault of the file.
logging.getLogger("imagecodecs").addFilter(lambda record: "Interlace handling" not in record.getMessage())

# One for each PNG with damaged pixels: imagecodecs 2026.3.6 gives a reference to None away there. Python 3.11 ends once
# the last one is gone, which ten thousand files suffice for.
_NONES: list[None] = []

# Rows whose values are compared at once: numbers of 64 bits, five for each.
_ROWS_CHECKED = 64


def open_png(content: bytes, file: str, format_name: str, options: ImportOptions) -> ImageFile:
    """Decode a PNG. Palettes become red, green and blue; of an animated one, the first image is taken."""
    width, height, depth, color, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    # Palettes are expanded to three planes, and to four where they have transparency.
    n_planes = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}.get(color, 4)
    n_bytes = width * height * n_planes * (2 if depth == 16 else 1)
    check_size(file, height, width, n_bytes)
    check_end(content, b"IEND\xaeB`\x82")
    plain, extras = _read_png_chunks(content)
    if interlaced:
        _check_checksums(plain)
    undo = FILTERS.find(n_bytes)
    array = None if undo is None else decode_plain(plain, undo)
    if array is None:
        array = _decode_by_libpng(plain)
    if options.rules == 1:
        return from_array(array, file, format_name)
    array = turn_upright(array, read_exif_orientation(extras.get(b"eXIf", b"")))
    n_bits = _read_significant_bits(extras.get(b"sBIT", b""), depth, color)
    if n_bits is None or _is_scaled_up(array, n_bits):
        return from_array(array, file, format_name)
    return from_array(array, file, format_name, max_value=2**n_bits - 1, declared=f"sBIT={n_bits}")


def _decode_by_libpng(content: bytes) -> Pixels:
    try:
        return imagecodecs.png_decode(content)
    except imagecodecs.PngError:
        _NONES.append(None)
        raise


def _read_png_chunks(content: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """Return a PNG with nothing but its pixels, and the other chunks by name."""
    position, kept = _SIGNATURE_BYTES, [content[:_SIGNATURE_BYTES]]
    extras: dict[bytes, bytes] = {}
    begin = position
    while position + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, position)
        after = position + 12 + length
        if name not in _PIXEL_CHUNKS and name[0] & 0x20:  # a small letter: chunks that a decoder may ignore
            extras.setdefault(name, content[position + 8 : after - 4])
            kept.append(content[begin:position])
            begin = after
        elif name == b"PLTE" and zlib.crc32(content[position + 4 : after - 4]) != _read_checksum(content, after):
            raise ValueError("the checksum of its palette is wrong")  # libpng only warns, and gives other colors
        position = after
        if name == b"IEND":
            break
    if len(kept) == 1:
        return content, extras
    return b"".join([*kept, content[begin:]]), extras


def _check_checksums(content: bytes) -> None:
    """Check the checksum of each chunk of a PNG; ValueError if one is wrong."""
    position = _SIGNATURE_BYTES
    while position < len(content) and content[position - 8 : position - 4] != b"IEND":
        (length,) = struct.unpack_from(">I", content, position)
        after = position + 12 + length
        if zlib.crc32(content[position + 4 : after - 4]) != _read_checksum(content, after):
            raise ValueError("a checksum is wrong")
        position = after


def _read_checksum(content: bytes, after: int) -> int:
    """Return the checksum of the chunk that ends before a position; -1 if the file is cut there."""
    return int.from_bytes(content[after - 4 : after]) if after <= len(content) else -1


def _read_significant_bits(chunk: bytes, depth: int, color: int) -> int | None:
    """Return how many bits of each value count by a PNG's chunk sBIT; None if it does not say, or says all."""
    values = chunk[:3] if color not in _GRAY_TYPES else chunk[:1]  # without that of transparency
    if color == _PALETTE or not values or len(set(values)) > 1 or not 1 <= values[0] < depth or depth < 8:
        return None
    return values[0]


def _is_scaled_up(array: Pixels, n_bits: int) -> bool:
    """Return whether values of some bits were scaled to the whole depth, so that white is its highest value.

    The specification asks for it; programs of cameras store the values as they are.
    """
    depth = 8 * array.itemsize
    for start in range(0, len(array), _ROWS_CHECKED):
        values = array[start : start + _ROWS_CHECKED].astype(np.int64)
        high = values >> (depth - n_bits)
        is_shifted = values == high << (depth - n_bits)
        # Scaled exactly, or by repeated bits: both are within 1.
        is_stretched = np.abs(values * (2**n_bits - 1) - high * (2**depth - 1)) <= 2**n_bits
        if not (is_shifted | is_stretched).all():
            return False
    return True


class _JpegHeader(NamedTuple):
    """What the frame header of a JPEG says."""

    height: int
    width: int
    n_planes: int
    depth: int  # bits of a value
    orientation: int


def open_jpeg(content: bytes, file: str, format_name: str, options: ImportOptions) -> ImageFile:
    """Decode a JPEG, baseline, progressive or lossless, of 8 or more bits."""
    header = _read_jpeg_header(content, file)
    height, width, n_planes, depth, orientation = header
    check_size(file, height, width, width * height * n_planes * (1 if depth <= 8 else 2))
    if n_planes not in {1, 3}:
        inks = ": they are inks (CMYK)" if n_planes == 4 else ""
        raise cannot_decode(file, f"it has {n_planes} planes, neither gray nor RGB{inks}", "Export it as gray or RGB.")
    if content.count(b"\xff\xda") > MAX_SCANS:
        raise cannot_decode(file, f"it has more than {MAX_SCANS} scans", "Export it as a baseline JPEG.")
    check_end(content, b"\xff\xd9")
    array = imagecodecs.jpeg8_decode(content)
    if options.rules > 1:
        array = turn_upright(array, orientation)
    if depth in {8, 16}:
        return from_array(array, file, format_name)
    return from_array(array, file, format_name, max_value=2**depth - 1, declared=f"JPEG of {depth} bits")


def _read_jpeg_header(content: bytes, file: str) -> _JpegHeader:
    """Read a JPEG's frame header, and the orientation from EXIF metadata before it."""
    position, orientation = 2, UPRIGHT
    while True:
        prefix, marker, length = struct.unpack_from(">BBH", content, position)
        if prefix == 0xFF and marker == 0xF7:
            raise cannot_decode(file, "it is a JPEG-LS file, which is another format than JPEG", "Save it as PNG.")
        # Markers without a length, restarts and the like, do not belong before the frame header.
        if prefix != 0xFF or marker in {0x00, 0x01} or 0xD0 <= marker <= 0xDA:
            raise ValueError("its header is damaged")
        if marker == 0xFF:  # a fill byte
            position += 1
        # Frame headers are C0 to CF, but for tables (C4, CC) and an extension (C8).
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            depth, height, width, n_planes = struct.unpack_from(">BHHB", content, position + 4)
            return _JpegHeader(height, width, n_planes, depth, orientation)
        else:
            if marker == 0xE1 and content.startswith(b"Exif\0\0", position + 4):
                orientation = read_exif_orientation(content[position + 10 : position + 2 + length])
            position += 2 + length
