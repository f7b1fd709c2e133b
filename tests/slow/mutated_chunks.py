"""Decodes damaged chunks, in a process of its own: `python -m tests.slow.mutated_chunks CODEC N SEED`.

A chunk ends where memory that may not be read begins, and so does the image: reading or writing beyond either ends the
process. Prints how many were decoded and how many refused.
"""

import ctypes
import mmap
import random
import sys

import numpy as np
import numpy.typing as npt

from hpa_data.format.codecs import Codec, decode_chunk, encode_chunk, get_codec

SHAPE = (64, 48, 4)
HEADER_BYTES = 16


def make_good(codec: Codec) -> list[bytes]:
    """Encode images that compress well, badly and not at all."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, SHAPE, np.uint8)
    images = [np.zeros(SHAPE, np.uint8), noise, noise // 64, np.add.outer(np.arange(64), noise[0]).astype(np.uint8)]
    return [bytes(encode_chunk(np.ascontiguousarray(image), codec)) for image in images]


def mutate(chunk: bytes, other: bytes, rng: random.Random) -> bytes:
    """Damage a chunk; mostly so that its header still states its true length."""
    content = bytearray(chunk)
    for _ in range(rng.randrange(1, 4)):
        match rng.randrange(7):
            case 0:
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            case 1:  # flags, sizes of elements and of blocks
                content[rng.randrange(min(HEADER_BYTES, len(content)))] = rng.randrange(256)
            case 2:  # where the blocks begin, and how long they are
                at = rng.randrange(min(len(content) - 4, 80))
                value = rng.choice([0, 1, 2**31 - 1, 2**32 - 1, len(content), rng.randrange(2**32)])
                content[at : at + 4] = value.to_bytes(4, "little")
            case 3:
                del content[rng.randrange(HEADER_BYTES, len(content)) :]
            case 4:
                at = rng.randrange(len(content))
                content[at : at + 8] = rng.randbytes(8)
            case 5:
                at = rng.randrange(HEADER_BYTES, len(content))
                content[at:] = other[at:]
            case 6:
                content += rng.randbytes(rng.randrange(1, 100))
        if len(content) <= HEADER_BYTES:
            break
    if rng.random() < 0.95:
        content[4:8] = int(np.prod(SHAPE)).to_bytes(4, "little")
        content[12:16] = len(content).to_bytes(4, "little")
    return bytes(content)


class Fence:
    """Memory that ends where reading and writing are not allowed."""

    def __init__(self, n_bytes: int) -> None:
        pages = -(-n_bytes // mmap.PAGESIZE) + 1
        self._memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        self._end = (pages - 1) * mmap.PAGESIZE
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        assert mprotect(ctypes.c_void_p(self._bytes.ctypes.data + self._end), mmap.PAGESIZE, 0) == 0

    def last(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        """Return the last bytes that are allowed."""
        return self._bytes[self._end - n_bytes : self._end]


def run(codec: Codec, n: int, seed: int) -> tuple[int, int]:
    """Decode `n` damaged chunks; return how many were decoded, to whatever, and how many refused."""
    rng = random.Random(seed)
    good = make_good(codec)
    source, target = Fence(2 * max(map(len, good)) + 1000), Fence(int(np.prod(SHAPE)))
    out = target.last(int(np.prod(SHAPE))).reshape(SHAPE)
    n_decoded = 0
    for _ in range(n):
        damaged = mutate(rng.choice(good), rng.choice(good), rng)
        chunk = source.last(len(damaged))
        chunk[:] = np.frombuffer(damaged, np.uint8)
        try:
            decode_chunk(chunk, out, codec)
            n_decoded += 1
        except (ValueError, RuntimeError):
            continue
    return n_decoded, n - n_decoded


if __name__ == "__main__":
    print(*run(get_codec(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
