"""Upper limits of a machine: rates that no loader of a store can exceed.

Each function prepares some work and returns a function that does it once, in the given number of threads, and returns
the number of samples.
"""

import itertools
import mmap
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.format.codecs import CODECS, decode_chunk, encode_chunk
from hpa_data.reader.reader import Reader
from hpa_data.system.memory import BufferPool

# Size of a read from disk: large enough for the full rate of any disk.
BLOCK_BYTES = 4 * 2**20

# Bypasses the page cache; Linux only.
_DIRECT = getattr(os, "O_DIRECT", 0)


def limit_decode(
    reader: Reader, codec: str, order: npt.NDArray[np.int64], *, threads: int, n_images: int
) -> Callable[[], int]:
    """Decode chunks from memory.

    Parameters
    ----------
    reader : Reader
        With the engine ``mapped``.
    codec : str
        Codec of the chunks; the samples are encoded again if it is not that of the store.
    order : array of int64, shape (M,)
        The samples to decode, in this order.
    threads : int
    n_images : int
        Number of images that the threads decode into repeatedly: those of two batches, as a loader that fills one
        batch while the other is in use needs. A few images fit into the processor's cache, and decoding into them is
        faster than any loader of whole batches can be.
    """
    encoded: dict[int, npt.NDArray[np.uint8]] = {}
    for index in order.tolist():
        if index not in encoded:
            chunk = reader.encoded_chunk(index)
            if chunk is None or codec != reader.codecs[index]:
                chunk = np.frombuffer(bytes(encode_chunk(reader.read_one(index), CODECS[codec])), np.uint8)
            encoded[index] = chunk.copy()
    chunks = [encoded[index] for index in order.tolist()]

    def decode(item: int, out: npt.NDArray[np.uint8]) -> None:
        decode_chunk(chunks[item], out, CODECS[codec])

    return _in_threads(decode, len(chunks), reader.image_shape, threads=threads, n_images=n_images)


def limit_copy(images: Sequence[npt.NDArray[np.uint8]], *, threads: int, n_images: int) -> Callable[[], int]:
    """Copy images, uint8 (Y, X, C), into the memory of `n_images` images, see `limit_decode`."""
    shape = images[0].shape

    def copy(item: int, out: npt.NDArray[np.uint8]) -> None:
        np.copyto(out, images[item])

    return _in_threads(copy, len(images), shape, threads=threads, n_images=n_images)


def limit_disk(paths: Sequence[Path], n_samples: int, *, threads: int) -> Callable[[], int]:
    """Read whole files, bypassing the page cache where the system can; they hold `n_samples` samples."""

    def read(path: Path) -> None:
        buffer = mmap.mmap(-1, BLOCK_BYTES)
        try:
            file = os.open(path, os.O_RDONLY | _DIRECT)
        except OSError:
            file = os.open(path, os.O_RDONLY)
        try:
            while os.readv(file, [buffer]) == BLOCK_BYTES:
                pass
        finally:
            os.close(file)

    def run() -> int:
        # More threads than cores, so that the disk always has requests to serve.
        with ThreadPoolExecutor(4 * threads) as pool:
            list(pool.map(read, paths))
        return n_samples

    return run


def _in_threads(
    work: Callable[[int, npt.NDArray[np.uint8]], None],
    n_items: int,
    shape: tuple[int, ...],
    *,
    threads: int,
    n_images: int,
) -> Callable[[], int]:
    """Make a function that does all items in threads; each thread cycles through its share of `n_images` images."""
    pool = ThreadPoolExecutor(threads)
    n_outputs = max(n_images // threads, 1)
    outputs = BufferPool().acquire((threads, n_outputs, *shape))  # the memory that a reader's batches are in
    outputs[...] = 1  # touch all pages

    def run() -> int:
        items = itertools.count()

        def do_items(thread: int) -> None:
            for number, item in enumerate(items):
                if item >= n_items:
                    return
                work(item, outputs[thread, number % n_outputs])

        list(pool.map(do_items, range(threads)))
        return n_items

    return run
