"""Reusable, page-aligned memory for batches and images.

A new 20 MB buffer for each batch would halve the rate by page faults; TensorFlow takes an aligned array without a copy.
"""

import contextlib
import gc
import math
import mmap
import os
import re
import weakref
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

# Free buffers of other sizes to keep, for example that of an epoch's smaller last batch.
MAX_SPARE = 4

# Images that are read at a time where each is used once: 64 of 1 MiB, enough for all threads of a large machine, and
# fewer of larger images.
MAX_BATCH_SAMPLES, MAX_BATCH_BYTES = 64, 2**28

HUGE_PAGE_BYTES = 2**21
"""Memory of fewer bytes is on small pages."""

_HUGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)  # Linux only


def allocate(n_bytes: int) -> mmap.mmap:
    """Get new page-aligned memory from the system; a forked process gets its own copy."""
    memory = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if _HUGE_PAGES is not None:
        memory.madvise(_HUGE_PAGES)  # decoding into them is 1 % faster
    return memory


@contextlib.contextmanager
def pause_collection() -> Iterator[None]:
    """Look for no cycles of objects meanwhile; a decorator, too.

    For what makes millions of objects that stay: to look through them again and again would take a third of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def count_batch_samples(image_bytes: int) -> int:
    """Return how many images of this size to read at a time."""
    return max(1, min(MAX_BATCH_SAMPLES, MAX_BATCH_BYTES // image_bytes))


class BufferPool:
    """Page-aligned memory for arrays; reused once the last view of an array is deleted."""

    def __init__(self) -> None:
        # A deque, because its append is atomic: a finalizer may run at any moment, in any thread.
        self._free: deque[mmap.mmap] = deque()

    def acquire(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Return an uninitialized uint8 array of that shape."""
        n_bytes = math.prod(shape)
        if n_bytes == 0:
            return np.empty(shape, np.uint8)
        memory = self._find(n_bytes)
        # Every view that NumPy makes of this array keeps `flat` itself alive, as its base is not an array.
        flat = np.frombuffer(memory, np.uint8, n_bytes)
        weakref.finalize(flat, self._free.append, memory).atexit = False
        return flat.reshape(shape)

    def _find(self, n_bytes: int) -> mmap.mmap:
        """Return free memory of about that size, or new memory."""
        others = []
        try:
            while True:
                # The one that was released last: some of it may still be in the processor's cache.
                memory = self._free.pop()
                if n_bytes <= len(memory) <= 2 * n_bytes:
                    return memory
                others.append(memory)
        except IndexError:
            return allocate(n_bytes)
        finally:
            # A small batch must not occupy a large buffer, but the next batch may need it. The oldest are dropped.
            self._free.extendleft(others[:MAX_SPARE])

    def clear(self) -> None:
        """Return the free buffers to the system."""
        self._free.clear()


def copies_past_cache(n_bytes: int) -> bool:
    """Return whether the C library copies so many bytes past the processor's cache, as it was told at the start."""
    found = re.search(r"glibc\.cpu\.x86_non_temporal_threshold=(\w+)", os.environ.get("GLIBC_TUNABLES", ""))
    try:
        return found is not None and 0 < int(found[1], 0) <= n_bytes
    except ValueError:
        return False


def find_free_memory() -> int:
    """Find how many bytes this process may still allocate, also within the limits of its control groups (cgroups)."""
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError):
        free = min([free, *list_group_memory(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))])
    return free


def list_group_memory(groups: str, root: Path) -> list[int]:
    """List how many bytes each control group with a limit has left.

    Parameters
    ----------
    groups : str
        The groups of a process, as /proc/PID/cgroup lists them. A limit of a group around one of these counts, too.
        In a container the paths may be those outside of it, which are not seen there; its own group is the root then.
    root : Path
        Where groups are seen, of version 1, 2, or both.
    """
    found = []
    for line in groups.splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        for top in (root / "memory",) if kinds else (root, root / "unified"):
            place = top / path.strip("/")
            for folder in (place, *place.parents):
                if folder.is_relative_to(top):
                    with contextlib.suppress(OSError, ValueError):  # no limit ("max"), or no such group
                        found.append(_read_group_memory(folder, is_version_1=bool(kinds)))
    return found


def _read_group_memory(folder: Path, *, is_version_1: bool) -> int:
    limit_name, used_name = ("limit_in_bytes", "usage_in_bytes") if is_version_1 else ("max", "current")
    limit, used = (int((folder / f"memory.{name}").read_text()) for name in (limit_name, used_name))
    kept = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    # The page cache counts as used, but the system frees it on demand.
    whole = "total_" if is_version_1 else ""
    used -= sum(int(kept.get(f"{whole}{name}_file", 0)) for name in ("active", "inactive"))
    return max(limit - used, 0)
