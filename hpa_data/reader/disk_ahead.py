"""Samples that are fetched from the disk before they are decoded.

Touching a page that is not in memory makes its thread wait, so that the disk has as many requests as there are threads:
two on two cores, where it serves eight at a time. The order of the samples is known, so the system is asked for those
that follow, in a thread of its own, since asking takes a tenth of the time of decoding. The bytes lie in the page cache
then, as if they had been read before: nothing is kept here, and a sample that is not fetched in time is waited for.

If the files do not fit into memory, some of the samples are read that way, always the same, as many as do fit. They
stay there, while of all samples in random order the system would take back most before they are read again. The others
are read past the page cache.

Where all is in memory, asking for it would be in vain. So after some samples in a row that were there nothing is
fetched ahead any longer, until one that is decoded was missing.
"""

import contextlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpa_data.reader.past_cache import PastCache
from hpa_data.system.mapping import MappedFile
from hpa_data.system.memory import find_free_memory
from hpa_data.system.threads import ThreadTeam

# Ahead of the samples that are requested: what the fastest disks serve in 10 ms, and no more requests than they take.
MAX_BYTES, MAX_SAMPLES = 32 * 2**20, 512
# In a row in memory, after which all samples are taken to be there.
N_THERE = 512
# Of the free memory, what samples are kept in where not all fit; the rest of the program takes some of it, too.
KEPT_SHARE = 0.75
# Of whose multiples, any that follow each other lie evenly between two integers.
GOLDEN_RATIO = (5**0.5 - 1) / 2


class DiskAhead:
    """Fetches the samples of mapped files.

    Parameters
    ----------
    files : sequence of MappedFile
        The file of each sample, length N.
    bounds : array of int64, shape (N, 2)
        Its first and last (exclusive) byte there.
    """

    def __init__(self, files: Sequence[MappedFile], bounds: npt.NDArray[np.int64]) -> None:
        self._files = files
        self._bounds = bounds
        sizes = bounds[:, 1] - bounds[:, 0]
        n_bytes, free = int(sizes.sum()), find_free_memory()
        # Whether the files do not fit into memory, so that the system has to take back what it gave.
        self.is_memory_short = n_bytes > free
        self._past: PastCache | None = None
        self._is_past: npt.NDArray[np.bool_] = np.zeros(len(bounds), bool)
        if self.is_memory_short:
            with contextlib.suppress(OSError):
                self._past = PastCache(files, bounds)
                is_kept = np.arange(len(bounds)) * GOLDEN_RATIO % 1 < KEPT_SHARE * free / n_bytes
                self._is_past = self._past.fits & ~is_kept
        mean_bytes = max(1, n_bytes // max(1, np.count_nonzero(sizes)))
        self.max_samples = min(max(MAX_BYTES // mean_bytes, 1), MAX_SAMPLES)
        self._is_expected = np.zeros(len(bounds), bool)
        self._n_there = 0  # samples in a row
        self._is_open = True
        self._threads = ThreadTeam(1, name="hpa-ahead")

    @property
    def n_samples(self) -> int:
        """How many samples it wants to know of beyond those that are requested; 0 while all are in memory."""
        return 0 if self._is_idle else self.max_samples

    @property
    def _is_idle(self) -> bool:
        return self._n_there >= N_THERE and not self._goes_past

    @property
    def _goes_past(self) -> bool:
        return self._past is not None and self._past.works

    def expect(self, samples: npt.NDArray[np.int64]) -> None:
        """Begin to fetch samples, int64 (M,), that will be requested; of many, the first."""
        if not self._is_idle:
            first = samples[: self.max_samples]
            self._is_expected[first] = True
            self._start(first)

    def begin(self, samples: npt.NDArray[np.int64]) -> None:
        """Begin to fetch samples that are requested now, int64 (M,), unless they were expected; of many, the first."""
        if not self._is_idle:
            first = samples[: self.max_samples]
            self._start(first, is_requested=True)
            self._is_expected[samples] = False

    def fetch(self, sample: int) -> None:
        """Begin to fetch a sample, if it is not in memory."""
        if self._is_idle or not self._is_open:
            return
        if self._past is not None and self._goes_past and self._is_past[sample]:
            self._past.fetch(sample)
            return
        start, stop = self._bounds[sample].tolist()
        self._n_there = self._n_there + 1 if self._files[sample].fetch(start, stop) else 0

    def wake(self) -> None:
        """Fetch again what is requested and what follows: a sample was not in memory."""
        self._n_there = 0

    def take(self, sample: int) -> contextlib.AbstractContextManager[npt.NDArray[np.uint8] | None]:
        """Give the bytes of a sample, uint8 (n_bytes,), in a block; None if they are to be read from its file."""
        if self._past is None or not (self._goes_past and self._is_past[sample]):
            return contextlib.nullcontext()
        return self._past.take(sample)

    def close(self) -> None:
        """Stop the threads and release the files."""
        self._is_open = False
        self._threads.close()
        if self._past is not None:
            self._past.close()
        self._files = []

    def _start(self, samples: npt.NDArray[np.int64], *, is_requested: bool = False) -> None:
        """Begin to fetch samples, int64 (M,): in a thread, which may have to wait for the disk even so."""
        if not self._is_open:
            return
        others = samples
        if self._past is not None and self._goes_past:
            is_past = self._is_past[samples]
            past, others = samples[is_past].tolist(), samples[~is_past]
            if past:
                self._past.request(past) if is_requested else self._past.expect(past)
        if is_requested:  # what was expected is fetched already
            others = others[~self._is_expected[others]]
        if len(others):
            numbers = others.tolist()
            self._threads.start(lambda item: self.fetch(numbers[item]), len(numbers))
