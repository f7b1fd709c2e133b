"""A lock file that keeps a store to one writer; it ends with the process that holds it, even if that is killed."""

import contextlib
import fcntl
import json
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from hpa_data.errors import InputError

LOCK_NAME = ".lock"


@contextlib.contextmanager
def hold_store(store: Path, *, what: str = "store") -> Iterator[None]:
    """Lock a store, or another folder, against other writers; a context manager.

    The operating system releases the lock of a process that is killed; the file that it leaves is reused.

    Parameters
    ----------
    store : Path
        The store's folder. It is created if missing, and removed again if it is still empty afterwards.
    what : str
        What to call it in messages.

    Raises
    ------
    InputError
        If another process holds the lock, which is named, or the file system has no locks.
    """
    is_new = not store.exists()
    if not is_new and not store.is_dir():
        raise InputError(f"Cannot write a {what} to {store}: it is not a folder. Pass another path.")
    store.mkdir(parents=True, exist_ok=True)
    path = store / LOCK_NAME
    file = _lock(path, store, what)
    try:
        yield
    finally:
        # Removed while it is still locked, so that no other process locks it in between.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)
        if is_new:
            with contextlib.suppress(OSError):
                store.rmdir()  # refused if there is anything in it


def read_lock(store: Path) -> str:
    """Read what identifies the holder of a lock, different each time; empty if the store is not locked."""
    try:
        return (store / LOCK_NAME).read_text()
    except FileNotFoundError:
        return ""


def _lock(path: Path, store: Path, what: str) -> int:
    """Open and lock the file, and write who holds it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The previous holder may have removed the file after we opened it; then we locked a file without a name.
            if os.fstat(file).st_nlink:
                holder = {"process": os.getpid(), "host": socket.gethostname(), "token": uuid.uuid4().hex}
                with contextlib.suppress(OSError):  # a full disk: locked, but nobody can read by whom
                    os.truncate(file, 0)
                    os.write(file, json.dumps(holder).encode())
                return file
            os.close(file)
        except BlockingIOError as error:
            other = _describe_holder(file)
            os.close(file)
            raise InputError(
                f"Cannot write to the {what} {store}: {other} is writing to it. Wait for it, or stop it."
            ) from error
        except OSError as error:
            os.close(file)
            raise InputError(
                f"Cannot lock the {what} {store}: {error.strerror}. Use a disk whose file system has locks."
            ) from error


def _describe_holder(file: int) -> str:
    try:
        holder = json.loads(os.pread(file, 1000, 0))
        return f"process {holder['process']} on {holder['host']}"
    except (ValueError, KeyError, TypeError):  # it has not written it yet
        return "another process"
