"""Files that are mapped into memory, and are looked at before their pages are touched.

To touch a page that cannot be read, because the file was cut short or its disk failed, would end the process. So its
size is compared, at most every `CHECK_S`; that takes a microsecond. A network may also fail with the size unchanged:
there, pages are read by ``madvise(MADV_POPULATE_READ)`` of Linux 5.14 before they are touched for the first time, which
answers with an error instead. On a local disk that would take a tenth of the time of reading from the page cache.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import re
import time
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.bus_errors import watch
from hpa_data.system.files import check_size, open_regular

CHECK_S = 0.01
"""Seconds between two comparisons of a file's size."""

_POPULATE_READ = 22

# Of a file that is mapped to read, the pages stay in the page cache. Not on Windows.
_FORGET = getattr(mmap, "MADV_DONTNEED", None)

# File systems of networks and of processes of users, as Linux names them.
_REMOTE = re.compile(r"nfs4?|cifs|smb3?|smbfs|9p|ceph|lustre|gpfs|beegfs|afs|virtiofs|fuse.*|orangefs|glusterfs")

# Answers of `madvise` that mean that a page cannot be read; others leave it to be seen. Not all systems know the third.
_LOST = {errno.EFAULT, errno.EIO, getattr(errno, "EHWPOISON", 133)}


class MappedFile:
    """A regular file that is mapped into memory to read.

    Attributes
    ----------
    path : Path
    content : array of uint8, shape (n_bytes,)
        All of it. To touch what cannot be read ends the process; `read` does not.
    """

    __slots__ = ("__weakref__", "_address", "_check_at", "_map", "_populate", "content", "path")

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Map a file of at most `max_bytes`; OSError or ValueError if that is not possible."""
        self.path = path
        file = open_regular(path)
        try:
            check_size(os.fstat(file).st_size, max_bytes)
            os.pread(file, 1, 0)  # what cannot be read at all says so here
            device = os.fstat(file).st_dev
            self._map = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(file)
        self.content = np.frombuffer(self._map, np.uint8)
        self._address = self.content.ctypes.data
        self._populate = _find_populate() if is_remote(device) else None
        self._check_at = 0.0  # of the monotonic clock
        watch(self)

    def read(self, start: int, stop: int, *, is_first: bool) -> npt.NDArray[np.uint8]:
        """Return a view of some bytes, uint8 (stop - start,), that can be read now.

        Parameters
        ----------
        start, stop : int
        is_first : bool
            Whether they may not have been touched before.

        Raises
        ------
        InputError
            If the file was cut short since it was mapped, or the system cannot read it.
        """
        now = time.monotonic()
        if now >= self._check_at:
            if self._map.size() < len(self.content):
                raise InputError(self.describe_loss())
            self._check_at = now + CHECK_S
        if is_first and self._populate is not None:
            first = start & -mmap.PAGESIZE
            if self._populate(self._address + first, stop - first, _POPULATE_READ) and ctypes.get_errno() in _LOST:
                raise InputError(self.describe_loss() or self._describe_failure())
        return self.content[start:stop]

    def release(self) -> None:
        """Let the system take back the memory of the pages that were touched; they can be touched again."""
        if _FORGET is not None:
            self._map.madvise(_FORGET)

    def describe_loss(self) -> str:
        """Describe that the file is shorter than it was, as a message; empty if it is not."""
        n_bytes = self._map.size()
        if n_bytes >= len(self.content):
            return ""
        return (
            f"Cannot read {self.path}: it was cut short while it was in use, from {len(self.content)} to {n_bytes} "
            "bytes. Change no store that is being read. Run `hpa verify` on it."
        )

    def _describe_failure(self) -> str:
        return (
            f"Cannot read {self.path}: the disk or the network failed (input/output error). Its content may be good. "
            "Check the disk or the network, and try again."
        )


@cache
def is_remote(device: int) -> bool:
    """Tell whether a device, as `os.stat` numbers it, is a file system of a network, or of a process of a user."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError, IndexError), open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        fields = [line.split(" - ") for line in mounts]
        return any(_REMOTE.fullmatch(end.split()[0]) for start, end in fields if start.split()[2] == number)
    return False


@cache
def _find_populate() -> "ctypes._FuncPointer | None":
    """Find the system's `madvise`, which releases the GIL; None if it cannot populate pages."""
    try:
        madvise = ctypes.CDLL(None, use_errno=True).madvise
    except (OSError, AttributeError):
        return None
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    page = np.frombuffer(mmap.mmap(-1, mmap.PAGESIZE), np.uint8)
    return None if madvise(page.ctypes.data, mmap.PAGESIZE, _POPULATE_READ) else madvise
