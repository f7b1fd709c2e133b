"""A cache of encoded chunks on a local disk, for stores at URLs: shared by runs and by processes at the same time.

For each shard there is one file, with the chunks where they are in the shard, and behind them a record of each: the
CRC-32 of its bytes, and their number, 0 as long as it is not there. A record is written after its chunk, and compared
when a process reads the chunk for the first time: what a killed process or a power failure tore is fetched anew. The
files of a part are in a folder named after its fingerprint and its checksums, a file after the index of its shard: so
another part, or another version of it, has other files. Who uses a part holds a lock on its folder, which the system
releases when a process ends in any way.
"""

import errno
import fcntl
import hashlib
import json
import logging
import os
import resource
import shutil
import struct
import threading
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.format.statistics import compute_checksum
from hpa_data.reader.cache_folder import SAFELY, WAIT_S, count_bytes, delete_part, list_parts, mark_folder, take_lock
from hpa_data.reader.engine import ReaderSpec
from hpa_data.system.mapping import MappedFile
from hpa_data.system.os_errors import count_open_files

# Of a chunk: CRC-32 and bytes.
RECORD = struct.Struct("<II")
# Written between two looks at how much all processes have written.
COUNT_BYTES = 64 * 2**20
# Files that the process may need to open beside the shards: as many connections, and what else it reads.
SPARE_FILES = 1024


class DiskCache:
    """A folder of chunks.

    Parameters
    ----------
    folder : Path
        Made if it is missing.
    max_bytes : int, optional
        Of all parts; by default half of what is free on its disk. Parts that no process uses are deleted to stay below,
        the one that was used longest ago first; then, nothing more is kept.

    Raises
    ------
    InputError
        If it holds anything else, or cannot be written.
    """

    def __init__(self, folder: Path, max_bytes: int | None = None) -> None:
        self.folder = folder.absolute()
        mark_folder(self.folder)
        self.n_bytes = count_bytes(self.folder)
        free = shutil.disk_usage(self.folder).free
        self.max_bytes = self.n_bytes + free // 2 if max_bytes is None else max_bytes
        self._n_new = 0
        self._lock = threading.Lock()
        self._is_full = False

    def open_part(self, part: ReaderSpec) -> "PartCache | None":
        """Open the chunks of a part; None if that is not possible, which is logged."""
        key = hashlib.sha256(f"{part.fingerprint} {part.layout}".encode() + part.checksums.tobytes()).hexdigest()[:32]
        folder = self.folder / key
        try:
            lock = take_lock(folder, fcntl.LOCK_SH, wait_s=WAIT_S)
            if lock is None:
                raise OSError(errno.EBUSY, f"part {part.name!r} is being deleted from it")
            described = {"store": str(part.images).rpartition(f"/{part.name}/")[0], "part": part.name}
            os.pwrite(lock, f"{json.dumps(described)}\n".encode(), 0)
        except OSError as error:
            self.stop(error)
            return None
        _allow_files(part.layout.n_shards)
        return PartCache(self, folder, part, lock)

    def give_back(self, n_bytes: int) -> None:
        """Reserve so many bytes less: they were not written."""
        with self._lock:
            self._n_new -= n_bytes

    def reserve(self, n_bytes: int) -> bool:
        """Return whether so many bytes more may be written."""
        with self._lock:
            self._n_new += n_bytes
            if self._n_new >= COUNT_BYTES or self.n_bytes + self._n_new > self.max_bytes:
                self._n_new, self.n_bytes = n_bytes, count_bytes(self.folder)
            if self.n_bytes + self._n_new > self.max_bytes:
                self._evict()
            fits = self.n_bytes + self._n_new <= self.max_bytes
            if not fits:
                self._n_new -= n_bytes
            return fits and not self._is_full

    def _evict(self) -> None:
        """Delete parts that no process uses, until there is room."""
        for part in sorted(list_parts(self.folder), key=lambda part: part.used_s):
            if self.n_bytes + self._n_new <= self.max_bytes:
                return
            if not part.is_used and delete_part(part):
                self.n_bytes -= part.n_bytes

    def stop(self, error: OSError) -> None:
        """Keep nothing more in this process, as its disk is full or fails; said once."""
        if not self._is_full:
            self._is_full = True
            logging.getLogger(__name__).warning(
                "The cache in %s takes nothing more: %s. Reading goes on without it.", self.folder, error.strerror
            )


