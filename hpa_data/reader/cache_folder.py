"""The folder of a cache on a disk: whether it is one, which parts it holds, who uses them, and how they are deleted.

Who uses a part holds a lock on its file, which the system releases when a process ends in any way.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.system.files import read_regular

# Says that a folder is a cache, whose entries may be deleted.
MARK = "hpa-cache.json"
# In the folder of a part: what it is, whose time says when it was used last, and whose lock says that it is in use.
PART = "part.json"
MAX_PART_BYTES = 2**16
# For who looks whether a part is in use, or deletes it.
WAIT_S, POLL_S = 5.0, 0.01
# How files of a cache are opened, beside the mode.
SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC
_PART_FOLDER = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class CachedPart:
    """What a cache holds of a part."""

    folder: Path
    store: str
    name: str
    n_bytes: int
    used_s: float
    """When it was opened last, by `time.time`."""

    is_used: bool
    """Whether a process uses it now."""


def list_parts(folder: Path) -> list[CachedPart]:
    """List what a cache holds, in the order of use; InputError if the folder is no cache."""
    if not (folder / MARK).is_file():
        raise InputError(f"Cannot list the cache {folder}: it has no {MARK}. Pass the PATH of --cache disk:PATH.")
    found = []
    for entry in sorted(folder.iterdir()):
        if not _PART_FOLDER.fullmatch(entry.name) or entry.is_symlink():
            continue
        with contextlib.suppress(OSError):  # deleted meanwhile
            described = _describe(entry)
            lock = take_lock(entry, fcntl.LOCK_EX)
            used_s = (entry / PART).stat().st_mtime
            if lock is not None:
                os.close(lock)
            found.append(
                CachedPart(
                    folder=entry,
                    store=described.get("store", ""),
                    name=described.get("part", ""),
                    n_bytes=count_bytes(entry),
                    used_s=used_s,
                    is_used=lock is None,
                )
            )
    return sorted(found, key=lambda part: part.used_s)


def delete_part(part: CachedPart) -> bool:
    """Delete what a cache holds of a part; False if a process uses it."""
    try:
        lock = take_lock(part.folder, fcntl.LOCK_EX)
    except OSError:
        return True
    if lock is None:
        return False
    try:
        for path in part.folder.iterdir():
            if path.name != PART:
                path.unlink()
        (part.folder / PART).unlink()
        part.folder.rmdir()
    finally:
        os.close(lock)
    return True


def mark_folder(folder: Path) -> None:
    """Make a folder a cache; InputError if it is something else, or that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / MARK).is_file():
            if any(entry.name != MARK for entry in folder.iterdir()):  # another process may have made it just now
                raise InputError(f"Cannot keep a cache in {folder}: it holds something else. Pass a new folder.")
            (folder / MARK).write_text('{"version": 1}\n')
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"Cannot keep a cache in {folder}: {error.strerror}. Pass another folder.") from error


def _describe(folder: Path) -> dict[str, str]:
    """Return what the file of a part says; nothing if it was torn."""
    try:
        described = json.loads(read_regular(folder / PART, max_bytes=MAX_PART_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: str(value) for name, value in described.items()} if isinstance(described, dict) else {}


def take_lock(folder: Path, kind: int, *, wait_s: float = 0.0) -> int | None:
    """Lock the folder of a part, made if it is missing; return the descriptor of the lock, None if it is not free."""
    ends_s = time.monotonic() + wait_s
    while True:
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # deleted in between
            lock = os.open(folder / PART, os.O_RDWR | os.O_CREAT | SAFELY, 0o600)
            try:
                fcntl.flock(lock, kind | fcntl.LOCK_NB)
                if os.fstat(lock).st_ino == (folder / PART).stat().st_ino:
                    return lock
            except BlockingIOError:
                pass
            except OSError:
                os.close(lock)
                raise
            os.close(lock)
        if time.monotonic() >= ends_s:
            return None
        time.sleep(POLL_S)


def count_bytes(folder: Path) -> int:
    """Count what files take on the disk: those of shards have holes."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # deleted meanwhile
                total += 512 * os.lstat(os.path.join(place, name)).st_blocks
    return total
