"""A lock file that keeps a store to one writer; it ends with the process that holds it, even if that is killed."""

import contextlib
import fcntl
import json
import os
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from hpa_data.errors import InputError

LOCK_NAME = ".lock"

# Of what a lock file holds: a number, a host and a token.
MAX_BYTES = 4096

# Between attempts to take a lock that another process holds.
POLL_S = 0.05

# Follow no link, and wait for no pipe.
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class LockedError(InputError):
    """Another process holds a lock."""

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder
        """Its process and host, in words."""


class NoLocksError(InputError):
    """The file system has no locks."""


@contextlib.contextmanager
def hold_store(
    store: Path,
    *,
    what: str = "store",
    name: str = LOCK_NAME,
    wait_s: float = 0.0,
    on_wait: Callable[[str], None] = lambda holder: None,
) -> Iterator[None]:
    """Lock a store, or another folder, against other writers; a context manager.

    The operating system releases the lock of a process that is killed; the file that it leaves is reused.

    Parameters
    ----------
    store : Path
        The store's folder. It and those around it are created if missing, and removed again if they are still empty
        afterwards, or if there is no lock.
    what : str
        What to call it in messages.
    name : str
        Of the lock file. A folder may have several locks, for several uses.
    wait_s : float
        How long to wait for another process, in seconds.
    on_wait : function of str
        Called once if there is something to wait for, with the process that holds the lock, in words.

    Raises
    ------
    LockedError
        If another process holds the lock, which is named.
    NoLocksError
        If the file system has no locks.
    InputError
        If there is something else under the name of the lock file, which is left as it is.
    """
    if store.exists() and not store.is_dir():
        raise InputError(f"Cannot write a {what} to {store}: it is not a folder. Pass another path.")
    new = [each for each in (store, *store.parents) if not each.exists()]
    path = store / name
    try:
        file = _wait(path, store, what, wait_s, on_wait)
        try:
            yield
        finally:
            # Removed while it is still locked, so that no other process locks it in between.
            with contextlib.suppress(OSError):
                path.unlink()
            os.close(file)
    finally:
        with contextlib.suppress(OSError):
            for folder in new:
                folder.rmdir()  # refused if there is anything in it


def read_lock(store: Path) -> str:
    """Read what identifies the holder of a lock, different each time; empty if the store is not locked."""
    try:
        file = os.open(store / LOCK_NAME, os.O_RDONLY | _SAFELY)
    except FileNotFoundError:
        return ""
    try:
        return os.pread(file, MAX_BYTES, 0).decode()
    finally:
        os.close(file)


def renew_lock(store: Path) -> None:
    """Change what identifies the holder, so that tasks begun so far can write no more; only the holder may call it."""
    try:
        file = os.open(store / LOCK_NAME, os.O_RDWR | _SAFELY)
    except FileNotFoundError:
        return
    try:
        _write_holder(file)
    finally:
        os.close(file)


def _write_holder(file: int) -> None:
    holder = {"process": os.getpid(), "host": socket.gethostname(), "token": uuid.uuid4().hex}
    with contextlib.suppress(OSError):  # a full disk: locked, but nobody can read by whom
        os.truncate(file, 0)
        os.write(file, json.dumps(holder).encode())


def _wait(path: Path, store: Path, what: str, wait_s: float, on_wait: Callable[[str], None]) -> int:
    """Lock the file, once another process has let go of it."""
    end, has_told = time.monotonic() + wait_s, False
    while True:
        try:
            return _lock(path, store, what)
        except LockedError as error:
            if time.monotonic() >= end:
                raise
            if not has_told:
                on_wait(error.holder)
                has_told = True
        time.sleep(POLL_S)


def _lock(path: Path, store: Path, what: str) -> int:
    """Open and lock the file, and write who holds it."""
    while True:
        store.mkdir(parents=True, exist_ok=True)  # the previous holder may have removed it, too
        try:
            file = _open(path, store, what)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder may have removed the file after we opened it; then we locked a file without a name.
            n_links = os.fstat(file).st_nlink
            if n_links > 1 or not _is_lock(file):
                raise _refuse(path, store, what)
            if n_links:
                _write_holder(file)
                return file
            os.close(file)
        except InputError:
            os.close(file)
            raise
        except BlockingIOError as error:
            other = _describe_holder(file)
            os.close(file)
            raise LockedError(
                f"Cannot write to the {what} {store}: {other} is writing to it. Wait for it, or stop it.", other
            ) from error
        except OSError as error:
            if not os.fstat(file).st_size:  # nobody has ever locked it
                with contextlib.suppress(OSError):
                    path.unlink()
            os.close(file)
            raise NoLocksError(
                f"Cannot lock the {what} {store}: {error.strerror}. Use a disk whose file system has locks."
            ) from error


def _open(path: Path, store: Path, what: str) -> int:
    """Open or create the file, if it is one: a store from elsewhere may have a link, a pipe or a device there."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o644)
    except OSError as error:
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise _refuse(path, store, what) from error
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _refuse(path, store, what)
    return file


def _is_lock(file: int) -> bool:
    """Tell whether a file holds what we write into a lock file, or nothing, as a killed process may leave it."""
    content = os.pread(file, MAX_BYTES + 1, 0)
    if not content.strip(b"\0"):  # zeros are what a power failure leaves of a file
        return len(content) <= MAX_BYTES
    try:
        return {"process", "host"} <= set(json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return False


def _refuse(path: Path, store: Path, what: str) -> InputError:
    return InputError(
        f"Cannot lock the {what} {store}: {path} is not a lock file of hpa, and is left as it is. Rename or remove it."
    )


def _describe_holder(file: int) -> str:
    try:
        holder = json.loads(os.pread(file, 1000, 0))
        return f"process {holder['process']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):  # it has not written it yet
        return "another process"
