"""The encoded chunks of parts in native layout at a URL: fetched when they are asked for, or ahead of that.

Each is one request for a range of bytes; where it is says the index at the end of its shard, which is one request for
each shard. A chunk is handed out once, and then forgotten.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
import numpy.typing as npt

from hpa_data.format.codecs import decode_index
from hpa_data.format.layout import find_shard
from hpa_data.reader.connections import MAX_IN_FLIGHT, MISSING
from hpa_data.reader.disk_cache import get_disk_cache
from hpa_data.reader.engine import ReaderSpec, SampleRows
from hpa_data.reader.failures import CONVERT, ReadFailure, Refused, describe_excess
from hpa_data.reader.pace import Pace
from hpa_data.reader.ranges import Range, Ranges

# Of encoded chunks that are fetched ahead, for each of the iterations that were last: over training and validation.
AHEAD_BYTES, N_AHEADS = 256 * 2**20, 2
# What a codec may add to a chunk that does not compress.
EXTRA_BYTES = 64


class Chunk:
    """A chunk that is being fetched, or was."""

    def __init__(self, sample: int, n_bytes: int, ahead: "ChunksAhead | None" = None) -> None:
        self.sample = sample
        self.n_bytes = n_bytes
        """The most that it can have, until the index of its shard is known."""

        self.ahead = ahead
        """For which iteration it is fetched ahead, if it is."""

        self.content: npt.NDArray[np.uint8] | None = None
        self.wanted: list[Range] = []


class ChunksAhead:
    """The chunks that are fetched ahead for one iteration over batches; see `ahead.Ahead`."""

    n_samples = MAX_IN_FLIGHT + MAX_IN_FLIGHT // 2  # in flight, and waiting for the batch that they are in

    def __init__(self, chunks: "Chunks") -> None:
        self._chunks = chunks
        self.coming: deque[int] = deque()
        self.n_bytes = 0

    def expect(self, samples: npt.NDArray[np.int64]) -> None:
        """Fetch the chunks of these samples, int64 (M,), after those that were announced before."""
        self._chunks.expect(self, samples.tolist())


class Chunks:
    """Fetches the chunks of parts; safe to use from several threads at once.

    Parameters
    ----------
    parts : sequence of ReaderSpec
    find_rate : callable
        Returns how many chunks a second can be used, 0 if that is not known: so many are in flight that this rate is
        possible, at the latency that is measured.

    Attributes
    ----------
    sources : list of Ranges
        Where the chunks of each part are.
    """

    def __init__(self, parts: Sequence[ReaderSpec], *, find_rate: Callable[[], float]) -> None:
        self.sources = [Ranges(str(part.images)) for part in parts]
        for source, part in zip(self.sources, parts, strict=True):
            source.server.allow("c", part.layout.max_shard_bytes)
        cache = get_disk_cache()
        self._caches = [None if cache is None else cache.open_part(part) for part in parts]
        self._parts = tuple(parts)
        self._rows = SampleRows(parts)
        self._find_rate = find_rate
        self._lock = threading.Lock()
        self._chunks: dict[int, Chunk] = {}
        self._aheads: list[ChunksAhead] = []
        self._n_in_flight = 0
        # By part and shard: the range of bytes of each chunk, int64 (S, 2), or what waits for it.
        self._indexes: dict[tuple[int, int], npt.NDArray[np.int64] | list[tuple[Chunk, bool]]] = {}
        self._pace = Pace()

    def find(self, sample: int) -> npt.NDArray[np.uint8] | None:
        """Return a view of the chunk of a sample in the cache on the disk; None if it is not there."""
        number, shard, place = self._place(sample)
        cache, index = self._caches[number], self._indexes.get((number, shard))
        if cache is None or not isinstance(index, np.ndarray):
            return None
        return cache.find(shard * self._parts[number].layout.shard_samples + place, *index[place].tolist())

    def keep(self, sample: int, chunk: npt.NDArray[np.uint8]) -> None:
        """Write the chunk of a sample, which was fetched and decoded, to the cache on the disk."""
        number, shard, place = self._place(sample)
        cache, index = self._caches[number], self._indexes.get((number, shard))
        if cache is not None and isinstance(index, np.ndarray):
            cache.keep(shard * self._parts[number].layout.shard_samples + place, int(index[place, 0]), chunk)

    def forget(self, sample: int) -> bool:
        """Forget the chunk of a sample in the cache on the disk; return whether it was there."""
        number, shard, place = self._place(sample)
        cache = self._caches[number]
        return cache is not None and cache.forget(shard * self._parts[number].layout.shard_samples + place)

    def fetch(self, sample: int) -> Range:
        """Fetch the chunk of a sample, before all that is fetched ahead; raises as `Ranges.start`, when waited for."""
        wanted: Range = Future()
        with self._lock:
            chunk = self._chunks.get(sample)
            is_new = chunk is None
            if chunk is None:
                for ahead in self._aheads:
                    if sample in ahead.coming:
                        ahead.coming.remove(sample)
                chunk = self._chunks[sample] = Chunk(sample, 0)
                self._n_in_flight += 1
            content = chunk.content
            if content is None:
                chunk.wanted.append(wanted)
            else:
                self._remove(chunk)
        if content is not None:
            wanted.set_result(content)
        elif is_new:
            self._locate(chunk, is_urgent=True)
        self._fill()
        return wanted

    def expect(self, ahead: ChunksAhead, samples: list[int]) -> None:
        """See `ChunksAhead`. What was fetched for earlier iterations is forgotten."""
        with self._lock:
            self._aheads = [*(other for other in self._aheads if other is not ahead), ahead]
            for old in self._aheads[:-N_AHEADS]:
                self._forget(old)
            ahead.coming.extend(samples)
        self._fill()

    def close(self) -> None:
        """Forget all that was fetched ahead, and fetch nothing more ahead."""
        for cache in self._caches:
            if cache is not None:
                cache.close()
        with self._lock:
            for ahead in list(self._aheads):
                self._forget(ahead)
        for source in self.sources:
            source.release_memory()

    def _forget(self, ahead: ChunksAhead) -> None:
        self._aheads.remove(ahead)
        ahead.coming.clear()
        for chunk in [chunk for chunk in self._chunks.values() if chunk.ahead is ahead and not chunk.wanted]:
            self._remove(chunk)

    def _remove(self, chunk: Chunk) -> None:
        if self._chunks.get(chunk.sample) is chunk:
            del self._chunks[chunk.sample]
            if chunk.ahead is not None:
                chunk.ahead.n_bytes -= chunk.n_bytes
                chunk.ahead = None

    def _fill(self) -> None:
        """Start to fetch ahead, as much as the latency asks for and the memory allows."""
        started = []
        with self._lock:
            wanted = self._choose_in_flight()
            for ahead in reversed(self._aheads):
                while ahead.coming and self._n_in_flight < wanted:
                    n_bytes = self._find_size(ahead.coming[0])
                    if ahead.n_bytes + n_bytes > AHEAD_BYTES:
                        break
                    sample = ahead.coming.popleft()
                    if sample not in self._chunks and self.find(sample) is None:
                        self._chunks[sample] = chunk = Chunk(sample, n_bytes, ahead)
                        ahead.n_bytes += n_bytes
                        self._n_in_flight += 1
                        started.append(chunk)
        for chunk in started:
            self._locate(chunk, is_urgent=False)

    def _choose_in_flight(self) -> int:
        """Return how many requests to have in flight."""
        return self._pace.choose(
            latency_s=max(source.latency_s for source in self.sources),
            rate=self._find_rate(),
            n_in_flight=self._n_in_flight,
            n_overloads=sum(source.n_overloads for source in self.sources),
        )

    def _place(self, sample: int) -> tuple[int, int, int]:
        """Return the part of a sample, its shard, and its number there."""
        (number,), (row,) = (values.tolist() for values in self._rows.locate(np.array([sample])))
        return number, *divmod(row, self._parts[number].layout.shard_samples)

    def _find_size(self, sample: int) -> int:
        """Return the bytes of a chunk; the most that it can have, if the index of its shard is not known."""
        number, shard, place = self._place(sample)
        index = self._indexes.get((number, shard))
        if isinstance(index, np.ndarray):
            return int(index[place, 1] - index[place, 0])
        return self._parts[number].layout.image_bytes + EXTRA_BYTES

    def _locate(self, chunk: Chunk, *, is_urgent: bool) -> None:
        """Start to read a chunk, after the index of its shard if that is not known."""
        number, shard, _ = self._place(chunk.sample)
        with self._lock:
            index = self._indexes.setdefault((number, shard), [])
            if isinstance(index, list):
                index.append((chunk, is_urgent))
                if len(index) > 1:
                    return
        if not isinstance(index, list):
            self._start(chunk, index, is_urgent=is_urgent)
            return
        n_bytes = self._parts[number].layout.index_bytes
        read = self.sources[number].start(find_shard("", shard).as_posix(), -n_bytes, n_bytes, is_urgent=True)
        read.add_done_callback(partial(self._take_index, number, shard))

    def _take_index(self, number: int, shard: int, read: Range) -> None:
        """Take an index that has arrived, and read the chunks that wait for it."""
        layout = self._parts[number].layout
        index, error = None, read.exception()
        if error is None:
            try:
                found = decode_index(read.result(), n_bytes=layout.task_bytes, shard_samples=layout.shard_samples)
                index = found.astype(np.int64)
                cache = self._caches[number]
                if cache is not None:
                    cache.open_shard(shard, read.result())
            except ValueError as reason:
                what = f"{find_shard('', shard)}: {reason}"
                error = Refused(ReadFailure(what=what, remedy=CONVERT, kind="final"))
        with self._lock:
            waiting = self._indexes.pop((number, shard))
            if index is not None:
                self._indexes[number, shard] = index
        assert isinstance(waiting, list)
        for chunk, is_urgent in waiting:
            if index is not None:
                self._start(chunk, index, is_urgent=is_urgent)
            else:
                self._finish(chunk, None, error)

    def _start(self, chunk: Chunk, index: npt.NDArray[np.int64], *, is_urgent: bool) -> None:
        number, shard, place = self._place(chunk.sample)
        first, stop = index[place].tolist()
        most = self._parts[number].layout.image_bytes + EXTRA_BYTES
        if not 0 < stop - first <= most:
            failure = MISSING if stop == first else describe_excess(f"an index with {stop - first} bytes", most)
            self._finish(chunk, None, Refused(failure))
            return
        cached = self.find(chunk.sample)
        if cached is not None:
            self._finish(chunk, cached, None, is_cached=True)
            return
        with self._lock:
            if chunk.ahead is not None:
                chunk.ahead.n_bytes += stop - first - chunk.n_bytes
            chunk.n_bytes = stop - first
        key = find_shard("", shard).as_posix()
        read = self.sources[number].start(key, first, stop - first, is_urgent=is_urgent)
        read.add_done_callback(partial(self._take_chunk, chunk))

    def _take_chunk(self, chunk: Chunk, read: Range) -> None:
        error = read.exception()
        self._finish(chunk, read.result() if error is None else None, error)

    def _finish(
        self,
        chunk: Chunk,
        content: npt.NDArray[np.uint8] | None,
        error: BaseException | None,
        *,
        is_cached: bool = False,
    ) -> None:
        """Hand a chunk out to those who want it, or keep it until it is wanted; what failed is read when wanted."""
        with self._lock:
            self._n_in_flight -= 1
            self._pace.finish()
            chunk.content = content
            if chunk.wanted or content is None or is_cached:
                self._remove(chunk)
        for wanted in chunk.wanted:
            if content is None:
                wanted.set_exception(error or AssertionError())
            else:
                wanted.set_result(content)
        self._fill()
