"""Decoded samples that are kept in memory."""

import os
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from hpa_data.buffers import take_memory
from hpa_data.errors import InputError

# Left to the rest of the machine when nobody says how much to keep.
FREE_SHARE = 0.5


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
    """

    def __init__(self, n_samples: int, image_shape: tuple[int, int, int], n_bytes: int) -> None:
        self.capacity = min(n_samples, n_bytes // int(np.prod(image_shape)))
        self._images = np.empty((0, *image_shape), np.uint8)
        if self.capacity:
            memory = take_memory(self.capacity * int(np.prod(image_shape)))
            self._images = np.frombuffer(memory, np.uint8).reshape(self.capacity, *image_shape)
        self._slots = np.full(n_samples, -1)  # of each sample, once it is there
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._n_kept = 0

    def copy(self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Copy what is there of `samples`, int64 (B,), into their places in `batch`; return the places of the rest."""
        slots = self._slots[samples]
        for place in np.flatnonzero(slots >= 0).tolist():
            np.copyto(batch[place], self._images[slots[place]])
        return np.flatnonzero(slots < 0)

    def keep(self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> None:
        """Keep `samples[places]`, which lie in `batch[places]`, while there is room."""
        if self._n_kept == self.capacity:
            return
        if self._process != os.getpid():  # a fork may have come while another thread held the lock
            self._lock, self._process = threading.Lock(), os.getpid()
        for place in places.tolist():
            with self._lock:
                if self._n_kept == self.capacity or self._slots[samples[place]] >= 0:
                    continue
                slot = self._n_kept
                np.copyto(self._images[slot], batch[place])
                self._n_kept += 1
                self._slots[samples[place]] = slot


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
        return min(wanted_bytes, int(free * FREE_SHARE))
    needed = min(asked_bytes, wanted_bytes)
    if needed > free:
        raise InputError(
            f"A cache must fit into free memory. Received: {needed / 2**30:.1f} GiB, with {free / 2**30:.1f} GiB free. "
            "Ask for less."
        )
    return needed


def find_free_memory() -> int:
    """Find how many bytes this process may still take, within the limit of a container (cgroup 2) too."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        kept = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # The page cache counts as used, and is given up when memory is asked for.
        used -= int(kept.get("active_file", 0)) + int(kept.get("inactive_file", 0))
        return min(free, max(limit - used, 0))
    except (OSError, ValueError):  # no container, no limit ("max"), or an older kind of both
        return free
