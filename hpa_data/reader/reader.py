"""The reader of a store: random batches from one or several parts, by whichever engine fits them."""

import logging
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.dataset import FAILED, is_readable
from hpa_data.errors import InputError
from hpa_data.reader.ahead import Ahead
from hpa_data.reader.cache import Cache
from hpa_data.reader.disk_cache import get_disk_cache
from hpa_data.reader.engine import Engine, Job, ReaderSpec, Verify, make_picker
from hpa_data.reader.mmap_engine import MappedShards
from hpa_data.reader.ranges_engine import RangeImages
from hpa_data.reader.tensorstore_engine import TensorStoreImages
from hpa_data.system.memory import BufferPool

# Values of `Reader.parents` that are not an index.
ORIGINAL, ABSENT = -1, -2

# More than any machine has cores for.
MAX_THREADS = 1024


class PendingBatch:
    """A batch that is being read; to be waited for in the process that requested it."""

    def __init__(self, images: npt.NDArray[np.uint8], jobs: Sequence[Job], on_read: Callable[[], None]) -> None:
        self._images = images
        self._jobs = jobs
        self._on_read = on_read
        self._process = os.getpid()

    def result(self) -> npt.NDArray[np.uint8]:
        """Wait for the images, uint8 (B, Y, X, C); returns and raises as `Reader.read` does."""
        if self._process != os.getpid():
            raise ValueError(
                "Cannot wait for a batch in a forked process: it was requested before the fork. Request it after the "
                "fork."
            )
        error = self._wait()
        if error is not None:
            traceback.clear_frames(error.__traceback__)  # no cycle may keep the memory, see `ThreadTeam`
            try:
                raise error
            finally:
                del error, self
        self._on_read()
        return self._images

    def _wait(self) -> InputError | None:
        """Wait for all jobs, even if one fails: the memory must not be reused while another job writes to it."""
        errors = []
        for job in self._jobs:
            try:
                job.result()
            except InputError as error:
                errors.append(error)
        return errors[0] if errors else None


