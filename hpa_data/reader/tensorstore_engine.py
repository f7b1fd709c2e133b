"""The engine that reads images by TensorStore: at a URL, or with other chunks or codecs than `hpa convert` writes."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError, first_line
from hpa_data.reader.engine import ReaderSpec, SampleRows
from hpa_data.reader.kvstore import import_tensorstore, make_kvstore, make_retries

# For shard indexes, and for decoded chunks that hold more than one sample.
CACHE_BYTES = 64 * 2**20


class TensorStoreImages:
    """The images of any parts, wherever they are stored and however they are chunked."""

    name = "tensorstore"

    def __init__(self, parts: Sequence[ReaderSpec], *, threads: int) -> None:
        self._parts = tuple(parts)
        self._rows = SampleRows(parts)
        self._ts = import_tensorstore()
        settings = {
            "cache_pool": {"total_bytes_limit": CACHE_BYTES},
            "data_copy_concurrency": {"limit": threads},
            "file_io_concurrency": {"limit": threads},
        }
        for part in parts:
            settings |= make_retries(make_kvstore(part.images)["driver"])
        self._context = self._ts.Context(settings)
        self._process = os.getpid()
        self._arrays = [self._open(part) for part in parts]

    def read_async(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]
    ) -> Sequence["_PartRead"]:
        """Start to read `samples`, int64 (M,), into `batch[positions]`."""
        if self._process != os.getpid():  # TensorStore would abort the process
            raise InputError(
                "Cannot read through TensorStore in a forked process. Start workers with the `spawn` method, or open "
                "the reader in each worker."
            )
        target = self._ts.array(batch, copy=False)
        numbers, rows = self._rows.locate(samples)
        jobs = []
        for number in np.unique(numbers).tolist():
            in_part = numbers == number
            future = target[positions[in_part]].write(self._arrays[number][rows[in_part]])
            jobs.append(_PartRead(future, self._parts[number]))
        return jobs

    def read_one(self, sample: int, out: npt.NDArray[np.uint8]) -> None:
        """Read one sample into `out`."""
        for job in self.read_async(np.array([sample]), out[None], np.zeros(1, np.int64)):
            job.result()

    def close(self) -> None:
        """Release the arrays."""
        self._arrays = []

    def _open(self, part: ReaderSpec) -> Any:
        """Open the images of a part; only metadata is read."""
        spec = {
            "driver": "zarr3",
            "kvstore": make_kvstore(part.images),
            # A missing chunk is an error, not a black image.
            "fill_missing_data_reads": False,
            "recheck_cached_metadata": "open",
            "recheck_cached_data": "open",
        }
        try:
            array = self._ts.open(spec, context=self._context, open=True, read=True).result()
        except (ValueError, OSError) as error:
            raise InputError(
                f"Cannot read part {part.name!r}: TensorStore does not open its images, {part.images}: "
                f"{first_line(error)}. Convert the part again."
            ) from error
        expected = (part.layout.n_samples, *part.layout.image_shape)
        if (array.dtype.name, tuple(array.shape)) != ("uint8", expected):
            raise InputError(
                f"Cannot read part {part.name!r}: its images, {part.images}, are {array.dtype.name} of shape "
                f"{tuple(array.shape)} instead of uint8 of shape {expected}. Convert the part again."
            )
        return array


class _PartRead:
    """The samples of one part that TensorStore is reading."""

    def __init__(self, future: Any, part: ReaderSpec) -> None:
        self._future = future
        self._part = part

    def result(self) -> None:
        """Wait until the samples are read; InputError if they cannot be."""
        try:
            self._future.result()
        except (ValueError, OSError) as error:
            remedy = "Convert the part again."
            if "byte range" in str(error):
                remedy = "Use a server that supports range requests."
            raise InputError(
                f"Cannot read samples of part {self._part.name!r}: their bytes in {self._part.images} are missing or "
                f"damaged: {first_line(error)}. {remedy}"
            ) from error
