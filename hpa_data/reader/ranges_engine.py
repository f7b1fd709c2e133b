"""The engine that reads parts in native layout at a URL: it fetches encoded chunks, and decodes them into the batch."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.chunks import Chunks, ChunksAhead
from hpa_data.reader.decoding import SampleDecoder
from hpa_data.reader.engine import ChannelPicker, Job, ReaderSpec, SampleRows, Verify
from hpa_data.reader.ranges import Range
from hpa_data.reader.remote import Server
from hpa_data.system.threads import ThreadTeam

# Weight of the latest image in the mean time that decoding one takes.
NEWEST = 0.05

Decoded = Future[None]
# A sample, and the image to decode it into, uint8 (Y, X, C); and the same with its chunk, uint8 (n_bytes,).
Out = tuple[int, npt.NDArray[np.uint8]]
Cached = tuple[int, npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


class RangeImages:
    """The images of parts in native layout at URLs: one request for each sample, as many at once as hide latency."""

    name = "ranges"

    def __init__(
        self,
        parts: Sequence[ReaderSpec],
        *,
        threads: int,
        picker: ChannelPicker | None = None,
        verify: Verify = "first",
    ) -> None:
        self._parts = tuple(parts)
        self._rows = SampleRows(parts)
        self._decoder = SampleDecoder(parts, picker=picker, verify=verify)
        self._n_threads = threads
        self._decode_s = 0.0
        self._process = os.getpid()
        self._threads = ThreadTeam(threads)
        self._chunks = Chunks(parts, find_rate=self._find_rate)

    def read_async(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]
    ) -> Sequence[Job]:
        """Start to read `samples`, int64 (M,), into `batch[positions]`."""
        if self._process != os.getpid():
            raise InputError(
                "Cannot read at a URL in a forked process. Start workers with the `spawn` method, or open the reader "
                "in each worker."
            )
        numbers, _ = self._rows.locate(samples)
        jobs: list[Job] = []
        for number in np.unique(numbers).tolist():
            chosen = numbers == number
            pairs = zip(samples[chosen].tolist(), positions[chosen].tolist(), strict=True)
            outs, cached = [], []
            for sample, position in pairs:
                chunk = self._chunks.find(sample)
                if chunk is None:
                    outs.append((sample, batch[position]))
                else:
                    cached.append((sample, batch[position], chunk))
            if outs:
                jobs.append(self.read_part(number, outs))
            if cached:
                jobs.append(_CachedRead(self, number, cached))
        return jobs

    def read_part(self, number: int, outs: Sequence[Out]) -> "_PartRead":
        """Start to fetch samples of a part, and to decode each into its image."""
        return _PartRead(self, outs, self._parts[number], self._chunks.sources[number].server)

    def decode_cached(self, cached: Sequence[Cached], damaged: list[Out]) -> Job:
        """Start to decode samples whose chunks are in the cache on the disk; list those that are damaged there."""

        def decode(item: int) -> None:
            sample, out, chunk = cached[item]
            try:
                self._decoder.decode(sample, chunk, out)
            except InputError:
                self._chunks.forget(sample)
                damaged.append((sample, out))

        return self._threads.start(decode, len(cached))

    def read_one(self, sample: int, out: npt.NDArray[np.uint8]) -> None:
        """Read one sample into `out`."""
        for job in self.read_async(np.array([sample]), out[None], np.zeros(1, np.int64)):
            job.result()

    def look_ahead(self) -> ChunksAhead:
        """Begin to fetch ahead for one iteration over batches."""
        return ChunksAhead(self._chunks)

    def release(self, samples: npt.NDArray[np.int64]) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Stop the threads, and forget what was fetched ahead."""
        self._threads.close()
        self._chunks.close()

    def start(self, sample: int, out: npt.NDArray[np.uint8]) -> Decoded:
        """Start to fetch a sample and to decode it into `out`, uint8 (Y, X, C)."""
        decoded: Decoded = Future()
        self._chunks.fetch(sample).add_done_callback(partial(self._pass_on, sample, out, decoded))
        return decoded

    def _pass_on(self, sample: int, out: npt.NDArray[np.uint8], decoded: Decoded, fetched: Range) -> None:
        """Have a chunk decoded that has arrived; called in the thread that received it."""
        try:
            chunk = fetched.result()

            def decode(_: int) -> None:
                began_s = time.thread_time()
                try:
                    self._decoder.decode(sample, chunk, out)
                except Exception as error:  # raised where it is waited for
                    if self._chunks.forget(sample):
                        self.start(sample, out).add_done_callback(partial(_copy_result, decoded))
                    else:
                        decoded.set_exception(error)
                    return
                self._chunks.keep(sample, chunk)
                self._decode_s += (NEWEST if self._decode_s else 1.0) * (time.thread_time() - began_s - self._decode_s)
                decoded.set_result(None)

        except Exception as error:  # explained by the server, see `Server.read`
            decoded.set_exception(error)
            return
        try:
            self._threads.start(decode, 1)
        except ValueError:
            decoded.set_exception(InputError("Cannot read: the reader is closed. Open a new one."))

    def _find_rate(self) -> float:
        """Return how many images a second the threads can decode; 0 if that is not known."""
        return self._n_threads / self._decode_s if self._decode_s else 0.0


def _copy_result(to: Decoded, done: Decoded) -> None:
    error = done.exception()
    to.set_result(None) if error is None else to.set_exception(error)


class _CachedRead:
    """Samples of one part that are being decoded from the cache on the disk."""

    def __init__(self, engine: RangeImages, number: int, cached: Sequence[Cached]) -> None:
        self._engine = engine
        self._number = number
        self._damaged: list[Out] = []
        self._job = engine.decode_cached(cached, self._damaged)

    def result(self) -> None:
        """Wait until the samples are decoded; those that were damaged are fetched. InputError if they cannot be."""
        self._job.result()
        if self._damaged:
            self._engine.read_part(self._number, self._damaged).result()


class _PartRead:
    """Samples of one part that are being read."""

    def __init__(
        self,
        engine: RangeImages,
        outs: Sequence[Out],
        part: ReaderSpec,
        server: Server,
    ) -> None:
        self._started_s = time.monotonic()
        self._engine = engine
        self._outs = outs
        self._part = part
        self._server = server
        self._first = {number: engine.start(*out) for number, out in enumerate(outs)}

    def result(self) -> None:
        """Wait until the samples are read; InputError if they cannot be."""
        self._server.read(
            [partial(self._start, number) for number in range(len(self._outs))],
            f"samples of part {self._part.name!r} at {self._part.images}",
            damaged=f"Cannot read samples of part {self._part.name!r}: their bytes in {self._part.images} are missing "
            "or damaged",
            since_s=self._started_s,
        )

    def _start(self, number: int) -> Decoded:
        return self._first.pop(number, None) or self._engine.start(*self._outs[number])
