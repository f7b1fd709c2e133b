"""Images that are no local shards of our own layout, read by TensorStore: at a URL, or chunked or encoded otherwise."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError, first_line
from hpa_data.reader.engine import ReaderSpec
from hpa_data.reader.kvstore import import_tensorstore, make_kvstore, make_retries

# What TensorStore may keep of index tables, and of decoded chunks that hold more than one sample.
CACHE_BYTES = 64 * 2**20


class TensorStoreImages:
    """The images of some parts, wherever they lie and however they are chunked."""

    name = "tensorstore"

    def __init__(self, parts: Sequence[ReaderSpec], *, threads: int) -> None:
        self._parts = tuple(parts)
        self._firsts = np.cumsum([0, *(part.layout.n_samples for part in parts)])
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

    def start(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]
    ) -> Sequence["_Reading"]:
        """Begin to read `samples`, int64 (M,), into `batch[places]`."""
        if self._process != os.getpid():  # TensorStore would end the process
            raise InputError(
                "A reader of this store must be opened anew after a fork. Received: one from before it. Let workers "
                "be started by spawn, or open the reader in each."
            )
        target = self._ts.array(batch, copy=False)
        numbers = np.searchsorted(self._firsts, samples, side="right") - 1
        jobs = []
        for number in np.unique(numbers).tolist():
            own = numbers == number
            rows = samples[own] - self._firsts[number]
            writing = target[places[own]].write(self._arrays[number][rows])
            jobs.append(_Reading(writing, self._parts[number]))
        return jobs

    def read_one(self, sample: int, out: npt.NDArray[np.uint8]) -> None:
        """Read one sample into `out`."""
        for job in self.start(np.array([sample]), out[None], np.zeros(1, np.int64)):
            job.result()

    def close(self) -> None:
        """Let go of the arrays."""
        self._arrays = []

    def _open(self, part: ReaderSpec) -> Any:
        """Open the images of a part; nothing is read but metadata."""
        spec = {
            "driver": "zarr3",
            "kvstore": make_kvstore(part.images),
            # A chunk that is not there is a fault, no black image.
            "fill_missing_data_reads": False,
            "recheck_cached_metadata": "open",
            "recheck_cached_data": "open",
        }
        try:
            array = self._ts.open(spec, context=self._context, open=True, read=True).result()
        except (ValueError, OSError) as error:
            raise InputError(
                f"The images of part {part.name!r} must be a Zarr array that TensorStore reads. Received: "
                f"{part.images}: {first_line(error)}. Convert the part again."
            ) from error
        expected = (part.layout.n_samples, *part.layout.image_shape)
        if (array.dtype.name, tuple(array.shape)) != ("uint8", expected):
            raise InputError(
                f"The images of part {part.name!r} must be uint8 of shape {expected}. Received: {array.dtype.name}, "
                f"{tuple(array.shape)}, in {part.images}. Convert the part again."
            )
        return array


class _Reading:
    """What TensorStore has begun to read of one part."""

    def __init__(self, writing: Any, part: ReaderSpec) -> None:
        self._writing = writing
        self._part = part

    def result(self) -> None:
        """Wait until it is read; InputError if it cannot be."""
        try:
            self._writing.result()
        except (ValueError, OSError) as error:
            remedy = "Convert the part again."
            if "byte range" in str(error):
                remedy = "Serve it by a server that answers requests for ranges."
            raise InputError(
                f"The bytes of a sample must be there and whole. Received: part {self._part.name!r} in "
                f"{self._part.images}: {first_line(error)}. {remedy}"
            ) from error
