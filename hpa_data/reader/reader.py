"""Random batches of a store: what every engine has in common, and which engine reads."""

import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.dataset import FAILED, is_readable
from hpa_data.errors import InputError
from hpa_data.reader.cache import Cache
from hpa_data.reader.engine import Engine, Job, ReaderSpec
from hpa_data.reader.mmap_engine import MappedShards
from hpa_data.reader.tensorstore_engine import TensorStoreImages
from hpa_data.system.memory import BufferPool

# Values of `Reader.parents` that are no index.
ORIGINAL, ABSENT = -1, -2


# More than any machine has cores for.
MAX_THREADS = 1024


class PendingBatch:
    """A batch that is being read, in the process that began it."""

    def __init__(self, images: npt.NDArray[np.uint8], jobs: Sequence[Job], on_end: Callable[[], None]) -> None:
        self._images = images
        self._jobs = jobs
        self._on_end = on_end
        self._process = os.getpid()

    def result(self) -> npt.NDArray[np.uint8]:
        """Wait until it is read; uint8 (B, Y, X, C), as `Reader.read` returns it and raises."""
        if self._process != os.getpid():
            raise ValueError(
                "A batch must be taken in the process that began to read it. Received: one from before a fork. Begin "
                "it after the fork."
            )
        fault = self._wait()
        if fault is not None:
            traceback.clear_frames(fault.__traceback__)  # as in `threads`
            try:
                raise fault
            finally:
                del fault, self
        self._on_end()
        return self._images

    def _wait(self) -> InputError | None:
        """Wait for all jobs, even if one fails: memory must not be used again while another still writes into it."""
        faults = []
        for job in self._jobs:
            try:
                job.result()
            except InputError as fault:
                faults.append(fault)
        return faults[0] if faults else None


