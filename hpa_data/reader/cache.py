"""A cache of decoded samples in memory."""

import os
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.memory import allocate, find_free_memory
from hpa_data.system.threads import Job, ThreadTeam

# Of free memory, used when no size is given; the rest of the machine keeps the other half.
FREE_FRACTION = 0.5

# Values in place of a slot: the sample has none, or is being copied into one.
EMPTY, RESERVED = -1, -2


class Cache:
    """Keeps the first samples that are read, as many as fit.

    The cache never evicts: an epoch reads each sample once in a new order, so that the most recently used samples are
    no better to keep than any others. Safe to use from several threads.

    Parameters
    ----------
    n_samples : int
        N.
    image_shape : tuple of int
        (Y, X, C).
    n_bytes : int
        Maximum size; memory is taken from the system as the cache fills.
    threads : int
        Threads that copy. They start with the first copy.
    """

    def __init__(self, n_samples: int, image_shape: tuple[int, int, int], n_bytes: int, *, threads: int = 1) -> None:
        self.capacity = min(n_samples, n_bytes // int(np.prod(image_shape)))
        self._images = np.empty((0, *image_shape), np.uint8)
        if self.capacity:
            memory = allocate(self.capacity * int(np.prod(image_shape)))
            self._images = np.frombuffer(memory, np.uint8).reshape(self.capacity, *image_shape)
        self._slots = np.full(n_samples, EMPTY)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._n_inserted = 0
        self._threads = ThreadTeam(threads, name="hpa-cache")

    def copy_async(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int64], Sequence[Job]]:
        """Start to copy those of `samples`, int64 (B,), that are cached to their positions in `batch`.

        Returns the positions of the others, int64 (M,), and the jobs to wait for.
        """
        slots = self._slots[samples]
        positions = np.flatnonzero(slots >= 0).tolist()
        if not positions:
            return np.arange(len(samples)), []

        def copy(item: int) -> None:
            np.copyto(batch[positions[item]], self._images[slots[positions[item]]])

        return np.flatnonzero(slots < 0), [self._threads.start(copy, len(positions))]

    def holds(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return which of `samples`, int64 (B,), are cached."""
        found: npt.NDArray[np.bool_] = self._slots[samples] >= 0
        return found

    def insert(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]
    ) -> None:
        """Insert `samples[positions]`, whose images are `batch[positions]`, while there is room."""
        if self._n_inserted == self.capacity:
            return
        if self._process != os.getpid():  # another thread may have held the lock during the fork
            self._lock, self._process = threading.Lock(), os.getpid()
        new: list[tuple[int, int, int]] = []
        with self._lock:
            for position, sample in zip(positions.tolist(), samples[positions].tolist(), strict=True):
                if self._n_inserted < self.capacity and self._slots[sample] == EMPTY:
                    self._slots[sample] = RESERVED
                    new.append((position, sample, self._n_inserted))
                    self._n_inserted += 1

        def copy(item: int) -> None:
            position, sample, slot = new[item]
            np.copyto(self._images[slot], batch[position])
            self._slots[sample] = slot

        self._threads.start(copy, len(new)).result()


def choose_cache_bytes(requested_bytes: int | None, total_bytes: int) -> int:
    """Choose the size of a cache.

    Parameters
    ----------
    requested_bytes : int or None
        Upper limit given by the user; None for half of the free memory.
    total_bytes : int
        Size of all samples, decoded.

    Raises
    ------
    InputError
        If the requested size is not free.
    """
    free = find_free_memory()
    if requested_bytes is None:
        return min(total_bytes, int(free * FREE_FRACTION))
    needed = min(requested_bytes, total_bytes)
    if needed > free:
        raise InputError(
            f"Cannot cache samples in memory: the cache needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are "
            "free. Request a smaller cache."
        )
    return needed
