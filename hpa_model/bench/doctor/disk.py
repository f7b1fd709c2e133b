"""The disk that shards are on: how fast it is, and how much of them is in the page cache."""

import contextlib
import mmap
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from hpa_data.system.files import open_regular
from hpa_data.system.paging import find_mincore, tells_residency
from hpa_model.bench.limits import BLOCK_BYTES

# Shards at most that are asked for their pages: evenly spread, so that what is in memory of them is known to a few
# percent.
N_LOOKED_AT = 64
# To read: more says little more about the rate, and the page cache is not touched. The second bounds it on slow disks.
MAX_READ_BYTES, MAX_READ_S = 256 * 2**20, 1.0
# Requests at once, without which a disk of a network or an SSD does not show its rate.
N_READERS = 8


def spread(paths: Sequence[Path], n: int) -> list[Path]:
    """Return at most `n` of some paths, evenly spread over them."""
    return [paths[index] for index in np.unique(np.linspace(0, len(paths) - 1, n, dtype=int))] if paths else []


def measure_cached(paths: Sequence[Path]) -> float | None:
    """Return the share of the bytes of files that is in the page cache; None if the system does not tell."""
    mincore = find_mincore()
    n_cached = n_pages = 0
    for path in spread(paths, N_LOOKED_AT):
        with contextlib.suppress(OSError, ValueError, MemoryError):
            file = open_regular(path)
            try:
                if mincore is None or not tells_residency(file):
                    return None
                with mmap.mmap(file, 0, access=mmap.ACCESS_READ) as mapped:
                    content = np.frombuffer(mapped, np.uint8)
                    pages = np.zeros(-(-len(content) // mmap.PAGESIZE), np.uint8)
                    is_told = not mincore(content.ctypes.data, len(content), pages.ctypes.data)
                    del content  # or the file would stay mapped
                if is_told:
                    n_cached += int((pages & 1).sum())
                    n_pages += len(pages)
            finally:
                os.close(file)
    return n_cached / n_pages if n_pages else None


def measure_disk(paths: Sequence[Path]) -> float | None:
    """Return how many bytes per second a disk gives, past the page cache; None if it cannot be read so."""
    flag = getattr(os, "O_DIRECT", None)
    chosen = spread(paths, -(-MAX_READ_BYTES // BLOCK_BYTES))
    if flag is None or not chosen:
        return None
    blocks = list(islice(_list_blocks(chosen), MAX_READ_BYTES // BLOCK_BYTES))
    began = time.perf_counter()

    def read(block: tuple[Path, int]) -> int:
        if time.perf_counter() - began > MAX_READ_S:
            return 0
        path, start = block
        file = os.open(path, os.O_RDONLY | flag)
        try:
            with mmap.mmap(-1, BLOCK_BYTES) as buffer:  # on pages, as reading past the cache needs
                return os.preadv(file, [buffer], start)
        finally:
            os.close(file)

    try:
        with ThreadPoolExecutor(N_READERS) as pool:
            n_bytes = sum(pool.map(read, blocks))
    except (OSError, OverflowError, MemoryError):  # a file system that reads only through the cache, for example
        return None
    return n_bytes / (time.perf_counter() - began) if n_bytes else None


def _list_blocks(paths: Sequence[Path]) -> Iterator[tuple[Path, int]]:
    """Yield files and places: the first block of each file, then the next, so that all of the part is sampled."""
    sizes = {path: _size(path) for path in paths}
    for start in range(0, max(sizes.values(), default=0), BLOCK_BYTES):  # a sparse file may have any number of them
        yield from ((path, start) for path, size in sizes.items() if start < size)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