class Reader:
    """Reads any samples of one or several parts, in any order.

    A context manager. Safe to use from several threads at once, and from other processes: one that it is sent to (it
    opens its files again there), and, with the engine ``mapped``, one that is forked. `multiprocessing` before Python
    3.14, and with it the workers of PyTorch's `DataLoader`, fork a process that already holds the reader. So each
    class below that has threads or a lock makes new ones in a child; only batches requested before a fork cannot be
    waited for after it. The other engines refuse: TensorStore cannot be forked.

    Attributes
    ----------
    engine : {"mapped", "ranges", "tensorstore"}
        What reads the images: ``mapped`` if all parts are local and have the layout that `hpa convert` writes,
        ``ranges`` if they have it and are all at URLs.
    ids : list of str, length N
        Sample ids, part after part.
    parts : list of str, length N
        The part of each sample. An id is unique within its part; two parts may have the same.
    labels : array of uint8, shape (N, K), or None
        Multi-hot; None if a part has no labels.
    status : array of uint8, shape (N,)
        1 ok, 2 failed, 3 ok with a filled channel, 0 pending.
    parents : array of int64, shape (N,)
        Index of the sample that an augmented copy was made from; ORIGINAL if it is not a copy, ABSENT if its
        parent is in none of these parts.
    codecs : list of str, length N
        Name of each sample's codec.
    image_shape : tuple of int
        (Y, X, C), of the channels that are read.
    dataset : Dataset
        The channels that are read, and the classes of all parts.
    """

    def __init__(
        self,
        parts: Sequence[ReaderSpec],
        *,
        threads: int | None = None,
        cache_bytes: int = 0,
        channels: Sequence[str] | None = None,
        verify: Verify = "first",
    ) -> None:
        shapes = {part.layout.image_shape: part.name for part in parts}
        if len(shapes) != 1:
            listed = ", ".join(f"{name} with {shape}" for shape, name in sorted(shapes.items()))
            raise InputError(
                f"parts must have the same image shape. Received: {listed or 'no parts'}. Read them one by one."
            )
        first = parts[0]
        other = next((part for part in parts if not part.dataset.is_like(first.dataset)), None)
        if other is not None:
            raise InputError(
                f"parts must be of one data set. Received: {first.name}, of {first.dataset.name}, and {other.name}, of "
                f"{other.dataset.name}, with other channels or classes. Read them one by one."
            )
        if threads is not None and not (isinstance(threads, int) and 1 <= threads <= MAX_THREADS):
            raise InputError(
                f"threads must be from 1 to {MAX_THREADS}. Received: threads={threads}. Leave it out for one per core."
            )
        if cache_bytes < 0:
            raise InputError(f"cache_bytes must be at least 0. Received: cache_bytes={cache_bytes}. Leave it out.")
        if verify not in get_args(Verify):
            raise InputError(
                f"verify must be one of {', '.join(get_args(Verify))}. Received: {verify=}. Choose one of them."
            )
        self.dataset = first.dataset if channels is None else first.dataset.select(channels)
        ((height, width, _),) = shapes
        self.image_shape = height, width, len(self.dataset.channels)
        self.ids = [name for part in parts for name in part.ids]
        self.parts = [part.name for part in parts for _ in part.ids]
        self.status = np.concatenate([part.status for part in parts])
        self._is_readable = is_readable(self.status)
        labels = [part.labels for part in parts if part.labels is not None]
        self.labels = np.concatenate(labels) if len(labels) == len(parts) else None
        self.codecs = [part.codec.name for part in parts for _ in range(part.layout.n_samples)]
        self.parents = _find_parents(parts)
        self._arguments = (tuple(parts), threads, cache_bytes, channels, verify)
        self._buffers = BufferPool()
        self._cache = Cache(len(self.ids), self.image_shape, cache_bytes, threads=threads or CPU_COUNT)
        self._engine: Engine = _open_engine(parts, threads or CPU_COUNT, channels, verify)
        self._is_open = True

    @property
    def engine(self) -> str:
        """Name of the engine that reads the images."""
        return self._engine.name

    def __len__(self) -> int:
        return len(self.ids)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, self._arguments

    def close(self) -> None:
        """Stop the threads and release the files; batches that were returned stay valid."""
        self._is_open = False
        self._engine.close()
        # TensorFlow keeps every reader that its pipelines have called until the process ends: release what is large.
        self._cache = Cache(len(self.ids), self.image_shape, 0)
        self._buffers.clear()

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Read samples by index.

        Parameters
        ----------
        indices : sequence of int, length B
            Any order, repeats allowed; each in 0..N-1.

        Returns
        -------
        array of uint8, shape (B, Y, X, C)
            C-contiguous and page-aligned. The memory is reused once nothing refers to it or to a view of it.

        Raises
        ------
        IndexError
            If an index is out of range.
        InputError
            If a sample is pending or failed, or its bytes are missing or damaged. Its image is compared with its
            checksum when this reader reads it for the first time, or as `verify` says.
        ValueError
            If the reader is closed.
        """
        return self.read_async(indices).result()

    def read_async(self, indices: npt.ArrayLike) -> PendingBatch:
        """Start to read samples by index and return at once; `result` of the batch returns what `read` does."""
        self._check_open()
        samples = self._check(indices)
        batch = self._buffers.acquire((len(samples), *self.image_shape))  # (B, Y, X, C)
        if not self._cache.capacity:
            return PendingBatch(batch, self._engine.read_async(samples, batch, np.arange(len(samples))), lambda: None)
        cache = self._cache
        missing, copies = cache.copy_async(samples, batch)
        reads = self._engine.read_async(samples[missing], batch, missing)
        return PendingBatch(batch, [*copies, *reads], lambda: cache.insert(samples, batch, missing))

    def read_one(self, index: int) -> npt.NDArray[np.uint8]:
        """Read one sample in the calling thread, for callers that already use threads.

        Parameters
        ----------
        index : int
            In 0..N-1.

        Returns
        -------
        array of uint8, shape (Y, X, C)
            In memory of its own. Raises as `read` does.
        """
        self._check_open()
        image = np.empty(self.image_shape, np.uint8)
        self._engine.read_one(int(self._check([index])[0]), image)
        return image

    def look_ahead(self) -> Ahead | None:
        """Begin to read ahead for one iteration over batches; None if nothing would be gained.

        `iter_batches` and the pipelines do it by themselves. `expect` of what is returned is told the indices of the
        samples that will be requested, in their order, up to `n_samples` of them at a time. It changes no result.
        """
        self._check_open()
        ahead = self._engine.look_ahead()
        return None if ahead is None else _ReaderAhead(ahead, self._is_readable, self._cache)

    def expect(self, indices: npt.ArrayLike) -> None:
        """Tell which samples are read next, in this order, for a pass over the whole store; see `look_ahead`."""
        samples = self._check(indices)
        ahead = self.look_ahead()
        if ahead is not None:
            ahead.expect(samples)

    def release(self, indices: npt.ArrayLike) -> None:
        """Give back memory that the files of these samples take, for a pass over the whole store.

        They are mapped, so the pages that were read count as memory of the process. The system would take them back
        when it needs them, but a batch system with a memory limit may not wait for that. They can be read again.
        """
        self._check_open()
        self._engine.release(self._check(indices))

    def encoded_chunk(self, index: int) -> npt.NDArray[np.uint8] | None:
        """Return a view of the encoded bytes of a sample, uint8 (n_bytes,); None if the engine is not ``mapped``.

        Do not write to it, nor use it after `close`. Raises as `read` does.
        """
        self._check_open()
        (sample,) = self._check([index])
        return self._engine.encoded_chunk(int(sample)) if isinstance(self._engine, MappedShards) else None

    def _check_open(self) -> None:
        if not self._is_open:
            raise ValueError("Cannot read: the reader is closed. Open a new one.")

    def _check(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the indices as int64 (B,); an error unless each is of a readable sample."""
        given = np.asarray(indices)
        if given.ndim != 1 or not (given.size == 0 or given.dtype.kind in "iu"):
            raise IndexError(
                f"indices must be a sequence of integers. Received: an array of shape {given.shape}, dtype "
                f"{given.dtype}. Pass a list of integers."
            )
        if given.size and (given.min() < 0 or given.max() >= len(self)):
            outside = given[(given < 0) | (given >= len(self))]
            raise IndexError(f"indices must be from 0 to {len(self) - 1}. Received: {outside[0]}. Remove it.")
        chosen = given.astype(np.int64)
        readable = self._is_readable[chosen]
        if not readable.all():
            index = chosen[readable.argmin()]
            failed = self.status[index] == FAILED
            raise InputError(
                f"Cannot read sample {self.ids[index]!r}, index {index}: "
                f"{'its conversion failed' if failed else 'it is not converted yet'}. Leave it out (see `status`), or "
                f"convert the part again{' with --overwrite' if failed else ''}."
            )
        return chosen


