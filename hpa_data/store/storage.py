"""The storage of a store: everything that writes to a store goes through a `Storage`.

A store is a set of objects with keys like paths, ``train/status/c/0``. Today they are files. Another kind of storage is
another class with these methods, in a module beside this one, and a line in `open_storage`.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.kvstore import find_url
from hpa_data.store.zarr_files import RegularFiles
from hpa_data.system.atomic import WritableFile, open_atomic, write_atomic
from hpa_data.system.files import MAX_TABLE_BYTES, map_regular, read_regular, refuse_links, refuse_unreadable
from hpa_data.system.lock import LOCK_NAME, hold_store, read_lock, renew_lock

# What a killed process leaves behind: files of `system.atomic`, and of zarr-python, by which 0.1.0 wrote what is small.
_PARTIAL_FILE = re.compile(r"\..+\.\d+-\d+\.part|.+\.[0-9a-f]{32}\.partial")


class Storage(Protocol):
    """Reads and writes the objects of one store. Picklable, since worker processes write too.

    An object is complete or absent, and on disk once the call returns. Only one writer holds the lock; within a part,
    each object is written by one task.
    """

    @property
    def location(self) -> Path | str:
        """Folder or URL of the store."""

    def check_target(self, part: str) -> None:
        """Refuse to write over anything but a store, and in it anything but a group or an array: InputError."""

    def lock(self) -> AbstractContextManager[None]:
        """Keep every other writer away, inside a with block; InputError if there is one."""

    def read_lock(self) -> str:
        """Return who holds the lock, different each time that it is taken; empty if nobody does."""

    def renew_lock(self) -> None:
        """Change what `read_lock` returns; only the holder may call it."""

    def free_bytes(self) -> int:
        """Return how much can still be written."""

    def zarr_store(self) -> Any:
        """Return the store as zarr-python reads it."""

    def exists(self, key: str) -> bool:
        """Tell whether there is an object with that key, or any below it."""

    def size(self, key: str) -> int:
        """Return the bytes of an object or of all below the key; 0 if there are none."""

    def list_names(self) -> list[str]:
        """Return the names before the first slash of all keys, sorted: those of parts, and maybe others."""

    def get(self, key: str, *, max_bytes: int = MAX_TABLE_BYTES) -> bytes:
        """Return an object; FileNotFoundError if there is none, InputError if it cannot be read or has more bytes."""

    def view(self, key: str, *, max_bytes: int) -> npt.NDArray[np.uint8]:
        """Return an object's bytes, if possible read only when accessed.

        Raises
        ------
        OSError, ValueError
            If that fails, or it has more than `max_bytes`.
        """

    def put(self, key: str, content: bytes, *, before_replace: Callable[[], None] | None = None) -> None:
        """Write or replace an object, unless the function, called right before that, raises an error."""

    def open_writer(
        self, key: str, *, before_replace: Callable[[], None] | None = None
    ) -> AbstractContextManager[WritableFile]:
        """As `put`, piece by piece for a large object; it appears when the with block ends without an error."""

    def delete(self, key: str) -> None:
        """Delete an object and all below the key, if there are any."""

    def create_part(self, name: str, objects: Mapping[str, bytes]) -> None:
        """Create a part with all these objects (keys within the part) or not at all, in place of one of that name."""

    def remove_partial(self, part: str) -> None:
        """Remove what a killed process left unfinished in a part and beside it. Call it only with the lock held."""


def open_storage(location: str | Path) -> Storage:
    """Return the storage of a store to write, which need not exist; InputError if nothing can be written there."""
    if find_url(Path(location)) is not None:
        raise InputError(
            f"Cannot write to {location}: only stores in a folder can be written. Write a folder, and copy it there."
        )
    return LocalStorage(Path(location))


@dataclass(frozen=True)
class LocalStorage:
    """A store in a folder. See `Storage` for the methods."""

    folder: Path

    @property
    def location(self) -> Path:
        return self.folder

    def check_target(self, part: str) -> None:
        is_folder = self.folder.is_dir()
        # A process that was killed before it could create the store leaves its lock, and perhaps a partial file.
        has_other_files = is_folder and any(
            entry.name != LOCK_NAME and not _PARTIAL_FILE.fullmatch(entry.name) for entry in self.folder.iterdir()
        )
        if self.folder.exists() and not self.exists("zarr.json") and (has_other_files or not is_folder):
            raise InputError(
                f"Cannot write a store to {self.folder}: it holds something else. Use a new folder, or one with a "
                "store."
            )
        target = self.folder / part
        is_zarr = any((target / name / "zarr.json").is_file() for name in (".", "status"))
        if target.is_symlink() or (target.exists() and not is_zarr):
            raise InputError(
                f"Cannot write part {part!r}: {target} was not created by Zarr, and is never deleted. Pass another "
                "--part."
            )

    def lock(self) -> AbstractContextManager[None]:
        return hold_store(self.folder)

    def read_lock(self) -> str:
        return read_lock(self.folder)

    def renew_lock(self) -> None:
        renew_lock(self.folder)

    def free_bytes(self) -> int:
        existing = next(folder for folder in (self.folder, *self.folder.parents) if folder.is_dir())
        return shutil.disk_usage(existing).free

    def zarr_store(self) -> RegularFiles:
        return RegularFiles(self.folder)

    def exists(self, key: str) -> bool:
        return (self.folder / key).exists()

    def size(self, key: str) -> int:
        path = self.folder / key
        files = path.rglob("*") if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())

    def list_names(self) -> list[str]:
        with os.scandir(self.folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())

    def get(self, key: str, *, max_bytes: int = MAX_TABLE_BYTES) -> bytes:
        path = self.folder / key
        try:
            return read_regular(path, max_bytes=max_bytes)
        except ValueError as error:
            raise InputError(f"Cannot read {path}: {error}. Convert the part again with --overwrite.") from error
        except OSError as error:
            refuse_unreadable(error, path)
            raise

    def view(self, key: str, *, max_bytes: int) -> npt.NDArray[np.uint8]:
        return map_regular(self.folder / key, max_bytes=max_bytes)

    def put(self, key: str, content: bytes, *, before_replace: Callable[[], None] | None = None) -> None:
        write_atomic(self.folder / key, content, inside=self.folder, before_replace=before_replace)

    def open_writer(
        self, key: str, *, before_replace: Callable[[], None] | None = None
    ) -> AbstractContextManager[WritableFile]:
        # Past the page cache, whose memory costs more than all of the rest of the writing; see `open_atomic`.
        return open_atomic(self.folder / key, page_cache=False, inside=self.folder, before_replace=before_replace)

    def delete(self, key: str) -> None:
        path = self.folder / key
        refuse_links(self.folder, path)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def create_part(self, name: str, objects: Mapping[str, bytes]) -> None:
        # Built beside its final path and renamed: the part exists with all its arrays or not at all.
        new, old = (self.folder / f".{name}.{ending}" for ending in ("new", "old"))
        # Concurrently: some 20 small files wait for the disk together, not one after the other.
        with ThreadPoolExecutor(8) as threads:
            for written in [threads.submit(self.put, f"{new.name}/{key}", content) for key, content in objects.items()]:
                written.result()
        if (self.folder / name).exists():
            (self.folder / name).rename(old)
        new.rename(self.folder / name)
        self.delete(old.name)

    def remove_partial(self, part: str) -> None:
        if not self.exists("zarr.json"):
            return  # not a store yet: what is here is not ours to delete
        for ending in ("new", "old"):
            self.delete(f".{part}.{ending}")
        if (self.folder / part).is_symlink():
            return  # nothing of what is behind it is ours
        walked = [(folder, files) for folder, _, files in os.walk(self.folder / part)]
        walked.append((str(self.folder), [entry.name for entry in self.folder.iterdir() if entry.is_file()]))
        for folder, files in walked:
            for file in filter(_PARTIAL_FILE.fullmatch, files):
                Path(folder, file).unlink()
