"""Samples that are read ahead past the page cache, for files that do not fit into memory.

What the system keeps in memory there it has to take back soon, page by page, in as much time as decoding takes. So
samples are read into memory of our own (``O_DIRECT``), some at a time, and their place is free once they are decoded.
A sample that is not there when it is needed is read from the map, as without this module: because it was not expected,
was expected twice, or could not be read.
"""

import contextlib
import errno
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
from hpa_data.system.os_errors import SPARE_FILES, allow_files
from hpa_data.system.threads import Job, ThreadTeam

# Requests at a time, and memory for what was read: at least for two samples of each thread.
N_THREADS, MAX_BYTES, MAX_PLACES = 4, 32 * 2**20, 512
# Few samples that are far larger than all others have no place, or it would be that large for all.
USUAL_PERCENT = 99
# A sample whose batch failed stays until this many times as many were used as there are places.
PATIENCE = 4
# In a row, after which reading past the page cache is given up.
MAX_FAILED = 8

# `madvise` of Linux 4.14: a forked process finds zeros in this memory, to which the disk may be writing.
_WIPE_ON_FORK = 18


class _Place:
    """Memory for a sample, and what it holds."""

    def __init__(self, memory: memoryview) -> None:
        self.memory = memory
        self.content: npt.NDArray[np.uint8] | None = None
        """The bytes of the sample, uint8 (n_bytes,); None if they could not be read."""

        self.job: Job | None = None
        self.is_done = False
        self.is_requested = False
        """Whether the sample is in a batch that is being read, not only in one that follows."""

        self.since = 0  # samples that had been used when it was expected


