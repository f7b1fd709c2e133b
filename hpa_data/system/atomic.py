"""Files that are there whole or not at all, whenever the process or the machine stops."""

import contextlib
import errno
import fcntl
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

# Written at a time, past the page cache; more does not fit in a core's cache and takes twice the time.
BLOCK_BYTES = 2 * 2**20

# Where the system lets a file be written past the page cache; macOS does not by this name.
_UNCACHED = getattr(os, "O_DIRECT", 0)

# How file systems say that they write through the cache alone.
NO_SUCH_WRITES = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}

# Every disk takes writes of whole memory pages.
_PAGE_BYTES = 4096


class WritableFile(Protocol):
    """A file to be written from its beginning to its end."""

    def write(self, piece: bytes | memoryview, /) -> object:
        """Add bytes at the end."""


@contextlib.contextmanager
def open_atomic(path: Path, *, page_cache: bool = True) -> Iterator[WritableFile]:
    """Open a file to write; it takes its name when the block is left without an error, and is gone otherwise.

    Parameters
    ----------
    path : Path
        Replaced if it is there. Its folder is made.
    page_cache : bool
        False keeps large files out of the page cache, where the system and the disk can: on a virtual machine the
        memory that it takes cost more than all of the rest of the writing (`benchmarks/RESULTS.md`).

    Raises
    ------
    OSError
        If the disk is full, say; `path` is then what it was before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: a process that was killed may have a worker that still writes.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        if page_cache:
            with unfinished.open("wb") as file:
                yield file
                file.flush()
                # A full disk must show before anybody relies on the file.
                os.fsync(file.fileno())
        else:
            with contextlib.closing(_DirectFile(unfinished)) as uncached:
                yield uncached
                uncached.finish()
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def write_atomic(path: Path, content: bytes) -> None:
    """Write a small file so that it is there whole or not at all."""
    with open_atomic(path) as file:
        file.write(content)


class _DirectFile:
    """A file that is written in whole pages from aligned memory, as the system asks where no page cache is between."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags | _UNCACHED, 0o666)
        except OSError as error:
            if error.errno not in NO_SUCH_WRITES:
                raise
            self._file = os.open(path, flags, 0o666)  # a file system that has only the cache
        self._block = np.frombuffer(mmap.mmap(-1, BLOCK_BYTES), np.uint8)
        self._n_filled = 0
        self._n_bytes = 0

    def write(self, piece: bytes | memoryview, /) -> None:
        rest = np.frombuffer(piece, np.uint8)
        self._n_bytes += len(rest)
        if not self._n_filled and rest.ctypes.data % _PAGE_BYTES == 0:
            # As it is, without a copy.
            n = len(rest) // _PAGE_BYTES * _PAGE_BYTES
            self._put(rest[:n])
            rest = rest[n:]
        while len(rest):
            n = min(len(rest), BLOCK_BYTES - self._n_filled)
            self._block[self._n_filled : self._n_filled + n] = rest[:n]
            self._n_filled += n
            rest = rest[n:]
            if self._n_filled == BLOCK_BYTES:
                self._write_block()

    def finish(self) -> None:
        """Write what is left, and wait until the disk has everything."""
        self._n_filled = -(-self._n_filled // _PAGE_BYTES) * _PAGE_BYTES
        self._write_block()
        os.ftruncate(self._file, self._n_bytes)
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)

    def _write_block(self) -> None:
        self._put(self._block[: self._n_filled])
        self._n_filled = 0

    def _put(self, rest: npt.NDArray[np.uint8]) -> None:
        """Write whole pages from aligned memory."""
        while len(rest):
            try:
                rest = rest[os.write(self._file, rest) :]
            except OSError as error:
                if error.errno not in NO_SUCH_WRITES:
                    raise
                flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
                if not flags & _UNCACHED:
                    raise
                fcntl.fcntl(self._file, fcntl.F_SETFL, flags & ~_UNCACHED)  # a disk with larger blocks than pages
