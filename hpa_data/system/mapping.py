"""Files that are mapped into memory, and are looked at before their pages are touched.

To touch a page that cannot be read, because the file was cut short or its disk failed, would end the process. So its
size is compared, at most every `CHECK_S`; that takes a microsecond. A network may also fail with the size unchanged:
there, pages are read by ``madvise(MADV_POPULATE_READ)`` of Linux 5.14 before they are touched for the first time, which
answers with an error instead. On a local disk that would take a tenth of the time of reading from the page cache.

Nothing around a page that is touched is read with it, as by default: of samples in random order that would be read for
nothing, several times as much as is needed where memory is short. So what will be touched is to be fetched before.
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
from hpa_data.system.paging import (
    DO_NOT_NEED,
    POPULATE_READ,
    WILL_NEED,
    find_madvise,
    find_mincore,
    find_populate,
    find_request_bytes,
    tells_residency,
)

CHECK_S = 0.01
"""Seconds between two looks at a file: at its size, and at whether what is read is in memory."""

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
    was_missing : bool
        Whether something that was read was not in memory; for the caller to set back. One read in `CHECK_S` is looked
        at: where all is in memory, to look at each would take 5 % of the time of copying 1 MiB in two threads.
    """

    __slots__ = (
        *("__weakref__", "_address", "_advise", "_check_at", "_found", "_found_at", "_map", "_mincore", "_populate"),
        *("_request_bytes", "_identity", "content", "path", "was_missing"),
    )

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Map a file of at most `max_bytes`; OSError or ValueError if that is not possible."""
        self.path = path
        file = open_regular(path)
        try:
            check_size(os.fstat(file).st_size, max_bytes)
            os.pread(file, 1, 0)  # what cannot be read at all says so here
            status = os.fstat(file)
            self._identity = status.st_dev, status.st_ino
            device = status.st_dev
            self._mincore = find_mincore() if tells_residency(file) else None
            self._map = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(file)
        self.content = np.frombuffer(self._map, np.uint8)
        self._address = self.content.ctypes.data
        self._populate = find_populate() if is_remote(device) else None
        self._advise = find_madvise()
        self._request_bytes = find_request_bytes(device)
        # Where `mincore` answers. Two threads may mix up their answers, once in some 100,000; they are hints.
        self._found = ctypes.c_ubyte()
        self._found_at = ctypes.addressof(self._found)
        if self._advise is not None:
            self._map.madvise(mmap.MADV_RANDOM)
        self._check_at = 0.0  # of the monotonic clock
        self.was_missing = False
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
            if not self.fetch(start, stop):
                self.was_missing = True
        if is_first and self._populate is not None:
            first = start & -mmap.PAGESIZE
            if self._populate(self._address + first, stop - first, POPULATE_READ) and ctypes.get_errno() in _LOST:
                raise InputError(self.describe_loss() or self._describe_failure())
        return self.content[start:stop]

    def fetch(self, start: int, stop: int) -> bool:
        """Let the system begin to read some bytes, unless they are in memory, and return at once.

        Returns whether they were in memory, judged by one page in their middle; False if the system does not tell.
        """
        if self._advise is None:
            return True
        if self._mincore is not None:
            page = (self._address + (start + stop) // 2) & -mmap.PAGESIZE
            if not self._mincore(page, 1, self._found_at) and self._found.value & 1:
                return True
        for first in range(start & -mmap.PAGESIZE, stop, self._request_bytes):
            self._advise(self._address + first, min(self._request_bytes, stop - first), WILL_NEED)
        return False

    def open_past_cache(self) -> int:
        """Open the file once more, to read it past the page cache, and return its descriptor.

        Raises
        ------
        OSError
            If the system does not read files so, or not this one, or another file has its path now.
        """
        flag = getattr(os, "O_DIRECT", None)
        if flag is None or self._populate is not None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(self.path))
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | flag)
        status = os.fstat(file)
        if (status.st_dev, status.st_ino) != self._identity:
            os.close(file)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))
        return file

    def release(self, start: int = 0, stop: int | None = None) -> None:
        """Let the system take back the memory of pages that were touched, of all or of some; they can be touched again.

        The system could take it in any case. But where memory is short, to look for pages that a process has not used
        for long takes it as much time as to read them did; those that no process has touched are simply dropped.
        """
        if self._advise is not None:
            first = start & -mmap.PAGESIZE
            self._advise(self._address + first, (len(self.content) if stop is None else stop) - first, DO_NOT_NEED)
        elif _FORGET is not None and stop is None:
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