class PastCache:
    """Reads samples of files ahead; safe to use from several threads at once, and after a fork.

    What is to be read is noted in any thread. The rest happens in its own threads and in those that decode, which no
    signal interrupts: a place whose sample is still being read is never free.

    Parameters
    ----------
    files : sequence of MappedFile
        The file of each sample, length N.
    bounds : array of int64, shape (N, 2)
        Its first and last (exclusive) byte there.

    Attributes
    ----------
    fits : array of bool, shape (N,)
        Whether there is a place for a sample.

    Raises
    ------
    OSError
        If the system cannot read one of the files past the page cache, or not as many of them.
    """

    def __init__(self, files: Sequence[MappedFile], bounds: npt.NDArray[np.int64]) -> None:
        self._bounds = bounds
        unique = {id(file): file for file in files if file is not None}
        allow_files(len(unique), spare=len(unique) + SPARE_FILES)  # another reader may follow
        self._opened: dict[int, int] = {}
        self._end = weakref.finalize(self, _close_files, self._opened)
        self._end.atexit = False  # the threads end later
        for key, file in unique.items():
            self._opened[key] = file.open_past_cache()
        self._files = [self._opened.get(id(file)) for file in files]
        sizes = bounds[:, 1] - bounds[:, 0]
        usual = int(np.percentile(sizes, USUAL_PERCENT, method="higher")) if len(sizes) else 0
        self.fits = sizes <= usual
        self._place_bytes = (usual + 2 * mmap.PAGESIZE) & -mmap.PAGESIZE
        n_places = min(max(MAX_BYTES // self._place_bytes, 2 * N_THREADS), MAX_PLACES)
        memory = allocate(n_places * self._place_bytes)
        memory.madvise(_WIPE_ON_FORK)
        starts = range(0, len(memory), self._place_bytes)
        self._places = [_Place(memoryview(memory)[start : start + self._place_bytes]) for start in starts]
        self._threads = ThreadTeam(N_THREADS, name="hpa-past-cache")
        self._reset()
        _OPEN.add(self)

    @property
    def works(self) -> bool:
        """Whether what is tried succeeds."""
        return self._n_failed < MAX_FAILED

    def _reset(self) -> None:
        """Have nothing in memory: nothing was read yet, or by threads that a fork left behind."""
        self._lock = threading.Lock()
        self._free = list(self._places)
        # In their order: those that follow in a batch that is being decoded, those of batches that were requested, and
        # those of batches that will be.
        self._now: dict[int, None] = {}
        self._soon: dict[int, None] = {}
        self._later: dict[int, None] = {}
        self._read: dict[int, _Place] = {}
        self._n_used = self._n_failed = 0

    def expect(self, samples: Sequence[int]) -> None:
        """Read these samples, which will be requested, after those that were expected before."""
        with self._lock:
            self._later.update(dict.fromkeys(samples))
        self._threads.start(self._fill_later, 1)

    def request(self, samples: Sequence[int]) -> None:
        """Read these samples, of a batch that is requested, before those that will be."""
        with self._lock:
            self._want(samples, self._soon)
        self._threads.start(self._fill_later, 1)

    def fetch(self, sample: int) -> None:
        """Read a sample that follows in a batch that is being decoded, before all others; in a thread that decodes."""
        with self._lock:
            self._want([sample], self._now)
            self._fill()

    def _want(self, samples: Sequence[int], queue: dict[int, None]) -> None:
        for sample in samples:
            place = self._read.get(sample)
            if place is not None:
                place.is_requested = True
            elif sample not in self._now:
                self._soon.pop(sample, None)
                self._later.pop(sample, None)
                queue[sample] = None

    @contextlib.contextmanager
    def take(self, sample: int) -> Iterator[npt.NDArray[np.uint8] | None]:
        """Give the bytes of a sample, uint8 (n_bytes,), until the end of the block; None if they are not there.

        Only in a thread that decodes.
        """
        with self._lock:
            self._n_used += 1
            if sample not in self._read:
                self._fill()  # what was requested a moment ago
            place = self._read.pop(sample, None)
            if place is None:
                for queue in (self._now, self._soon, self._later):
                    queue.pop(sample, None)
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
        """Stop the threads, and release the files and the memory; when no thread decodes any longer."""
        _OPEN.discard(self)
        self._threads.close()
        self._end()
        with self._lock:
            self._places.clear()
            self._free.clear()
            self._read.clear()

    def _fill_later(self, _: int) -> None:
        with self._lock:
            self._fill()

    def _fill(self) -> None:
        """Start to read what is wanted, while there is memory; the lock is held."""
        while self.works and (queue := self._now or self._soon or self._later):
            if not self._free and not self._make_room(for_later=queue is self._later):
                return
            sample = next(iter(queue))
            del queue[sample]
            if sample in self._read:
                continue
            place = self._free.pop()
            place.content, place.is_done, place.since = None, False, self._n_used
            place.is_requested = queue is not self._later
            try:
                place.job = self._threads.start(partial(self._load, sample, place), 1)
            except (ValueError, RuntimeError):  # closed, or the system has no thread left
                self._free.append(place)
                return
            self._read[sample] = place

    def _make_room(self, *, for_later: bool) -> bool:
        """Free a place: of a sample that was not requested, or of one that is not used any longer."""
        patience = PATIENCE * len(self._places)
        for sample, place in self._read.items():
            is_old = self._n_used - place.since > patience
            if place.is_done and (is_old or not (for_later or place.is_requested)):
                del self._read[sample]
                self._free.append(place)
                return True
        return False

    def _load(self, sample: int, place: _Place, _: int) -> None:
        try:
            place.content = self._read_sample(sample, place.memory)
            self._n_failed = 0
        except OSError:
            self._n_failed += 1
        finally:
            place.is_done = True

    def _read_sample(self, sample: int, memory: memoryview) -> npt.NDArray[np.uint8]:
        start, stop = self._bounds[sample].tolist()
        first = start & -mmap.PAGESIZE
        n_bytes = -(-(stop - first) // mmap.PAGESIZE) * mmap.PAGESIZE
        file = self._files[sample]
        if file is None or os.preadv(file, [memory[:n_bytes]], first) < stop - first:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return np.frombuffer(memory, np.uint8, stop - start, offset=start - first)


def _close_files(opened: dict[int, int]) -> None:
    for file in opened.values():
        os.close(file)
    opened.clear()


_OPEN: "weakref.WeakSet[PastCache]" = weakref.WeakSet()


def _reset_all() -> None:
    for past in list(_OPEN):
        past._reset()


os.register_at_fork(after_in_child=_reset_all)
