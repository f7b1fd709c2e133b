"""What we ask Linux about the pages of a mapped file: to read them ahead, and whether they are in memory.

Elsewhere nothing is asked, and a page is read when it is touched.
"""

import contextlib
import ctypes
import mmap
import os
import sys
from functools import cache

import numpy as np

WILL_NEED, DO_NOT_NEED, POPULATE_READ = 3, 4, 22
"""Advice: to begin to read pages, and return; that pages were touched in vain; to read pages, and return an error
rather than end the process."""

# What Linux reads ahead of a page by default. No request that is advised may be longer than the longest request of the
# device, or than what is read ahead of a page there: the rest of it would be passed over in silence.
DEFAULT_REQUEST_BYTES = 128 * 1024


@cache
def find_madvise() -> "ctypes._FuncPointer | None":
    """Find the system's `madvise`, which releases the GIL, as Python's does not; None if there is none."""
    if sys.platform != "linux":
        return None
    try:
        madvise = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return None
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return madvise


@cache
def find_populate() -> "ctypes._FuncPointer | None":
    """Return the system's `madvise` if it can populate pages, else None."""
    madvise = find_madvise()
    page = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.uint8)
    if madvise is None or madvise(page.ctypes.data, mmap.PAGESIZE, POPULATE_READ):
        return None
    return madvise


@cache
def find_mincore() -> "ctypes._FuncPointer | None":
    """Find the system's `mincore`. It keeps the GIL: it takes less time than to hand that over."""
    if sys.platform != "linux":
        return None
    try:
        mincore = ctypes.PyDLL(None).mincore
    except (OSError, AttributeError):
        return None
    mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    return mincore


def tells_residency(file: int) -> bool:
    """Return whether `mincore` is told which pages of an open file are in memory: of other users' files, all are."""
    return os.fstat(file).st_uid == os.geteuid() or os.access(f"/proc/self/fd/{file}", os.W_OK)


@cache
def find_request_bytes(device: int) -> int:
    """Return how many bytes may be advised at a time on a device, as `os.stat` numbers it."""
    number = f"{os.major(device)}:{os.minor(device)}"
    found = [DEFAULT_REQUEST_BYTES]
    for path in (
        f"class/bdi/{number}/read_ahead_kb",
        f"dev/block/{number}/queue/max_sectors_kb",
        f"dev/block/{number}/../queue/max_sectors_kb",  # of the disk that a partition is on
    ):
        with contextlib.suppress(OSError, ValueError), open(f"/sys/{path}", encoding="ascii") as file:
            found.append(1024 * int(file.read()))
    return max(found)
