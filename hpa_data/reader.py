"""Random batches from the shards of a store, at the speed of memory.

Shard files are mapped and their index tables kept, so that a sample costs one decode straight into its place in the
batch, with no lookup and no copy between. Batch buffers are page-aligned and used again: a fresh 20 MB buffer a batch
would halve the rate by page faults, and TensorFlow takes an aligned array without copying it.
"""

import mmap
import os
import resource
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.errors import InputError
from hpa_data.layout import Layout
from hpa_data.manifest import Copies
from hpa_data.schema import FAILED, is_readable
from hpa_data.shards import Codec, decode_chunk, read_index

# Values of `Reader.parents` that are no index.
ORIGINAL, ABSENT = -1, -2

# Files that the rest of a program may want to have open beside the shards.
SPARE_FILES = 256


@dataclass(frozen=True, kw_only=True)
class PartFiles:
    """One part as the reader sees it: where its shards lie and what its samples are.

    Attributes
    ----------
    name : str
        The part's name, for messages.
    shard_paths : tuple of Path
        The file of each shard, in order.
    layout : Layout
    codec : Codec
    ids : list of str, length N
    labels : array of uint8, shape (N, K), or None
    status : array of uint8, shape (N,)
    copies : Copies, optional
        What the samples are copies of.
    """

    name: str
    shard_paths: tuple[Path, ...]
    layout: Layout
    codec: Codec
    ids: list[str]
    labels: npt.NDArray[np.uint8] | None
    status: npt.NDArray[np.uint8]
    copies: Copies | None = None


