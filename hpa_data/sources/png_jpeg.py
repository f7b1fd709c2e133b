"""PNG and JPEG, the formats of the known data sets, decoded by imagecodecs.

Its decoders are faster than OpenCV's, JPEG twice as fast (`benchmarks/RESULTS.md`). The size is read from the header
here, because imageio takes 0.1 ms per file for that, 2 to 4 % of a conversion.
"""

import struct

import imagecodecs

from hpa_data.sources.image_file import ImageFile, cannot_decode, check_end, check_size, from_array
from hpa_data.sources.options import ImportOptions

# Scans of a progressive JPEG, each a pass over the whole image; encoders make about ten.
MAX_SCANS = 100


def open_png(content: bytes, file: str, format_name: str, options: ImportOptions) -> ImageFile:
    """Decode a PNG. Palettes become red, green and blue; of an animated one, the first image is taken."""
    width, height, depth, color = struct.unpack_from(">IIBB", content, 16)
    # Palettes are expanded to three planes, and to four where they have transparency.
    n_planes = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}.get(color, 4)
    check_size(file, height, width, width * height * n_planes * (2 if depth == 16 else 1))
    check_end(content, b"IEND\xaeB`\x82")
    return from_array(imagecodecs.png_decode(content), file, format_name)


def open_jpeg(content: bytes, file: str, format_name: str, options: ImportOptions) -> ImageFile:
    """Decode a JPEG, baseline or progressive."""
    height, width, n_planes = _read_jpeg_size(content)
    check_size(file, height, width, width * height * n_planes)
    if n_planes not in {1, 3}:
        raise cannot_decode(file, f"it has {n_planes} planes, neither gray nor RGB", "Export it as gray or RGB.")
    if content.count(b"\xff\xda") > MAX_SCANS:
        raise cannot_decode(file, f"it has more than {MAX_SCANS} scans", "Export it as a baseline JPEG.")
    check_end(content, b"\xff\xd9")
    return from_array(imagecodecs.jpeg8_decode(content), file, format_name)


def _read_jpeg_size(content: bytes) -> tuple[int, int, int]:
    """Read height, width and number of planes from a JPEG's frame header."""
    position = 2
    while True:
        prefix, marker, length = struct.unpack_from(">BBH", content, position)
        # Markers without a length, restarts and the like, do not belong before the frame header.
        if prefix != 0xFF or marker in {0x00, 0x01} or 0xD0 <= marker <= 0xDA:
            raise ValueError("its header is damaged")
        if marker == 0xFF:  # a fill byte
            position += 1
        # Frame headers are C0 to CF, but for tables (C4, CC) and an extension (C8).
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            height, width, n_planes = struct.unpack_from(">HHB", content, position + 5)
            return height, width, n_planes
        else:
            position += 2 + length
