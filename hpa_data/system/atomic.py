"""Atomic, durable file writes: after a crash, a file is complete or unchanged.

Why direct writes (`page_cache=False`) for large files: on a virtual machine, the memory that the page cache takes costs
more than all the rest of the writing (`benchmarks/RESULTS.md`).
"""

import contextlib
import errno
import fcntl
import glob
import io
import mmap
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hpa_data.system.files import refuse_links

# Bytes per direct write; a larger block does not fit into a core's cache and takes twice the time.
BLOCK_BYTES = 2 * 2**20

# An empty folder that was made so recently is not taken for abandoned: it may not be locked yet.
FRESH_S = 60.0
# How a folder is opened, no link.
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# 0 where the system has no such flag, as on macOS.
_DIRECT = getattr(os, "O_DIRECT", 0)

# What file systems without direct writes answer.
_UNSUPPORTED = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}

# The name of a temporary file, and the process that it is of.
_TEMPORARY = re.compile(r"\..+\.(\d+)-\d+\.part")

# Direct writes must consist of whole, aligned memory pages.
_PAGE_BYTES = 4096


class WritableFile(Protocol):
    """A file that is written from start to end."""

    def write(self, piece: bytes | memoryview, /) -> object:
        """Append bytes."""


@contextlib.contextmanager
def open_atomic(
    path: Path,
    *,
    page_cache: bool = True,
    inside: Path | None = None,
    before_replace: Callable[[], None] | None = None,
) -> Iterator[WritableFile]:
    """Open a temporary file that is renamed to `path` when the block ends, and deleted if it ends with an error.

    For files whose names we choose, in stores and runs; for one that the user has named, see `open_output`.

    Parameters
    ----------
    path : Path
        An existing file or link is replaced; what a link leads to stays as it is. Missing folders are created.
    page_cache : bool
        False writes past the page cache, where the system and the file system can.
    inside : Path, optional
        Its folder, or one further up, below which no folder may be a link.
    before_replace : function, optional
        Called once the temporary file is complete and on the disk; raises an error to leave `path` as it is.

    Raises
    ------
    OSError
        For example if the disk is full; `path` is then unchanged.
    InputError
        If a folder on the way is a link.
    """
    if inside is not None:
        refuse_links(inside, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = name_temporary(path)
    try:
        if page_cache:
            with os.fdopen(_create(temporary), "wb") as file:
                yield file
                file.flush()
                # An error of the disk must appear now, before anything relies on the file.
                os.fsync(file.fileno())
        else:
            with contextlib.closing(_DirectFile(temporary)) as direct:
                yield direct
                direct.finish()
        if before_replace is not None:
            before_replace()
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # errors of `write` and `fsync` come without one
        raise


def name_temporary(path: Path) -> Path:
    """Return the temporary file that becomes `path`.

    It is unique to the writer: a worker of a killed process, or one on another machine, may still write its file.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.randbits(48)}.part")


def remove_abandoned(folder: Path, name: str = "") -> None:
    """Remove the temporary files of processes that were killed from a folder, those of one file if it is named.

    Not those that somebody may still write: a process of this machine that is there, or of another one, which locks it.
    """
    for path in folder.glob(f".{glob.escape(name) or '*'}.*.part"):
        if not is_abandoned(path):
            continue
        with contextlib.suppress(OSError):
            opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(opened)


def is_abandoned(path: Path) -> bool:
    """Tell whether a path has a name of `name_temporary`, by a process that is not on this machine, or not any more."""
    match = _TEMPORARY.fullmatch(path.name)
    return match is not None and not _is_alive(int(match[1]))


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def open_folder(target: Path, *, is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Make a temporary folder beside `target`, for a block that moves it there; then remove it if it is still there.

    It is locked meanwhile, so that others see that somebody writes it. What killed processes left of such folders is
    removed before, where `is_ours` says that they hold what ours do.
    """
    for path in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        if is_abandoned(path) and path.name.rsplit(".", 2)[0] == f".{target.name}":
            _remove_folder(path, is_ours)
    temporary = name_temporary(target)
    temporary.mkdir()
    opened = os.open(temporary, _FOLDER)
    try:
        with contextlib.suppress(OSError):  # not all file systems can
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary
    finally:
        os.close(opened)
        shutil.rmtree(temporary, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Wait until the files of a folder are on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _remove_folder(folder: Path, is_ours: Callable[[Path], bool]) -> None:
    """Remove a folder of this user that nobody locks."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, _FOLDER)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            about = os.fstat(opened)
            is_new = time.time() - about.st_mtime < FRESH_S and not any(folder.iterdir())
            if about.st_uid == os.geteuid() and not is_new and is_ours(folder):
                shutil.rmtree(folder)
        finally:
            os.close(opened)


def write_atomic(
    path: Path, content: bytes, *, inside: Path | None = None, before_replace: Callable[[], None] | None = None
) -> None:
    """Write a small file atomically; see `open_atomic`."""
    with open_atomic(path, inside=inside, before_replace=before_replace) as file:
        file.write(content)


@contextlib.contextmanager
def open_output(path: Path) -> Iterator[WritableFile]:
    """Open an output that the user has named; nothing of it appears before the block ends.

    A file is replaced atomically, as by `open_atomic`. Of a link, what it leads to is replaced, and the link stays. A
    pipe or a device, ``/dev/stdout`` for example, is written to.

    Raises
    ------
    OSError
        For example if the disk is full; a file is then unchanged.
    """
    target = follow_output(path)
    if isinstance(target, Path) and (not target.exists() or target.is_file() or target.is_dir()):
        with open_atomic(target) as file:
            yield file
        remove_abandoned(target.parent, target.name)
        return
    content = io.BytesIO()
    yield content
    sys.stdout.flush()  # what was printed before comes first
    opened = os.dup(target) if isinstance(target, int) else os.open(target, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(opened, "wb") as file:
        file.write(content.getbuffer())


def write_output(path: Path, content: bytes) -> None:
    """Write a small output that the user has named; see `open_output`."""
    with open_output(path) as file:
        file.write(content)


def follow_output(path: Path) -> Path | int:
    """Follow a path that is a link; return the path that it leads to, or a descriptor of this process."""
    for _ in range(40):  # as often as Linux does
        folder = os.path.realpath(path.parent)
        if folder == f"/proc/{os.getpid()}/fd" and path.name.isdecimal():  # /dev/stdout leads there
            return _find_own(int(path.name))
        if not path.is_symlink():
            return path
        path = path.parent / path.readlink()
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _find_own(number: int) -> int:
    """Return the descriptor that our own lines go to where another is guarded, see `stderr_guard`."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return sys.stderr.fileno() if number == 2 else number
    return number


def _create(path: Path, flags: int = 0) -> int:
    """Create a file, open it to write and lock it; FileExistsError if anything has its name, be it a link."""
    opened = os.open(path, flags | os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    with contextlib.suppress(OSError):  # not all file systems can
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return opened


class _DirectFile:
    """A file that is written in whole pages from aligned memory, as direct writes require."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = _create(path, _DIRECT)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._file = _create(path)  # the file system has no direct writes
        self._block = np.frombuffer(mmap.mmap(-1, BLOCK_BYTES), np.uint8)
        self._n_filled = 0
        self._n_bytes = 0

    def write(self, piece: bytes | memoryview, /) -> None:
        """Append bytes; whole pages of aligned memory are not copied."""
        rest = np.frombuffer(piece, np.uint8)
        self._n_bytes += len(rest)
        if not self._n_filled and rest.ctypes.data % _PAGE_BYTES == 0:
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
        """Write the rest, and wait until everything is on the disk."""
        self._n_filled = -(-self._n_filled // _PAGE_BYTES) * _PAGE_BYTES
        self._write_block()
        os.ftruncate(self._file, self._n_bytes)
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file descriptor."""
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
                if error.errno not in _UNSUPPORTED:
                    raise
                flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
                if not flags & _DIRECT:
                    raise
                fcntl.fcntl(self._file, fcntl.F_SETFL, flags & ~_DIRECT)  # the disk's blocks are larger than pages