class PartCache:
    """The chunks of one part in a cache; safe to use from several threads, and beside other processes."""

    def __init__(self, cache: DiskCache, folder: Path, part: ReaderSpec, lock: int) -> None:
        self._cache = cache
        self._folder = folder
        self._layout = part.layout
        self._release = weakref.finalize(self, os.close, lock)
        self._files: dict[int, MappedFile] = {}
        # Of each sample: whether this process has compared its record, and found it good.
        self._is_good = bytearray(part.layout.n_samples)

    def open_shard(self, shard: int, index: npt.NDArray[np.uint8]) -> None:
        """Open the file of a shard, by the bytes of its index; without it, the chunks of the shard are not kept."""
        layout = self._layout
        path = self._folder / f"{shard}-{compute_checksum(index):08x}"
        size = layout.task_bytes + RECORD.size * layout.shard_samples
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | SAFELY, 0o600)
            try:
                if os.fstat(file).st_size != size:
                    os.ftruncate(file, size)  # without any blocks
            finally:
                os.close(file)
            self._files[shard] = MappedFile(path, max_bytes=size)
        except (OSError, ValueError) as error:
            self._cache.stop(error if isinstance(error, OSError) else OSError(0, str(error)))

    def find(self, row: int, first: int, stop: int) -> npt.NDArray[np.uint8] | None:
        """Return a view of the chunk of a sample, bytes `first` to `stop` of its shard; None if it is not here."""
        shard, place = divmod(row, self._layout.shard_samples)
        file = self._files.get(shard)
        if file is None:
            return None
        is_first = not self._is_good[row]
        try:
            if is_first:
                begin = self._layout.task_bytes + RECORD.size * place
                checksum, n_bytes = RECORD.unpack(file.read(begin, begin + RECORD.size, is_first=True))
                if n_bytes != stop - first:
                    return None
            chunk = file.read(first, stop, is_first=is_first)
            if is_first and compute_checksum(chunk) != checksum:
                return None
        except InputError:  # somebody has cut the file short
            del self._files[shard]
            return None
        self._is_good[row] = 1
        return chunk

    def forget(self, row: int) -> bool:
        """Forget the chunk of a sample, whose bytes are not its image; return whether it had been found here."""
        shard, place = divmod(row, self._layout.shard_samples)
        was_good, self._is_good[row] = self._is_good[row], 0
        file = self._files.get(shard)
        if was_good and file is not None:
            self._write(file, bytes(RECORD.size), self._layout.task_bytes + RECORD.size * place)
        return bool(was_good)

    def keep(self, row: int, first: int, chunk: npt.NDArray[np.uint8]) -> None:
        """Write the chunk of a sample, from byte `first` of its shard on, and then its record, if there is room."""
        shard, place = divmod(row, self._layout.shard_samples)
        file = self._files.get(shard)
        if file is None or self._is_good[row] or not self._cache.reserve(len(chunk)):
            return
        if self._write(file, chunk.data, first):
            record = RECORD.pack(compute_checksum(chunk), len(chunk))
            self._is_good[row] = self._write(file, record, self._layout.task_bytes + RECORD.size * place)
        else:
            self._cache.give_back(len(chunk))

    def _write(self, file: MappedFile, content: bytes | memoryview, first: int) -> bool:
        """Write bytes from a place on; return whether that was possible."""
        try:
            opened = os.open(file.path, os.O_WRONLY | SAFELY)
            try:
                left = memoryview(content)
                while left:
                    n_written = os.pwrite(opened, left, first)
                    left, first = left[n_written:], first + n_written
            finally:
                os.close(opened)
        except OSError as error:
            self._cache.stop(error)
            return False
        return True

    def close(self) -> None:
        """Release the files."""
        self._files = {}
        self._release()


def _allow_files(n_files: int) -> None:
    """Raise the limit of open files of this process, as far as the system allows: each shard stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count_open_files() + n_files + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


_CURRENT: list[DiskCache | None] = [None]


def get_disk_cache() -> DiskCache | None:
    """Return the cache of this process, for readers that are opened now."""
    return _CURRENT[0]


def set_disk_cache(cache: DiskCache | None) -> DiskCache | None:
    """Set the cache of this process; return the one before."""
    before, _CURRENT[0] = _CURRENT[0], cache
    return before
