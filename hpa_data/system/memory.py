"""Memory for batches and images, page-aligned and used again.

A fresh 20 MB buffer a batch would halve the rate by page faults, and TensorFlow takes an aligned array without copying
it.
"""

import math
import mmap
import weakref
from collections import deque
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

# Free buffers of other sizes that are kept: those of an epoch's last batch, say.
MAX_SPARE = 4

_HUGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux alone has it


def allocate(n_bytes: int) -> mmap.mmap:
    """Take fresh memory from the system, page-aligned, and after a fork each process's own."""
    memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if _HUGE_PAGES is not None:
        memory.madvise(_HUGE_PAGES)  # decoding into them is 1 % faster
    return memory


class BufferPool:
    """Page-aligned memory for arrays, used again when the last view of an array dies."""

    def __init__(self) -> None:
        # A deque, because its append is atomic: a finaliser may run at any moment, in any thread.
        self._free: deque[mmap.mmap] = deque()

    def acquire(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Return an uninitialised uint8 array of that shape."""
        n_bytes = math.prod(shape)
        if n_bytes == 0:
            return np.empty(shape, np.uint8)
        memory = self._find(n_bytes)
        # Every view that NumPy makes of this array keeps `flat` itself alive, as its base is no array.
        flat = np.frombuffer(memory, np.uint8, n_bytes)
        weakref.finalize(flat, self._free.append, memory).atexit = False
        return flat.reshape(shape)

    def _find(self, n_bytes: int) -> mmap.mmap:
        """Return free memory of about that size, or fresh memory."""
        others = []
        try:
            while True:
                # The one that was let go of last: some of it may still lie in the processor's cache.
                memory = self._free.pop()
                if n_bytes <= len(memory) <= 2 * n_bytes:
                    return memory
                others.append(memory)
        except IndexError:
            return allocate(n_bytes)
        finally:
            # A small batch must not keep a large buffer; but the next batch may want it. The oldest are dropped.
            self._free.extendleft(others[:MAX_SPARE])

    def clear(self) -> None:
        """Give back what is free."""
        self._free.clear()


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
