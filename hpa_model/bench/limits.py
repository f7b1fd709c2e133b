"""What a machine can do at most with a store: what no loader of it can be faster than.

Each function prepares some work over samples and returns what does it once, in as many threads as asked for, and gives
back the number of samples.
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

# Read at a time from the disk: what a disk likes best.
BLOCK_BYTES = 4 * 2**20

_UNCACHED = getattr(os, "O_DIRECT", 0)


def limit_decode(
    reader: Reader, codec: str, order: npt.NDArray[np.int64], *, threads: int, n_images: int
) -> Callable[[], int]:
    """Decode chunks that lie in memory.

    Parameters
    ----------
    reader : Reader
        Of mapped shards.
    codec : str
        Of the chunks: the samples are encoded anew if it is not the store's.
    order : array of int64, shape (M,)
        The samples to decode, in this order.
    threads : int
    n_images : int
        Images that the threads decode into together, over and over: as many as two batches have, as any loader needs
        that fills one while the other is in use. A few fit into the processor's cache, and decoding is faster then
        than any loader of whole batches can be.
    """
    kept: dict[int, npt.NDArray[np.uint8]] = {}
    for index in order.tolist():
        if index not in kept:
            chunk = reader.encoded_chunk(index)
            if chunk is None or codec != reader.codecs[index]:
                chunk = np.frombuffer(bytes(encode_chunk(reader.read_one(index), CODECS[codec])), np.uint8)
            kept[index] = chunk.copy()
    chunks = [kept[index] for index in order.tolist()]

    def work(turn: int, out: npt.NDArray[np.uint8]) -> None:
        decode_chunk(chunks[turn], out, CODECS[codec])

    return _in_threads(work, len(chunks), reader.image_shape, threads=threads, n_images=n_images)


def limit_copy(images: Sequence[npt.NDArray[np.uint8]], *, threads: int, n_images: int) -> Callable[[], int]:
    """Copy images, uint8 (Y, X, C) or as many bytes each, into the memory of a batch."""
    shape = images[0].shape

    def work(turn: int, out: npt.NDArray[np.uint8]) -> None:
        np.copyto(out, images[turn])

    return _in_threads(work, len(images), shape, threads=threads, n_images=n_images)


def limit_disk(paths: Sequence[Path], n_samples: int, *, threads: int) -> Callable[[], int]:
    """Read whole files past the page cache, where the system and the disk can."""

    def read(path: Path) -> None:
        buffer = mmap.mmap(-1, BLOCK_BYTES)
        try:
            file = os.open(path, os.O_RDONLY | _UNCACHED)
        except OSError:
            file = os.open(path, os.O_RDONLY)
        try:
            while os.readv(file, [buffer]) == BLOCK_BYTES:
                pass
        finally:
            os.close(file)

    def run() -> int:
        # Some more than cores, so that the disk always has something to do.
        with ThreadPoolExecutor(4 * threads) as pool:
            list(pool.map(read, paths))
        return n_samples

    return run


def _in_threads(
    work: Callable[[int, npt.NDArray[np.uint8]], None],
    n_turns: int,
    shape: tuple[int, ...],
    *,
    threads: int,
    n_images: int,
) -> Callable[[], int]:
    """Make a function that does all turns in threads, each going round in its own images of a batch."""
    pool = ThreadPoolExecutor(threads)
    own = max(n_images // threads, 1)
    places = BufferPool().acquire((threads, own, *shape))  # as a reader's batches
    places[...] = 1  # so that all pages are there

    def run() -> int:
        turns = itertools.count()

        def go(thread: int) -> None:
            for number, turn in enumerate(turns):
                if turn >= n_turns:
                    return
                work(turn, places[thread, number % own])

        list(pool.map(go, range(threads)))
        return n_turns

    return run