class Reader:
    """Reads any samples of one or several parts, in any order.

    Safe to use from several threads at once. A context manager; `close` ends its threads.

    Attributes
    ----------
    ids : list of str, length N
        Sample ids, part after part.
    labels : array of uint8, shape (N, K), or None
        Multi-hot; None if a part has no labels.
    status : array of uint8, shape (N,)
        1 ok, 2 failed, 3 ok with a filled channel, 0 not yet written.
    parents : array of int64, shape (N,)
        The index of the sample that a copy was made of; ORIGINAL for what is no copy, ABSENT where the parent is in no
        part that is read.
    image_shape : tuple of int
        (Y, X, C).
    """

    def __init__(self, parts: Sequence[PartFiles], *, threads: int | None = None) -> None:
        shapes = {part.layout.image_shape for part in parts}
        if len(shapes) != 1:
            raise InputError(f"Parts read together must have one image shape. Received: {shapes}. Choose other parts.")
        (self.image_shape,) = shapes
        self.ids = [name for part in parts for name in part.ids]
        self.status = np.concatenate([part.status for part in parts])
        labels = [part.labels for part in parts if part.labels is not None]
        self.labels = np.concatenate(labels) if len(labels) == len(parts) else None
        self.parents = _find_parents(parts)
        self._parts = tuple(parts)
        self._firsts = np.cumsum([0, *(part.layout.n_samples for part in parts)])
        _allow_open_files(sum(part.layout.n_shards for part in parts))
        self._shards = [_map_shards(part) for part in parts]
        self._buffers = _Buffers()
        self._threads = threads or CPU_COUNT
        # Decoding happens in these threads alone, even if there is but one: Blosc keeps the GIL in the main thread.
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="hpa-reader")

    def __len__(self) -> int:
        return len(self.ids)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and let go of the files; batches handed out stay valid."""
        self._pool.shutdown()
        self._shards = []

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Read samples by index.

        Parameters
        ----------
        indices : sequence of int, length B
            Any order, repeats allowed; each in 0..N-1.

        Returns
        -------
        array of uint8, shape (B, Y, X, C)
            C-contiguous and page-aligned. Its memory is used again once nothing refers to it or to a view of it.

        Raises
        ------
        IndexError
            If an index is out of range.
        InputError
            If a sample is pending or failed, or its bytes are damaged.
        """
        chosen = self._check(indices)
        batch = self._buffers.take((len(chosen), *self.image_shape))  # (B, Y, X, C)
        runs = np.array_split(np.arange(len(chosen)), min(self._threads, max(len(chosen), 1)))
        for job in [self._pool.submit(self._decode, chosen, batch, run) for run in runs]:
            job.result()
        return batch

    def read_here(self, index: int) -> npt.NDArray[np.uint8]:
        """Read one sample in the calling thread, for callers that have threads of their own.

        Parameters
        ----------
        index : int
            In 0..N-1.

        Returns
        -------
        array of uint8, shape (Y, X, C)
            Its own memory. Raises as `read` does.
        """
        batch = np.empty((1, *self.image_shape), np.uint8)
        self._decode(self._check([index]), batch, np.zeros(1, np.int64))
        return batch[0]

    def _check(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the indices as int64 (B,), each of a sample that can be read."""
        given = np.asarray(indices)
        if given.ndim != 1 or not (given.size == 0 or np.issubdtype(given.dtype, np.integer)):
            raise IndexError(
                f"indices must be a sequence of integers. Received: shape {given.shape}, {given.dtype}. Pass a list."
            )
        outside = given[(given < 0) | (given >= len(self))]
        if len(outside):
            raise IndexError(f"indices must be from 0 to {len(self) - 1}. Received: {outside[0]}. Take it out.")
        chosen = given.astype(np.int64)
        status = self.status[chosen]
        unreadable = np.flatnonzero(~is_readable(status))
        if len(unreadable):
            index = chosen[unreadable[0]]
            failed = self.status[index] == FAILED
            raise InputError(
                f"Samples to read must have been converted. Received: index {index}, sample {self.ids[index]!r}, which "
                f"{'failed to convert' if failed else 'is not yet converted'}. Leave it out (see `status`), or convert "
                f"the part again{' with --overwrite' if failed else ''}."
            )
        return chosen

    def _decode(
        self, chosen: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]
    ) -> None:
        """Decode the samples `chosen[places]` into `batch[places]`."""
        numbers = np.searchsorted(self._firsts, chosen[places], side="right") - 1
        for place, number in zip(places.tolist(), numbers.tolist(), strict=True):
            part = self._parts[number]
            sample = int(chosen[place] - self._firsts[number])
            shard, slot = divmod(sample, part.layout.shard_samples)
            file, index = self._shards[number][shard]
            start, stop = index[slot].tolist()
            try:
                decode_chunk(file[start:stop], batch[place], part.codec)
            except (RuntimeError, ValueError) as error:
                raise InputError(
                    f"The bytes of a sample must be whole. Received: sample {part.ids[sample]!r} of part "
                    f"{part.name!r}, damaged in {part.shard_paths[shard]}: {error}. Convert the part again."
                ) from error


def _find_parents(parts: Sequence[PartFiles]) -> npt.NDArray[np.int64]:
    """Find the index of each sample's parent, int64 (N,)."""
    if not any(part.copies for part in parts):
        return np.full(sum(len(part.ids) for part in parts), ORIGINAL)
    places = {key: i for i, key in enumerate((part.name, name) for part in parts for name in part.ids)}
    found: list[int] = []
    for part in parts:
        if part.copies is None:
            found += [ORIGINAL] * len(part.ids)
        else:
            keys = zip(part.copies.parts, part.copies.parents, strict=True)
            found += [places.get(key, ABSENT) for key in keys]
    return np.array(found, np.int64)


def _allow_open_files(n_files: int) -> None:
    """Raise this process's own limit of open files, within what the system grants, so that all shards can be mapped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(os.listdir("/dev/fd")) + n_files + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise InputError(
                f"The system must allow {wanted} open files to read {n_files} shards. Received: a limit of {hard}. "
                "Raise it (ulimit -Hn), or convert with more samples a shard."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _map_shards(part: PartFiles) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]]:
    """Map each shard file of a part: its bytes, uint8 (n_bytes,), and its index, uint64 (S, 2).

    A shard none of whose samples is readable need not exist.
    """
    shards: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]] = []
    size = part.layout.shard_samples
    readable = is_readable(part.status)
    for shard, path in enumerate(part.shard_paths):
        present = readable[shard * size : (shard + 1) * size]
        if not present.any():
            shards.append((np.empty(0, np.uint8), np.zeros((size, 2), np.uint64)))
            continue
        try:
            with path.open("rb") as file:
                mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
            index = read_index(mapped, shard_samples=size)
            if (index[: len(present), 0] == index[: len(present), 1])[present].any():
                raise ValueError("a sample that should be in it is absent")
        except (OSError, ValueError) as error:
            raise InputError(
                f"Each shard of part {part.name!r} must be a whole file. Received: {path}: {error}. Convert the part "
                "again."
            ) from error
        shards.append((mapped, index))
    return shards


class _Buffers:
    """Page-aligned memory for batches, used again when the last view of a batch dies."""

    def __init__(self) -> None:
        # A deque, because its append is atomic: a finaliser may run at any moment, in any thread.
        self._free: deque[mmap.mmap] = deque()

    def take(self, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Return an uninitialised uint8 array of that shape."""
        n_bytes = int(np.prod(shape))
        if n_bytes == 0:
            return np.empty(shape, np.uint8)
        memory = self._find(n_bytes)
        # Every view that NumPy makes of this array keeps `flat` itself alive, as its base is no array.
        flat = np.frombuffer(memory, np.uint8, n_bytes)
        weakref.finalize(flat, self._free.append, memory).atexit = False
        return flat.reshape(shape)

    def _find(self, n_bytes: int) -> mmap.mmap:
        """Return free memory that is large enough; what is too small is dropped for good."""
        while True:
            try:
                memory = self._free.pop()
            except IndexError:
                return mmap.mmap(-1, n_bytes)
            if len(memory) >= n_bytes:
                return memory
