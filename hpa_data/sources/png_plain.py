"""PNGs as nearly all are, decoded by libdeflate and compiled filters, much faster than by libpng.

This decoder explains nothing. Where anything about a file is odd, it has no answer, and libpng is asked: what is said
of a damaged file, and what is made of one that libpng forgives, does not depend on which decoder there is.
"""

import struct
import threading
from typing import NamedTuple

import imagecodecs
import numpy as np

from hpa_data.sources.image_file import Pixels
from hpa_data.sources.png_filters import Bytes, Undo

_BEGIN = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"

# Where the first chunk begins, what it says, and what follows it.
_FIRST_CHUNK, _HEADER, _AFTER_HEADER = 8, 16, 33

# Values of a pixel, by color type: gray, RGB, gray and transparency, RGB and transparency. Not palettes.
_N_STORED = {0: 1, 2: 3, 4: 2, 6: 4}

# libpng refuses more rows or columns.
_MAX_SIDE = 1_000_000

# How a stream of zlib begins that may refer back by 32 KiB. libdeflate passes over a reference by more than the stream
# says, which zlib refuses.
_ZLIB = 0x78

# Memory for larger files is not kept for the thread's next one.
_MAX_KEPT_BYTES = 2**23

_kept = threading.local()


class _OddError(Exception):
    """Something is not as in nearly all files."""


class _Form(NamedTuple):
    """What the header says."""

    height: int
    width: int
    depth: int  # bits of a value
    n_stored: int  # values of a pixel


def decode_plain(content: bytes, undo: Undo) -> Pixels | None:
    """Decode a PNG of 8 or 16 bits that is not interlaced, has no palette, and has no fault.

    Parameters
    ----------
    content : bytes
        Without chunks that say nothing of the pixels. `image_file.check_size` has accepted its size.
    undo : function
        From `png_filters`.

    Returns
    -------
    array of uint8 or uint16, shape (Y, X) or (Y, X, values), or None
        What `imagecodecs.png_decode` returns. None where the file is another one, or memory is short.
    """
    try:
        form = _read_form(content)
        step = form.n_stored * form.depth // 8
        rows = _unpack(_join_stream(content), form.height, 1 + form.width * step)
        pixels = np.empty((form.height, form.width * step), np.uint8)
        if not undo(rows, pixels, step):
            return None
        array = pixels if form.depth == 8 else pixels.view(">u2").astype(np.uint16)
    except (_OddError, imagecodecs.DeflateError, MemoryError):
        return None
    return array if form.n_stored == 1 else array.reshape(form.height, form.width, form.n_stored)


def _read_form(content: bytes) -> _Form:
    if not content.startswith(_BEGIN) or len(content) < _AFTER_HEADER:
        raise _OddError
    width, height, depth, color, *methods = struct.unpack_from(">IIBBBBB", content, _HEADER)
    is_known = color in _N_STORED and depth in {8, 16} and not any(methods)  # of compression, filter, interlacing
    if not (is_known and 0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise _OddError
    return _Form(height, width, depth, _N_STORED[color])


def _join_stream(content: bytes) -> bytes | memoryview:
    """Return the content of the chunks IDAT, of which there is one at least, and nothing else between IHDR and IEND.

    The checksum of each chunk is compared.
    """
    view = memoryview(content)
    parts: list[memoryview] = []
    position, expected = _FIRST_CHUNK, {b"IHDR"}
    while True:
        if position + 12 > len(content):
            raise _OddError
        length, name = struct.unpack_from(">I4s", content, position)
        after = position + 12 + length
        if name not in expected or after > len(content):
            raise _OddError
        checksum = imagecodecs.deflate_crc32(view[position + 4 : after - 4])  # type: ignore[arg-type]  # any buffer
        if checksum != int.from_bytes(view[after - 4 : after]):
            raise _OddError
        if name == b"IEND":
            return parts[0] if len(parts) == 1 else b"".join(parts)
        if name == b"IDAT":
            parts.append(view[position + 8 : after - 4])
        position, expected = after, {b"IDAT", b"IEND"} if parts else {b"IDAT"}


def _unpack(stream: bytes | memoryview, height: int, row_bytes: int) -> Bytes:
    """Unpack the rows of an image, uint8 (Y, row bytes), valid until the next call in this thread."""
    n_bytes = height * row_bytes
    memory: Bytes | None = getattr(_kept, "memory", None)
    if memory is None or len(memory) < n_bytes:
        memory = np.empty(n_bytes, np.uint8)
        if n_bytes <= _MAX_KEPT_BYTES:
            _kept.memory = memory
    rows = memory[:n_bytes]
    if not stream or stream[0] != _ZLIB:
        raise _OddError
    if len(imagecodecs.deflate_decode(stream, out=rows)) != n_bytes:  # type: ignore[arg-type]  # any buffer
        raise _OddError
    # libdeflate has compared this checksum. Nothing may follow it: libpng would say so.
    if imagecodecs.deflate_adler32(rows) != int.from_bytes(stream[-4:]):  # type: ignore[arg-type]  # any buffer
        raise _OddError
    return rows.reshape(height, row_bytes)
