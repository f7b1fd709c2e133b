"""What the loaders to compare with share: orders, buffers, reading one batch ahead, the paths of their files."""

import mmap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.loaders.row import Epoch, Images, Setup

SHAPE = (512, 512, 4)
SAMPLE_BYTES = 512 * 512 * 4
COLORS = ("red", "green", "blue", "yellow")
# Formats that are read front to back are split into this many files, so that as many can be read at a time.
N_FILES = 16
# Samples in a shuffle buffer: 256 MiB of raw images, where such buffers commonly hold a thousand small ones.
BUFFER = 256
SHUFFLE_BUFFERED = f"files in any order, buffer of {BUFFER}"

Indices = npt.NDArray[np.int64]  # (B,)


def split_order(setup: Setup, epoch: int) -> list[Indices]:
    """Split a permutation of all samples into batches."""
    order = np.random.default_rng((setup.seed, epoch)).permutation(len(setup.ids))
    return [order[first : first + setup.batch_size] for first in range(0, len(order), setup.batch_size)]


def allocate(setup: Setup) -> Images:
    """Allocate a page-aligned batch, its pages touched."""
    batch = np.frombuffer(mmap.mmap(-1, setup.batch_size * SAMPLE_BYTES), np.uint8).reshape(-1, *SHAPE)
    batch[:] = 0
    return batch


def read_ahead(setup: Setup, start: Callable[[Indices, Images], Sequence[Any]]) -> Epoch:
    """Read each batch into one of two buffers while the caller uses the batch before it.

    `start` starts to read samples into a batch and returns jobs to wait for with `result`.
    """
    buffers = (allocate(setup), allocate(setup))

    def run(epoch: int) -> Iterator[Images]:
        pending: list[tuple[Images, Sequence[Any]]] = []
        try:
            for number, samples in enumerate(split_order(setup, epoch)):
                batch = buffers[number % 2][: len(samples)]
                pending.append((batch, start(samples, batch)))
                if number:
                    yield _finish(pending)
            yield _finish(pending)
        finally:
            # An epoch that is stopped early must not write into the buffers of the next.
            while pending:
                _finish(pending)

    return run


def _finish(pending: list[tuple[Images, Sequence[Any]]]) -> Images:
    batch, jobs = pending.pop(0)
    for job in jobs:
        job.result()
    return batch


def read_samples(setup: Setup, read: Callable[[int, Images], object]) -> Epoch:
    """Read ahead in a thread pool, with a function that reads one sample into its part of a batch."""
    pool = ThreadPoolExecutor(setup.threads)

    def start(samples: Indices, batch: Images) -> Sequence[Any]:
        # One job per thread, which takes one sample after another; one job per sample would cost more.
        positions = iter(range(len(samples)))

        def work() -> None:
            for position in positions:
                read(int(samples[position]), batch[position])

        return [pool.submit(work) for _ in range(setup.threads)]

    return read_ahead(setup, start)


def read_batches(setup: Setup, read: Callable[[Indices, Images], object]) -> Epoch:
    """Read ahead in one thread, with a function that reads a batch: it has its own threads, or cannot use any."""
    pool = ThreadPoolExecutor(1)
    return read_ahead(setup, lambda samples, batch: [pool.submit(read, samples, batch)])


def find_images(setup: Setup, codec: str = "lz4hc") -> Path:
    """Return the folder of the images of one of our stores."""
    return setup.stores / f"{codec}.zarr" / "train" / "images"


def list_planes(setup: Setup) -> list[list[str]]:
    """List the PNG files of each sample."""
    return [[str(setup.png / f"{name}_{color}.png") for color in COLORS] for name in setup.ids]


def list_files(setup: Setup, suffix: str) -> list[str]:
    """List the files of a format that is read front to back."""
    return [str(setup.folder / f"{number:02}.{suffix}") for number in range(N_FILES)]


def load_images(setup: Setup) -> Images:
    """Map the source, (N, 512, 512, 4)."""
    return np.asarray(np.load(setup.images, mmap_mode="r"))
