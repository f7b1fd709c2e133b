"""Decoded samples that are kept in memory."""

import os
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.memory import allocate, find_free_memory
from hpa_data.system.threads import Job, ThreadTeam

# Left to the rest of the machine when nobody says how much to insert.
FREE_FRACTION = 0.5

# In place of the slot of a sample: it has none, or is on its way into one.
EMPTY, RESERVED = -1, -2


class Cache:
    """The first samples that were read, as many as there is room for.

    Nothing is ever thrown out: an epoch reads each sample once in a new order, so that what was used last is as good as
    anything else. Safe to use from several threads.

    Parameters
    ----------
    n_samples : int
        N.
    image_shape : tuple of int
        (Y, X, C).
    n_bytes : int
        What it may hold at most; taken from the system as it fills.
    threads : int
        That copy, once there is something to copy.
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
        self._n_kept = 0
        self._threads = ThreadTeam(threads, name="hpa-cache")

    def start(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.int64], Sequence[Job]]:
        """Begin to copy what is there of `samples`, int64 (B,), into their places in `batch`.

        Returns the places of the rest, int64 (M,), and what has begun.
        """
        slots = self._slots[samples]
        places = np.flatnonzero(slots >= 0).tolist()
        if not places:
            return np.arange(len(samples)), []

        def work(turn: int) -> None:
            np.copyto(batch[places[turn]], self._images[slots[places[turn]]])

        return np.flatnonzero(slots < 0), [self._threads.start(work, len(places))]

    def insert(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]
    ) -> None:
        """Keep `samples[places]`, which lie in `batch[places]`, while there is room."""
        if self._n_kept == self.capacity:
            return
        if self._process != os.getpid():  # a fork may have come while another thread held the lock
            self._lock, self._process = threading.Lock(), os.getpid()
        new: list[tuple[int, int, int]] = []
        with self._lock:
            for place, sample in zip(places.tolist(), samples[places].tolist(), strict=True):
                if self._n_kept < self.capacity and self._slots[sample] == EMPTY:
                    self._slots[sample] = RESERVED
                    new.append((place, sample, self._n_kept))
                    self._n_kept += 1

        def work(turn: int) -> None:
            place, sample, slot = new[turn]
            np.copyto(self._images[slot], batch[place])
            self._slots[sample] = slot

        self._threads.start(work, len(new)).result()


def choose_cache_bytes(asked_bytes: int | None, wanted_bytes: int) -> int:
    """Decide how much a cache may hold.

    Parameters
    ----------
    asked_bytes : int or None
        What the user wants it to hold at most; None for half of the free memory.
    wanted_bytes : int
        All samples, decoded.

    Raises
    ------
    InputError
        If what is asked for, and wanted, is not free.
    """
    free = find_free_memory()
    if asked_bytes is None:
        return min(wanted_bytes, int(free * FREE_FRACTION))
    needed = min(asked_bytes, wanted_bytes)
    if needed > free:
        raise InputError(
            f"A cache must fit into free memory. Received: {needed / 2**30:.1f} GiB, with {free / 2**30:.1f} GiB free. "
            "Ask for less."
        )
    return needed
