"""One writer at a time: a lock on a store that ends with the process that holds it, however that ends."""

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
    """Keep every other writer off a store, or off another folder; a context manager.

    The system takes the lock from a process that is killed: the file it leaves is no obstacle, and is taken over.

    Parameters
    ----------
    store : Path
        The store's folder; made if missing, and removed again if nothing was put into it.
    what : str
        What it is, for messages.

    Raises
    ------
    InputError
        If another process writes to the store, which is named, or the file system knows no locks.
    """
    is_new = not store.exists()
    if not is_new and not store.is_dir():
        raise InputError(f"A {what} must be a new folder or a {what}. Received: {store}, something else. Use another.")
    store.mkdir(parents=True, exist_ok=True)
    path = store / LOCK_NAME
    file = _take(path, store, what)
    try:
        yield
    finally:
        # Removed while it is still held: nobody can take it in between.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(file)
        if is_new:
            with contextlib.suppress(OSError):
                store.rmdir()  # refused if there is anything in it


def read_lock(store: Path) -> str:
    """Read who holds a store; empty if nobody does. Never the same twice."""
    try:
        return (store / LOCK_NAME).read_text()
    except FileNotFoundError:
        return ""


def _take(path: Path, store: Path, what: str) -> int:
    """Open and lock the file, and write who has it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed the file since we opened it; then ours has no name any more.
            if os.fstat(file).st_nlink:
                told = {"process": os.getpid(), "host": socket.gethostname(), "token": uuid.uuid4().hex}
                with contextlib.suppress(OSError):  # a full disk: then nobody knows who, but it is held
                    os.truncate(file, 0)
                    os.write(file, json.dumps(told).encode())
                return file
            os.close(file)
        except BlockingIOError as error:
            holder = _describe_holder(file)
            os.close(file)
            raise InputError(
                f"A {what} must have one writer at a time. Received: {store}, to which {holder} writes. Wait, or "
                "stop it."
            ) from error
        except OSError as error:
            os.close(file)
            raise InputError(
                f"A {what} must lie where files can be locked. Received: {store}: {error.strerror}. Use another disk."
            ) from error


def _describe_holder(file: int) -> str:
    try:
        told = json.loads(os.pread(file, 1000, 0))
        return f"process {told['process']} on {told['host']}"
    except (ValueError, KeyError, TypeError):  # not written yet
        return "another process"