class Reader:
    """Reads any samples of one or several parts, in any order.

    Safe to use from several threads at once, and in a process that it was sent to; after a fork too, if it is the
    engine ``mapped`` and no batch was being read. A context manager; `close` ends its threads.

    Attributes
    ----------
    engine : {"mapped", "tensorstore"}
        What reads: mapped shard files where all parts are local and laid out as `hpa convert` does it, else
        TensorStore.
    ids : list of str, length N
        Sample ids, part after part.
    labels : array of uint8, shape (N, K), or None
        Multi-hot; None if a part has no labels.
    status : array of uint8, shape (N,)
        1 ok, 2 failed, 3 ok with a filled channel, 0 not yet written.
    parents : array of int64, shape (N,)
        The index of the sample that a copy was made of; ORIGINAL for what is no copy, ABSENT where the parent is in no
        part that is read.
    codecs : list of str, length N
        Name of the profile that each sample was converted with.
    image_shape : tuple of int
        (Y, X, C).
    """

    def __init__(self, parts: Sequence[ReaderSpec], *, threads: int | None = None, cache_bytes: int = 0) -> None:
        shapes = {part.layout.image_shape for part in parts}
        if len(shapes) != 1:
            raise InputError(f"Parts read together must have one image shape. Received: {shapes}. Choose other parts.")
        if threads is not None and not (isinstance(threads, int) and 1 <= threads <= MAX_THREADS):
            raise InputError(
                f"threads must be from 1 to {MAX_THREADS}. Received: threads={threads}. Leave it out for one a core."
            )
        if cache_bytes < 0:
            raise InputError(f"cache_bytes must be at least 0. Received: cache_bytes={cache_bytes}. Leave it out.")
        (self.image_shape,) = shapes
        self.ids = [name for part in parts for name in part.ids]
        self.status = np.concatenate([part.status for part in parts])
        self._is_readable = is_readable(self.status)
        labels = [part.labels for part in parts if part.labels is not None]
        self.labels = np.concatenate(labels) if len(labels) == len(parts) else None
        self.codecs = [part.codec.name for part in parts for _ in range(part.layout.n_samples)]
        self.parents = _find_parents(parts)
        self._remake = (tuple(parts), threads, cache_bytes)
        self._buffers = BufferPool()
        self._cache = Cache(len(self.ids), self.image_shape, cache_bytes, threads=threads or CPU_COUNT)
        self._engine: Engine = _open_engine(parts, threads or CPU_COUNT)
        self._is_open = True

    @property
    def engine(self) -> str:
        """Name of what reads the images."""
        return self._engine.name

    def __len__(self) -> int:
        return len(self.ids)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, self._remake

    def close(self) -> None:
        """End the threads and let go of the files; batches handed out stay valid."""
        self._is_open = False
        self._engine.close()
        # TensorFlow keeps what its pipelines have called for as long as the process lives.
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
            C-contiguous and page-aligned. Its memory is used again once nothing refers to it or to a view of it.

        Raises
        ------
        IndexError
            If an index is out of range.
        InputError
            If a sample is pending or failed, or its bytes are missing or cannot be decoded. Checksums are not
            compared: `hpa verify` does that.
        ValueError
            If the reader is closed.
        """
        return self.start(indices).result()

    def start(self, indices: npt.ArrayLike) -> PendingBatch:
        """Begin to read samples by index, and go on with something else: its `result` gives what `read` returns."""
        self._check_open()
        samples = self._check(indices)
        batch = self._buffers.acquire((len(samples), *self.image_shape))  # (B, Y, X, C)
        if not self._cache.capacity:
            return PendingBatch(batch, self._engine.start(samples, batch, np.arange(len(samples))), lambda: None)
        cache = self._cache
        absent, copying = cache.start(samples, batch)
        reading = self._engine.start(samples[absent], batch, absent)
        return PendingBatch(batch, [*copying, *reading], lambda: cache.insert(samples, batch, absent))

    def read_one(self, index: int) -> npt.NDArray[np.uint8]:
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
        self._check_open()
        image = np.empty(self.image_shape, np.uint8)
        self._engine.read_one(int(self._check([index])[0]), image)
        return image

    def encoded_chunk(self, index: int) -> npt.NDArray[np.uint8] | None:
        """Return the encoded bytes of a sample, uint8 (n_bytes,), as they lie in the map; None without a map.

        Not to be written to, nor used after `close`. Raises as `read` does.
        """
        self._check_open()
        (sample,) = self._check([index])
        return self._engine.encoded_chunk(int(sample)) if isinstance(self._engine, MappedShards) else None

    def _check_open(self) -> None:
        if not self._is_open:
            raise ValueError("A reader must be open. Received: one that was closed. Open another.")

    def _check(self, indices: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the indices as int64 (B,), each of a sample that can be read."""
        given = np.asarray(indices)
        if given.ndim != 1 or not (given.size == 0 or given.dtype.kind in "iu"):
            raise IndexError(
                f"indices must be a sequence of integers. Received: shape {given.shape}, {given.dtype}. Pass a list."
            )
        if given.size and (given.min() < 0 or given.max() >= len(self)):
            outside = given[(given < 0) | (given >= len(self))]
            raise IndexError(f"indices must be from 0 to {len(self) - 1}. Received: {outside[0]}. Take it out.")
        chosen = given.astype(np.int64)
        readable = self._is_readable[chosen]
        if not readable.all():
            index = chosen[readable.argmin()]
            failed = self.status[index] == FAILED
            raise InputError(
                f"Samples to read must have been converted. Received: index {index}, sample {self.ids[index]!r}, which "
                f"{'failed to convert' if failed else 'is not yet converted'}. Leave it out (see `status`), or convert "
                f"the part again{' with --overwrite' if failed else ''}."
            )
        return chosen


def _open_engine(parts: Sequence[ReaderSpec], threads: int) -> Engine:
    """Choose what reads these parts: the faster engine if it can read them all."""
    if all(part.has_native_layout and isinstance(part.images, Path) for part in parts):
        return MappedShards(parts, threads=threads)
    return TensorStoreImages(parts, threads=threads)


def _remake(parts: Sequence[ReaderSpec], threads: int | None, cache_bytes: int) -> Reader:
    """Open the same reader again, in another process."""
    return Reader(parts, threads=threads, cache_bytes=cache_bytes)


def _find_parents(parts: Sequence[ReaderSpec]) -> npt.NDArray[np.int64]:
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
