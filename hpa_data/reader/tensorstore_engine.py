"""The engine that reads images by TensorStore: at a URL, or with other chunks or codecs than `hpa convert` writes."""

import math
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.format.statistics import compute_checksum
from hpa_data.reader.engine import ChannelPicker, ReaderSpec, SampleRows, Verify, make_damage_error
from hpa_data.reader.kvstore import import_tensorstore, make_retries
from hpa_data.reader.remote import Server
from hpa_data.system.memory import BufferPool

# For shard indexes, and for decoded chunks that hold more than one sample.
CACHE_BYTES = 64 * 2**20
# Of a shard, per sample, and some for chunks that are small.
INDEX_BYTES = 256


class TensorStoreImages:
    """The images of any parts, wherever they are stored and however they are chunked."""

    name = "tensorstore"

    def __init__(
        self,
        parts: Sequence[ReaderSpec],
        *,
        threads: int,
        picker: ChannelPicker | None = None,
        verify: Verify = "first",
    ) -> None:
        self._parts = tuple(parts)
        self._picker = picker
        self._buffers = BufferPool()  # for batches of images with all channels
        self._rows = SampleRows(parts)
        # Of each sample, whether it need not be compared with its checksum.
        self._is_trusted = np.full(sum(part.layout.n_samples for part in parts), verify == "never")
        self._trusts_again = verify == "first"
        self._ts = import_tensorstore()
        settings = {
            "cache_pool": {"total_bytes_limit": CACHE_BYTES},
            "data_copy_concurrency": {"limit": threads},
            "file_io_concurrency": {"limit": threads},
        }
        self._servers = [Server(part.images) for part in parts]
        for server in self._servers:
            settings |= make_retries(server.spec["driver"])
        self._context = self._ts.Context(settings)
        self._process = os.getpid()
        self._arrays = [self._open(part, server) for part, server in zip(parts, self._servers, strict=True)]

    def read_async(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]
    ) -> Sequence["_PartRead"]:
        """Start to read `samples`, int64 (M,), into `batch[positions]`."""
        if self._process != os.getpid():  # TensorStore would abort the process
            raise InputError(
                "Cannot read through TensorStore in a forked process. Start workers with the `spawn` method, or open "
                "the reader in each worker."
            )
        out, places = batch, positions
        if self._picker is not None:
            batch = self._buffers.acquire((len(samples), *self._parts[0].layout.image_shape))
            positions = np.arange(len(samples))
        target = self._ts.array(batch, copy=False)
        numbers, rows = self._rows.locate(samples)
        jobs = []
        for number in np.unique(numbers).tolist():
            in_part = numbers == number

            def start(number: int = number, in_part: npt.NDArray[np.bool_] = in_part) -> Any:
                return target[positions[in_part]].write(self._arrays[number][rows[in_part]])

            jobs.append(_PartRead(start, self._parts[number], self._servers[number]))
            new = in_part & ~self._is_trusted[samples]
            if new.any():
                jobs[-1].then(partial(self._compare, number, samples[new], rows[new], batch, positions[new]))
            if self._picker is not None:
                jobs[-1].then(partial(_pick, self._picker, batch, positions[in_part], out, places[in_part]))
        return jobs

    def read_one(self, sample: int, out: npt.NDArray[np.uint8]) -> None:
        """Read one sample into `out`."""
        for job in self.read_async(np.array([sample]), out[None], np.zeros(1, np.int64)):
            job.result()

    def _compare(
        self,
        number: int,
        samples: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        batch: npt.NDArray[np.uint8],
        positions: npt.NDArray[np.int64],
    ) -> None:
        """Compare samples, `rows` of a part, with their checksums; InputError."""
        part = self._parts[number]
        for row, position in zip(rows.tolist(), positions.tolist(), strict=True):
            if compute_checksum(batch[position]) != part.checksums[row]:
                raise make_damage_error(part, row, "the image fails its checksum")
        self._is_trusted[samples] = self._trusts_again

    def look_ahead(self) -> None:
        """Nothing is read ahead."""

    def release(self, samples: npt.NDArray[np.int64]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Release the arrays."""
        self._arrays = []

    def _open(self, part: ReaderSpec, server: Server) -> Any:
        """Open the images of a part; only metadata is read."""
        if isinstance(part.images, Path):
            _refuse_irregular(part.images)
        spec = {
            "driver": "zarr3",
            "kvstore": server.spec,
            # A missing chunk is an error, not a black image.
            "fill_missing_data_reads": False,
            "recheck_cached_metadata": "open",
            "recheck_cached_data": "open",
        }
        (array,) = server.read(
            [lambda: self._ts.open(spec, context=self._context, open=True, read=True)],
            f"part {part.name!r} at {part.images}",
            damaged=f"Cannot read part {part.name!r}: TensorStore does not open its images, {part.images}",
        )
        expected = (part.layout.n_samples, *part.layout.image_shape)
        if (array.dtype.name, tuple(array.shape)) != ("uint8", expected):
            raise InputError(
                f"Cannot read part {part.name!r}: its images, {part.images}, are {array.dtype.name} of shape "
                f"{tuple(array.shape)} instead of uint8 of shape {expected}. Convert the part again."
            )
        # A request is for the index of a shard, or for samples of it, which grow a little if they do not compress.
        n_bytes = math.prod(array.chunk_layout.write_chunk.shape)
        server.allow("c", n_bytes + n_bytes // 16 + INDEX_BYTES * array.chunk_layout.write_chunk.shape[0])
        return array


def _refuse_irregular(folder: Path) -> None:
    """Refuse an array with anything but regular files and folders: TensorStore would wait for a pipe, InputError."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if os.path.exists(path) and not os.path.isfile(path):
                raise InputError(f"Cannot read {path}: it is not a regular file. Convert the part again.")


def _pick(
    picker: ChannelPicker,
    images: npt.NDArray[np.uint8],
    positions: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
    places: npt.NDArray[np.int64],
) -> None:
    """Pick the channels of `images[positions]`, uint8 (M, Y, X, C), into `out[places]`, uint8 (M, Y, X, n)."""
    for position, place in zip(positions.tolist(), places.tolist(), strict=True):
        picker.pick(images[position], out[place])


class _PartRead:
    """The samples of one part that TensorStore is reading."""

    def __init__(self, start: Callable[[], Any], part: ReaderSpec, server: Server) -> None:
        self._started_s = time.monotonic()
        self._future = start()
        self._start = start
        self._part = part
        self._server = server
        self._checks: list[Callable[[], None]] = []

    def then(self, check: Callable[[], None]) -> None:
        """Call a function when the samples are read."""
        self._checks.append(check)

    def result(self) -> None:
        """Wait until the samples are read; InputError if they cannot be."""
        first: list[Any] = [self._future]
        self._server.read(
            [lambda: first.pop() if first else self._start()],
            f"samples of part {self._part.name!r} at {self._part.images}",
            damaged=f"Cannot read samples of part {self._part.name!r}: their bytes in {self._part.images} are missing "
            "or damaged",
            since_s=self._started_s,
        )
        for check in self._checks:
            check()
