"""The engine that maps local shards into memory: it decodes each sample from there into the batch."""

import resource
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.format.codecs import decode_shard_index
from hpa_data.format.layout import find_shard
from hpa_data.reader.decoding import SampleDecoder
from hpa_data.reader.disk_ahead import DiskAhead
from hpa_data.reader.engine import ChannelPicker, ReaderSpec, Verify
from hpa_data.system.files import refuse_unreadable
from hpa_data.system.mapping import MappedFile
from hpa_data.system.os_errors import NEEDED_FILES, allow_files, count_open_files
from hpa_data.system.threads import Job, ThreadTeam


class MappedShards:
    """The images of local parts in native layout, with all shard indexes in memory."""

    name = "mapped"

    def __init__(
        self,
        parts: Sequence[ReaderSpec],
        *,
        threads: int,
        picker: ChannelPicker | None = None,
        verify: Verify = "first",
    ) -> None:
        self._decoder = SampleDecoder(parts, picker=picker, verify=verify)
        _raise_file_limit(sum(part.layout.n_shards for part in parts))
        mapped = [_map_shards(part) for part in parts]
        # For each sample: the range of its bytes, and the file they are in.
        self._bounds = np.concatenate([bounds for _, bounds in mapped])  # (N, 2)
        self._files: list[MappedFile] = [  # those without a readable sample are never asked for
            files[sample // part.layout.shard_samples]  # type: ignore[misc]
            for part, (files, _) in zip(parts, mapped, strict=True)
            for sample in range(part.layout.n_samples)
        ]
        self._ahead = DiskAhead(self._files, self._bounds)
        self._was_read = bytearray(len(self._files))
        # Batches are decoded in these threads only, even if there is only one: Blosc holds the GIL in the main thread.
        self._threads = ThreadTeam(threads)

    def read_async(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]
    ) -> Sequence[Job]:
        """Start to decode `samples`, int64 (M,), into `batch[positions]`."""
        if not len(samples):
            return []
        numbers, targets = samples.tolist(), positions.tolist()
        starts, stops = self._bounds[samples].T.tolist()
        ahead, n_ahead = self._ahead, self._ahead.max_samples
        n_later = len(numbers) - n_ahead
        ahead.begin(samples)
        # Chosen here: to ask for each sample costs 2 % of the rate at which `raw` is copied.
        decode_one = self._decode_short if ahead.is_memory_short else self._decode

        # Each thread takes the next sample when it is done with one. No thread waits for another, neither within a
        # batch nor at its end, if the next batch has been requested by then.
        def decode(item: int) -> None:
            if item < n_later:
                ahead.fetch(numbers[item + n_ahead])
            decode_one(numbers[item], starts[item], stops[item], batch[targets[item]])

        return [self._threads.start(decode, len(numbers))]

    def read_one(self, sample: int, out: npt.NDArray[np.uint8]) -> None:
        """Decode one sample into `out` in the calling thread."""
        start, stop = self._bounds[sample].tolist()
        self._decode(sample, start, stop, out)

    def encoded_chunk(self, sample: int) -> npt.NDArray[np.uint8]:
        """Return a view of the encoded bytes of a sample, uint8 (n_bytes,)."""
        start, stop = self._bounds[sample].tolist()
        self._files[sample].fetch(start, stop)
        return self._files[sample].read(start, stop, is_first=True)

    def look_ahead(self) -> DiskAhead:
        """Return what fetches samples that will be requested."""
        return self._ahead

    def release(self, samples: npt.NDArray[np.int64]) -> None:
        """Let the system take back the memory of the files with these samples, int64 (M,)."""
        for file in {self._files[sample] for sample in samples.tolist()}:
            file.release()

    def close(self) -> None:
        """Stop the threads and release the files."""
        self._threads.close()
        self._ahead.close()
        self._files = []

    def _decode_short(self, sample: int, start: int, stop: int, out: npt.NDArray[np.uint8]) -> None:
        """Decode one sample where memory is short, in a thread of the reader: past the page cache, or from the map."""
        with self._ahead.take(sample) as chunk:
            if chunk is not None:
                self._decoder.decode(sample, chunk, out)
            else:
                self._decode(sample, start, stop, out)

    def _decode(self, sample: int, start: int, stop: int, out: npt.NDArray[np.uint8]) -> None:
        """Decode one sample, the bytes `start` to `stop` of its file, from the map; in any thread."""
        files = self._files
        if not files:  # closed since the reader checked
            raise ValueError("Cannot read: the reader is closed. Open a new one.")
        file, ahead = files[sample], self._ahead
        is_first = not self._was_read[sample]
        if ahead.is_memory_short:  # all of it at once, if nothing has fetched it
            file.fetch(start, stop)
        chunk = file.read(start, stop, is_first=is_first)
        if file.was_missing:
            file.was_missing = False
            ahead.wake()
        self._decoder.decode(sample, chunk, out)
        if is_first:
            self._was_read[sample] = 1
        if ahead.is_memory_short:
            file.release(start, stop)


def _raise_file_limit(n_files: int) -> None:
    """Let this process open so many files, so that all shards can be mapped; InputError if the system does not."""
    try:
        allow_files(n_files)
    except OSError as error:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        raise InputError(
            f"Cannot read {n_files} shards: each stays open while it is read, and with {count_open_files()} files that "
            f"are open and {NEEDED_FILES} for libraries that takes {count_open_files() + n_files + NEEDED_FILES}; this "
            f"process may open {hard}. Let an administrator raise the hard limit (ulimit -Hn), or read fewer parts."
        ) from error


def _map_shards(part: ReaderSpec) -> tuple[list[MappedFile | None], npt.NDArray[np.int64]]:
    """Map the shard files of a part; return each, and the range of bytes of each sample, int64 (N, 2).

    The file of a shard without readable samples may be missing.
    """
    files: list[MappedFile | None] = []
    size = part.layout.shard_samples
    bounds = np.zeros((part.layout.n_shards * size, 2), np.int64)
    readable = is_readable(part.status)
    for shard in range(part.layout.n_shards):
        expected = readable[shard * size : (shard + 1) * size]
        if not expected.any():
            files.append(None)
            continue
        path = find_shard(part.images, shard)
        try:
            mapped = MappedFile(path, max_bytes=part.layout.max_shard_bytes)
            n_bytes = len(mapped.content)
            place = max(0, n_bytes - part.layout.index_bytes), n_bytes
            mapped.fetch(*place)
            mapped.read(*place, is_first=True)
            index = decode_shard_index(mapped.content, shard_samples=size)
            if (index[: len(expected), 0] == index[: len(expected), 1])[expected].any():
                raise ValueError("a converted sample is missing from it")
        except (OSError, ValueError) as error:
            refuse_unreadable(error, path)
            raise InputError(
                f"Cannot read part {part.name!r}: its shard {path} is damaged or missing: {error}. Convert the part "
                "again."
            ) from error
        mapped.release()  # or the ends of all shards stay in memory, 64 KiB of each
        files.append(mapped)
        bounds[shard * size : (shard + 1) * size] = index
    return files, bounds[: part.layout.n_samples]
