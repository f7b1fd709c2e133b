"""Samples that are read ahead past the page cache, for files that do not fit into memory.

What the system keeps in memory there it has to take back soon, page by page, in as much time as decoding takes. So
samples are read into memory of our own (``O_DIRECT``), some at a time, and their place is free once they are decoded.
A sample that is not there when it is needed is read from the map, as without this module: because it was not expected,
was expected twice, or could not be read.
"""

import contextlib
import mmap
import os
import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from hpa_data.system.mapping import MappedFile
from hpa_data.system.memory import allocate
from hpa_data.system.os_errors import allow_files
from hpa_data.system.threads import Job, ThreadTeam

# Requests at a time, and memory for what was read: at least for two samples of each thread.
N_THREADS, MAX_BYTES, MAX_PLACES = 4, 32 * 2**20, 512
# A sample that is in memory while this many times as many were used as there are places was expected in vain.
PATIENCE = 4

# Memory that a forked process does not get: the disk may be writing to it during the fork. Not on all systems.
_NOT_TO_CHILDREN = getattr(mmap, "MADV_DONTFORK", None)


class _Place:
    """Memory for a sample, and what it holds."""

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        self.content: npt.NDArray[np.uint8] | None = None
        """The bytes of the sample, uint8 (n_bytes,); None if they could not be read."""

        self.job: Job | None = None
        self.is_done = False
        self.since = 0  # samples that had been used when it was expected


class PastCache:
    """Reads samples of files ahead; safe to use from several threads at once, and after a fork.

    Parameters
    ----------
    files : sequence of MappedFile
        The file of each sample, length N.
    bounds : array of int64, shape (N, 2)
        Its first and last (exclusive) byte there.

    Raises
    ------
    OSError
        If the system cannot read one of the files past the page cache, or not as many of them.
    """

    def __init__(self, files: Sequence[MappedFile], bounds: npt.NDArray[np.int64]) -> None:
        self._bounds = bounds
        unique = {id(file): file for file in files if file is not None}
        allow_files(len(unique))
        self._opened: dict[int, int] = {}
        self._end = weakref.finalize(self, _close_files, self._opened)
        for key, file in unique.items():
            self._opened[key] = file.open_past_cache()
        self._files = [self._opened.get(id(file)) for file in files]
        most = int((bounds[:, 1] - bounds[:, 0]).max(initial=1)) + 2 * mmap.PAGESIZE
        self._place_bytes = most & -mmap.PAGESIZE
        self._threads = ThreadTeam(N_THREADS, name="hpa-past-cache")
        self._reset()
        _OPEN.add(self)

    @property
    def n_samples(self) -> int:
        """How many samples it has memory for."""
        return self._n_places

    def _reset(self) -> None:
        """Have nothing in memory: nothing was read yet, or by threads that a fork left behind."""
        self._lock = threading.Lock()
        self._n_places = min(max(MAX_BYTES // self._place_bytes, 2 * N_THREADS), MAX_PLACES)
        memory = allocate(self._n_places * self._place_bytes)
        if _NOT_TO_CHILDREN is not None:
            memory.madvise(_NOT_TO_CHILDREN)
        starts = range(0, len(memory), self._place_bytes)
        self._free = [_Place(memoryview(memory)[start : start + self._place_bytes]) for start in starts]
        # In their order: those of a batch that is being read, and those that follow it.
        self._urgent: dict[int, None] = {}
        self._coming: dict[int, None] = {}
        self._read: dict[int, _Place] = {}
        self._n_used = 0

    def expect(self, samples: Sequence[int], *, is_urgent: bool = False) -> None:
        """Read these samples, after those that were expected before, or the urgent ones of them."""
        with self._lock:
            (self._urgent if is_urgent else self._coming).update(dict.fromkeys(samples))
            self._fill()

    @contextlib.contextmanager
    def take(self, sample: int) -> Iterator[npt.NDArray[np.uint8] | None]:
        """Give the bytes of a sample, uint8 (n_bytes,), until the end of the block; None if they are not there."""
        with self._lock:
            self._n_used += 1
            place = self._read.pop(sample, None)
            if place is None:
                self._urgent.pop(sample, None)
                self._coming.pop(sample, None)
                self._fill()
        if place is None:
            yield None
            return
        assert place.job is not None
        try:
            place.job.result()
            yield place.content
        finally:
            with self._lock:
                self._free.append(place)
                self._fill()

    def close(self) -> None:
        """Stop the threads, and release the files and the memory."""
        _OPEN.discard(self)
        self._threads.close()
        self._end()
        with self._lock:
            self._free.clear()
            self._read.clear()

    def _fill(self) -> None:
        """Start to read what comes, while there is memory; the lock is held."""
        if (self._urgent or self._coming) and not self._free:
            sample, oldest = next(iter(self._read.items()), (0, None))
            if oldest is not None and oldest.is_done and self._n_used - oldest.since > PATIENCE * self._n_places:
                del self._read[sample]
                self._free.append(oldest)
        while (coming := self._urgent or self._coming) and self._free:
            sample = next(iter(coming))
            del coming[sample]
            if sample in self._read:
                continue
            place = self._free.pop()
            place.content, place.is_done, place.since = None, False, self._n_used
            try:
                place.job = self._threads.start(partial(self._load, sample, place), 1)
            except ValueError:  # closed
                self._free.append(place)
                return
            self._read[sample] = place

    def _load(self, sample: int, place: _Place, _: int) -> None:
        start, stop = self._bounds[sample].tolist()
        first = start & -mmap.PAGESIZE
        n_bytes = -(-(stop - first) // mmap.PAGESIZE) * mmap.PAGESIZE
        file = self._files[sample]
        with contextlib.suppress(OSError):
            if file is not None and os.preadv(file, [place.memory[:n_bytes]], first) >= stop - first:
                place.content = np.frombuffer(place.memory, np.uint8, stop - start, offset=start - first)
        place.is_done = True


def _close_files(opened: dict[int, int]) -> None:
    for file in opened.values():
        os.close(file)
    opened.clear()


_OPEN: "weakref.WeakSet[PastCache]" = weakref.WeakSet()


def _reset_all() -> None:
    for past in list(_OPEN):
        past._reset()


os.register_at_fork(after_in_child=_reset_all)
