"""Shard files on a local disk, mapped: a sample costs one decode straight into its place, no lookup and no copy."""

import mmap
import os
import resource
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.format.codecs import decode_chunk, decode_shard_index
from hpa_data.format.layout import find_shard
from hpa_data.reader.engine import ReaderSpec
from hpa_data.system.threads import Job, ThreadTeam

# Files that the rest of a program may want to have open beside the shards.
SPARE_FILES = 256


class MappedShards:
    """The images of some local parts of our own layout, with all index tables in memory."""

    name = "mapped"

    def __init__(self, parts: Sequence[ReaderSpec], *, threads: int) -> None:
        self._parts = tuple(parts)
        self._firsts = np.cumsum([0, *(part.layout.n_samples for part in parts)])
        _allow_open_files(sum(part.layout.n_shards for part in parts))
        mapped = [_map_shards(part) for part in parts]
        # Of each sample: where its bytes lie, in which file, and how they are encoded.
        self._bounds = np.concatenate([bounds for _, bounds in mapped])  # (N, 2)
        self._files = [
            files[sample // part.layout.shard_samples]
            for part, (files, _) in zip(parts, mapped, strict=True)
            for sample in range(part.layout.n_samples)
        ]
        self._codecs = [part.codec for part in parts for _ in range(part.layout.n_samples)]
        # Decoding happens in these threads alone, even if there is but one: Blosc keeps the GIL in the main thread.
        self._threads = ThreadTeam(threads)

    def start(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]
    ) -> Sequence[Job]:
        """Begin to decode `samples`, int64 (M,), into `batch[places]`."""
        if not len(samples):
            return []
        chosen, own_places = samples.tolist(), places.tolist()
        starts, stops = self._bounds[samples].T.tolist()

        # Each thread takes the next sample when it is done with one: none waits for another, neither within a batch nor
        # at its end, if the next batch is asked for by then.
        def work(turn: int) -> None:
            self._decode(chosen[turn], starts[turn], stops[turn], batch[own_places[turn]])

        return [self._threads.start(work, len(chosen))]

    def read_one(self, sample: int, out: npt.NDArray[np.uint8]) -> None:
        """Decode one sample into `out` in the calling thread."""
        start, stop = self._bounds[sample].tolist()
        self._decode(sample, start, stop, out)

    def encoded_chunk(self, sample: int) -> npt.NDArray[np.uint8]:
        """Return the encoded bytes of a sample, uint8 (n_bytes,), in the map."""
        start, stop = self._bounds[sample].tolist()
        return self._files[sample][start:stop]

    def close(self) -> None:
        """End the threads and let go of the files."""
        self._threads.close()
        self._files = []

    def _decode(self, sample: int, start: int, stop: int, out: npt.NDArray[np.uint8]) -> None:
        """Decode one sample, whose bytes lie from `start` to `stop` in its file."""
        files = self._files
        if not files:  # closed since the caller looked
            raise ValueError("A reader must be open. Received: one that was closed. Open another.")
        try:
            decode_chunk(files[sample][start:stop], out, self._codecs[sample])
        except (RuntimeError, ValueError) as error:
            number = int(np.searchsorted(self._firsts, sample, side="right")) - 1
            part, row = self._parts[number], sample - int(self._firsts[number])
            raise InputError(
                f"The bytes of a sample must be whole. Received: sample {part.ids[row]!r} of part {part.name!r}, "
                f"damaged in {find_shard(part.images, row // part.layout.shard_samples)}: {error}. "
                "Run `hpa verify --repair`, or convert the part again."
            ) from error


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


def _map_shards(part: ReaderSpec) -> tuple[list[npt.NDArray[np.uint8]], npt.NDArray[np.int64]]:
    """Map each shard file of a part: their bytes, uint8 (n_bytes,) each, and where each sample's lie, int64 (N, 2).

    A shard none of whose samples is readable need not exist.
    """
    files: list[npt.NDArray[np.uint8]] = []
    size = part.layout.shard_samples
    bounds = np.zeros((part.layout.n_shards * size, 2), np.int64)
    readable = is_readable(part.status)
    for shard in range(part.layout.n_shards):
        present = readable[shard * size : (shard + 1) * size]
        if not present.any():
            files.append(np.empty(0, np.uint8))
            continue
        path = find_shard(part.images, shard)
        try:
            with path.open("rb") as file:
                mapped = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
            index = decode_shard_index(mapped, shard_samples=size)
            if (index[: len(present), 0] == index[: len(present), 1])[present].any():
                raise ValueError("a sample that should be in it is absent")
        except (OSError, ValueError) as error:
            raise InputError(
                f"Each shard of part {part.name!r} must be a whole file. Received: {path}: {error}. Convert the part "
                "again."
            ) from error
        files.append(mapped)
        bounds[shard * size : (shard + 1) * size] = index
    return files, bounds[: part.layout.n_samples]