class _ReaderAhead:
    """What the engine reads ahead: readable samples that are not in the cache."""

    def __init__(self, ahead: Ahead, is_readable: npt.NDArray[np.bool_], cache: Cache) -> None:
        self._ahead = ahead
        self._is_readable = is_readable
        self._cache = cache

    @property
    def n_samples(self) -> int:
        return self._ahead.n_samples

    def expect(self, samples: npt.NDArray[np.int64]) -> None:
        known = samples[(samples >= 0) & (samples < len(self._is_readable))]
        self._ahead.expect(known[self._is_readable[known] & ~self._cache.holds(known)])


def _open_engine(parts: Sequence[ReaderSpec], threads: int, channels: Sequence[str] | None, verify: Verify) -> Engine:
    """Open the engine for these parts: the fast one if it can read them all."""
    picker = make_picker(parts[0].dataset, channels)
    if all(part.has_native_layout for part in parts):
        if all(isinstance(part.images, Path) for part in parts):
            return MappedShards(parts, threads=threads, picker=picker, verify=verify)
        if not any(isinstance(part.images, Path) for part in parts):
            return RangeImages(parts, threads=threads, picker=picker, verify=verify)
    cache = get_disk_cache()
    if cache is not None:
        logging.getLogger(__name__).warning(
            "The cache in %s is not used: the images of %s were chunked or encoded differently, or are in a folder.",
            cache.folder,
            ", ".join(part.name for part in parts),
        )
    return TensorStoreImages(parts, threads=threads, picker=picker, verify=verify)


def _reopen(
    parts: Sequence[ReaderSpec],
    threads: int | None,
    cache_bytes: int,
    channels: Sequence[str] | None,
    verify: Verify,
) -> Reader:
    """Open a reader again in the process that it was sent to."""
    return Reader(parts, threads=threads, cache_bytes=cache_bytes, channels=channels, verify=verify)


def _find_parents(parts: Sequence[ReaderSpec]) -> npt.NDArray[np.int64]:
    """Return the index of the parent of each sample, int64 (N,)."""
    if not any(part.copies for part in parts):
        return np.full(sum(len(part.ids) for part in parts), ORIGINAL)
    positions = {key: i for i, key in enumerate((part.name, name) for part in parts for name in part.ids)}
    found: list[int] = []
    for part in parts:
        if part.copies is None:
            found += [ORIGINAL] * len(part.ids)
        else:
            keys = zip(part.copies.parts, part.copies.parents, strict=True)
            found += [positions.get(key, ABSENT) for key in keys]
    return np.array(found, np.int64)
