"""PNGs of all kinds, damaged in all ways, some with checksums that are right again."""

import itertools
import struct
import zlib

import imagecodecs
import numpy as np

from tests.data.sources.encoded import make_png_chunk

Chunks = list[tuple[bytes, bytes]]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NAMES = (b"tRNS", b"PLTE", b"gAMA", b"sBIT", b"eXIf", b"ABCD", b"abcd", b"IHDR", b"IDAT", b"IEND")


def split_chunks(content: bytes) -> Chunks:
    """Return names and contents of the chunks of a PNG."""
    chunks, position = [], len(SIGNATURE)
    while position < len(content):
        length, name = struct.unpack_from(">I4s", content, position)
        chunks.append((name, content[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def join_chunks(chunks: Chunks) -> bytes:
    """Make a PNG of chunks, all checksums of which are right."""
    return SIGNATURE + b"".join(make_png_chunk(name, body) for name, body in chunks)


def get_stream(chunks: Chunks) -> bytearray:
    """Return the compressed rows."""
    return bytearray(b"".join(body for name, body in chunks if name == b"IDAT"))


def put_stream(head: tuple[bytes, bytes], stream: bytes, *cuts: int) -> Chunks:
    """Make the chunks of a PNG of a header and of compressed rows, which are cut into several chunks."""
    bounds = [0, *sorted(cuts), len(stream)]
    parts = [(b"IDAT", bytes(stream[start:stop])) for start, stop in itertools.pairwise(bounds)]
    return [head, *parts, (b"IEND", b"")]


def filter_rows(pixels: np.ndarray, filters: np.ndarray) -> bytes:
    """Filter the rows of an image as the specification says: uint8 or uint16 (Y, X, values), a filter for each row."""
    step = pixels.shape[2] * pixels.itemsize
    raw = pixels.astype(f">u{pixels.itemsize}").view(np.uint8).reshape(len(pixels), -1).astype(int)  # (Y, row bytes)
    over = np.pad(raw, ((1, 0), (0, 0)))[:-1]
    left, corner = (np.pad(values, ((0, 0), (step, 0)))[:, : raw.shape[1]] for values in (raw, over))
    guess = left + over - corner
    far_left, far_over, far_corner = abs(guess - left), abs(guess - over), abs(guess - corner)
    nearest = np.where(far_over <= far_corner, over, corner)
    nearest = np.where((far_left <= far_over) & (far_left <= far_corner), left, nearest)
    guesses = np.stack([np.zeros_like(raw), left, over, (left + over) // 2, nearest])
    filtered = (raw - guesses[filters, np.arange(len(raw))]) % 256
    return np.hstack([filters[:, None], filtered]).astype(np.uint8).tobytes()


def make_head(pixels: np.ndarray, *, color: int) -> tuple[bytes, bytes]:
    """Make the chunk of the header."""
    depth = 8 * pixels.itemsize
    return b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, color, 0, 0, 0)


def draw_pixels(rng: np.random.Generator, shape: tuple[int, int, int], dtype: type) -> np.ndarray:
    """Draw noise, one value, a gradient, or a few points, (Y, X, values)."""
    y, x = np.mgrid[: shape[0], : shape[1], :1][:2]
    white = np.iinfo(dtype).max
    kinds = (
        rng.integers(0, white, shape, endpoint=True),
        np.full(shape, rng.integers(white)),
        3 * x + 5 * y + rng.integers(0, 4, shape),
        (rng.random(shape) < 0.02) * rng.integers(white),
    )
    return kinds[rng.integers(4)].astype(dtype)


def draw_png(rng: np.random.Generator) -> bytes:
    """Draw a PNG without a fault, compressed by zlib or by libdeflate."""
    side = 200 if rng.random() < 0.2 else 30
    n_stored = int(rng.choice([1, 1, 1, 2, 3, 4]))
    shape = (*rng.integers(1, side, 2).tolist(), n_stored)
    pixels = draw_pixels(rng, shape, (np.uint8, np.uint16)[rng.integers(2)])
    rows = filter_rows(pixels, rng.integers(0, 5, len(pixels)))
    level = int(rng.integers(1, 10))
    stream = zlib.compress(rows, level) if rng.random() < 0.5 else bytes(imagecodecs.deflate_encode(rows, level))
    head = make_head(pixels, color={1: 0, 2: 4, 3: 2, 4: 6}[n_stored])
    return join_chunks(put_stream(head, stream, *rng.integers(0, len(stream), rng.integers(3)).tolist()))


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a PNG in one of many ways; some leave it without a fault."""
    way = int(rng.integers(7))
    chunks = split_chunks(content)
    if way == 0:
        return _change_bytes(content, rng, begin=len(SIGNATURE))
    if way in {1, 2, 3}:
        stream = get_stream(chunks)
        for position in rng.integers(0, len(stream) if way < 3 else min(len(stream), 40), 1 + rng.integers(2)):
            stream[position] ^= 1 << int(rng.integers(8))
        if way > 1:
            _correct_checksum(stream)
        return join_chunks(put_stream(chunks[0], stream))
    if way == 4:
        head = bytearray(chunks[0][1])
        head[rng.integers(13)] = rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 64, rng.integers(256)])
        return join_chunks([(b"IHDR", bytes(head)), *chunks[1:]])
    if way == 5:
        return join_chunks(_change_chunks(chunks, rng))
    start, n = int(rng.integers(len(content))), int(rng.integers(20))
    return content[:start] + (content[start + n :] if rng.random() < 0.5 else rng.bytes(n) + content[start:])


def _change_bytes(content: bytes, rng: np.random.Generator, *, begin: int) -> bytes:
    changed = bytearray(content)
    for position in rng.integers(begin, len(changed), 1 + rng.integers(3)):
        changed[position] = rng.integers(256)
    return bytes(changed)


def _correct_checksum(stream: bytearray) -> None:
    """Make the checksum at the end of a stream that of what it holds, if it can be unpacked."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        rows = unpacker.decompress(bytes(stream[2:]))
    except zlib.error:
        return
    if unpacker.eof:
        stream[len(stream) - len(unpacker.unused_data) :] = struct.pack(">I", zlib.adler32(rows))


def _change_chunks(chunks: Chunks, rng: np.random.Generator) -> Chunks:
    """Drop, repeat, insert, cut, extend or rename a chunk."""
    index = int(rng.integers(len(chunks)))
    name, body = chunks[index]
    replacement: Chunks = (
        [],
        [(name, body), chunks[rng.integers(len(chunks))]],
        [(NAMES[rng.integers(len(NAMES))], rng.bytes(int(rng.integers(8)))), (name, body)],
        [(name, body[int(rng.integers(1, 6)) :])],
        [(name, body + rng.bytes(int(rng.integers(1, 9))))],
        [(name.lower(), body)],
    )[rng.integers(6)]
    return [*chunks[:index], *replacement, *chunks[index + 1 :]]
