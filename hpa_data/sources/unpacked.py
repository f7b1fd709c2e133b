"""Archives that can only be read from their beginning, as a temporary plain tar, from which any member can be read.

The first process that needs an archive unpacks it; the other processes of the machine find the file and share it. The
last one that ends removes it. What a killed process leaves is removed by the next process that unpacks.
"""

import contextlib
import fcntl
import hashlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.util import Finalize
from typing import Protocol

from hpa_data.errors import InputError

# Disk space that is left to others.
KEEP_FREE_BYTES = 2**30

# Unpacking this takes several seconds: the user is told.
_LARGE_BYTES = 2**28

_STEP_BYTES = 2**20

_removals: list[Finalize] = []

# How often the free space is looked up, in steps.
_STEPS_PER_CHECK = 64


class Readable(Protocol):
    """What unpacks a stream, read from its beginning."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end."""


def open_unpacked(path: str, write: Callable[[str, "Output"], None]) -> io.FileIO:
    """Open the plain tar that an archive becomes.

    Parameters
    ----------
    path : str
        The archive.
    write : callable
        Called with the archive and the file to write, if no process has unpacked the archive yet.

    Raises
    ------
    InputError
        If the disk has too little space.
    """
    status = os.stat(path)
    state = f"{os.path.abspath(path)} {status.st_ino} {status.st_size} {status.st_mtime_ns}"
    name = hashlib.sha256(os.fsencode(state)).hexdigest()[:32] + ".tar"
    while True:
        folder = _make_folder()
        target = f"{folder}/{name}"
        with contextlib.suppress(FileNotFoundError):  # another process has just removed the file or the folder
            descriptor = _open_finished(target) or _unpack(path, target, write)
            if descriptor is not None:
                file = io.FileIO(descriptor, closefd=False)
                # Unlike atexit, this runs in processes of multiprocessing, too.
                _removals.append(Finalize(file, _remove, args=(descriptor, target), exitpriority=1))
                return file


def remove_unpacked() -> None:
    """Do now what is done when the process ends; for a process that ends by `os._exit`."""
    for remove in _removals:
        remove()


class Output:
    """A temporary file that is written from the beginning, and stops before the disk is full."""

    def __init__(self, file: io.FileIO, archive: str, folder: str) -> None:
        self.file = file
        self._archive = archive
        self._folder = folder

    def check_space(self, n_bytes: int = 0) -> None:
        """Raise InputError if the disk has too little space for `n_bytes` more."""
        free = shutil.disk_usage(self._folder).free
        if free - n_bytes < KEEP_FREE_BYTES:
            wanted = f"needs {n_bytes / 2**30:.1f} GiB" if n_bytes else "needs more space"
            raise InputError(
                f"Cannot unpack {self._archive}: it {wanted}, and {self._folder} has {free / 2**30:.1f} GiB, of which "
                f"{KEEP_FREE_BYTES / 2**30:.1f} GiB are kept free. Set TMPDIR to a folder on a larger disk, or unpack "
                "it first and pass the folder."
            )

    def copy(self, source: Readable) -> None:
        """Write all that a file has left."""
        n_steps = 0
        while step := source.read(_STEP_BYTES):
            if n_steps % _STEPS_PER_CHECK == 0:
                self.check_space()
            self.write(step)
            n_steps += 1

    def write(self, content: bytes) -> None:
        """Write bytes at the current place."""
        view = memoryview(content)
        try:
            while view:
                view = view[self.file.write(view) :]
        except OSError as error:  # none of the archive, which would be called damaged
            raise InputError(
                f"Cannot unpack {self._archive} into {self._folder}: {error.strerror}. Set TMPDIR to a folder on "
                "another disk, or unpack it first and pass the folder."
            ) from error


def _make_folder() -> str:
    """Return the user's own folder for temporary files, on a disk rather than in memory."""
    base = os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir())
    folder = os.path.join(base, f"hpa-unpacked-{os.getuid()}")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        status = os.lstat(folder)
    except OSError as error:
        raise InputError(
            f"Cannot make {folder}: {error.strerror}. Set TMPDIR to a folder that can be written."
        ) from error
    if os.path.islink(folder) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise InputError(f"Cannot use {folder}: others can write it. Remove it, or set TMPDIR to another folder.")
    return folder


def _open_finished(target: str) -> int | None:
    """Open a file that a process has finished, and keep it; None if there is none."""
    if not os.path.exists(target):
        return None
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return _keep_if_at(descriptor, target)


def _unpack(path: str, target: str, write: Callable[[str, Output], None]) -> int | None:
    """Write a file and open it; None if another process did so in the meantime."""
    part = f"{target}.part"
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits for another process that is writing it
    if _keep_if_at(descriptor, part) is None:
        return None
    try:
        _remove_orphans(os.path.dirname(target), part)
        os.truncate(descriptor, 0)
        if os.path.getsize(path) > _LARGE_BYTES:
            logging.getLogger(__name__).warning("Unpacking %s into %s, once.", path, os.path.dirname(target))
        write(path, Output(io.FileIO(descriptor, "r+", closefd=False), path, os.path.dirname(target)))
        os.rename(part, target)
    except BaseException:
        _remove(descriptor, part)
        raise
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _keep_if_at(descriptor: int, path: str) -> int | None:
    """Return a descriptor if its file is still the one at a path; else close it."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            return descriptor
    os.close(descriptor)
    return None


def _remove_orphans(folder: str, own: str) -> None:
    """Remove the files that no process holds: those of processes that were killed."""
    for path in _list(folder):
        if path != own:
            with contextlib.suppress(OSError), io.FileIO(path) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)


def _list(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from [entry.path for entry in entries]


def _remove(descriptor: int, target: str) -> None:
    """Give up a file, and remove it if no other process holds it."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(target)):
            os.unlink(target)
        os.rmdir(os.path.dirname(target))
    os.close(descriptor)
