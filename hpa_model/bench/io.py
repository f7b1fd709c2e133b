"""Benchmark of reading: how fast the batches of a store come on this machine, and what limits them."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.dataset import Dataset, is_readable
from hpa_data.errors import InputError
from hpa_data.format.codecs import CODECS, encode_chunk
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.sources.naming import find_samples
from hpa_data.store.store import Store
from hpa_data.system.memory import find_free_memory
from hpa_data.system.progress import SILENT, Progress
from hpa_model.bench.limits import limit_copy, limit_decode, limit_disk
from hpa_model.bench.timing import Measurement, Workload, measure

# Samples that each codec is tried on: enough for a ratio, few enough to be encoded in a few seconds.
N_ENCODED = 32
# Of the shards, read from disk.
DISK_BYTES = 2**30
# A reader at this fraction of its limit has little left to gain.
NEAR_LIMIT = 0.8
# How much faster another codec must be to be worth a conversion.
FASTER_CODEC = 1.2
NOTHING_TO_READ = (
    "Cannot measure {store}: no sample of {parts} was converted. Convert it again, or choose another part."
)

Bottleneck = Literal["decoding", "memory", "delivery"]


@dataclass(frozen=True, kw_only=True)
class CodecEstimate:
    """What a codec would give on this machine."""

    name: str
    sample_bytes: float
    """Mean over some samples."""

    store_bytes: float
    """Of all samples in the parts."""

    warm: float
    """Upper limit from the page cache, samples per second: decoded, or copied."""

    cold: float | None
    """Upper limit from disk, samples per second; None if the store is not on a disk of this machine."""

    def expected_rate(self, free_bytes: int) -> float:
        """Return the upper limit, samples per second, for a store that is cached only if it fits into memory."""
        return self.warm if self.store_bytes <= free_bytes or self.cold is None else self.cold


@dataclass(frozen=True, kw_only=True)
class IoReport:
    """What was measured."""

    store: Path | str
    engine: str
    codec: str
    n_samples: int
    """In the parts."""

    n_read: int
    """Read repeatedly."""

    batch_size: int
    threads: int
    rows: tuple[Measurement, ...]
    codecs: tuple[CodecEstimate, ...]
    free_bytes: int
    """Memory that the page cache can use."""

    bottleneck: Bottleneck | None
    """What limits batches from the page cache: decoding, the speed of memory, or, if their rate is far below both,
    their delivery. None if they are not mapped into memory: there is no limit to compare with."""

    faster_codec: str | None
    """The codec that would be fastest here, if it would be much faster than that of the store."""


def measure_io(
    store: Store,
    parts: tuple[str, ...] = ("train",),
    *,
    images: Path | None = None,
    n_samples: int = 256,
    batch_size: int = 20,
    threads: int | None = None,
    rounds: int = 3,
    min_seconds: float = 0.5,
    progress: Progress = SILENT,
) -> IoReport:
    """Measure how fast batches of a store come, and what limits them.

    Parameters
    ----------
    store : Store
    parts : tuple of str
    images : Path, optional
        A folder of PNG planes, to be read through `tf.data` for comparison.
    n_samples : int
        Drawn at random and read repeatedly. They should not fit into the processor's cache.
    batch_size : int
    threads : int, optional
        By default one per core.
    rounds : int
    min_seconds : float
        Seconds per workload and round, at least.
    progress : Progress, optional
        Counts rounds.

    Returns
    -------
    IoReport
        Rates from interleaved rounds, with the files in the page cache unless a description says otherwise.

    Raises
    ------
    InputError
        If there is nothing to read.
    """
    threads = threads or CPU_COUNT
    with store.reader(parts, threads=threads) as reader:
        readable = np.flatnonzero(is_readable(reader.status))
        if not len(readable):
            raise InputError(NOTHING_TO_READ.format(store=store.location, parts=", ".join(parts)))
        kinds = {reader.codecs[index] for index in readable.tolist()}
        if len(kinds) > 1:
            raise InputError(
                f"parts must have the same codec. Received: {', '.join(sorted(kinds))}. Measure one part at a time."
            )
        chosen = np.random.default_rng(0).choice(readable, min(n_samples, len(readable)), replace=False)
        for batch in iter_batches(reader, BatchSampler(chosen, batch_size), epochs=1):  # into the page cache
            del batch
        workloads = [
            *_list_limits(reader, chosen, threads=threads, batch_size=batch_size),
            *_list_loaders(reader, chosen, batch_size=batch_size),
            *_list_disk(store, parts, threads=threads),
            *_list_png(images, reader.dataset, n_samples, batch_size),
        ]
        rows = tuple(measure(workloads, rounds=rounds, min_seconds=min_seconds, progress=progress))
        rates = {row.name: row for row in rows}
        codecs = tuple(_try_codecs(reader, chosen, rates, threads=threads, batch_size=batch_size))
        free_bytes, codec = find_free_memory(), reader.codecs[int(chosen[0])]
        return IoReport(
            store=store.location,
            engine=reader.engine,
            codec=codec,
            n_samples=len(reader),
            n_read=len(chosen),
            batch_size=batch_size,
            threads=threads,
            rows=rows,
            codecs=codecs,
            free_bytes=free_bytes,
            bottleneck=find_bottleneck(codec, rates["NumPy"].fraction),
            faster_codec=find_faster_codec(codec, codecs, free_bytes),
        )


def _list_limits(reader: Reader, chosen: npt.NDArray[np.int64], *, threads: int, batch_size: int) -> list[Workload]:
    """List the upper limits of any loader of these samples."""
    images = list(reader.read(chosen[: 2 * batch_size]))
    workloads = [
        Workload(
            name="memcpy",
            description="copy from memory into two batches",
            run=limit_copy(images, threads=threads, n_images=2 * batch_size),
        )
    ]
    if reader.engine != "mapped":
        return workloads
    codec = reader.codecs[int(chosen[0])]
    if CODECS[codec].cname:
        run = limit_decode(reader, codec, chosen, threads=threads, n_images=2 * batch_size)
        return [*workloads, Workload(name="limit", description="decode only, from memory into two batches", run=run)]
    chunks = [reader.encoded_chunk(index) for index in chosen.tolist()]
    mapped = [chunk.reshape(reader.image_shape) for chunk in chunks if chunk is not None]
    run = limit_copy(mapped, threads=threads, n_images=2 * batch_size)
    return [
        *workloads,
        Workload(name="limit", description="copy only, from mapped files into two batches", run=run),
    ]


def _list_loaders(reader: Reader, chosen: npt.NDArray[np.int64], *, batch_size: int) -> list[Workload]:
    """List the ways to read batches of the store."""
    sampler = BatchSampler(chosen, batch_size)
    limit = "limit" if reader.engine == "mapped" else ""

    def run_numpy() -> int:
        return sum(len(batch.images) for batch in iter_batches(reader, sampler, epochs=1))

    workloads = [Workload(name="NumPy", description="batches as arrays, shuffled", run=run_numpy, baseline=limit)]
    if importlib.util.find_spec("tensorflow") is None:
        return workloads
    from hpa_model.pipeline import dataset

    def run_tf() -> int:
        batches = dataset(reader, chosen, batch_size, epochs=1)
        return sum(len(batch[0] if isinstance(batch, tuple) else batch) for batch in batches)

    return [
        *workloads,
        Workload(name="tf.data", description="batches through TensorFlow's pipeline", run=run_tf, baseline=limit),
    ]


def _list_disk(store: Store, parts: tuple[str, ...], *, threads: int) -> list[Workload]:
    """List reading the shards from disk, if they are on a disk of this machine."""
    opened = [store.part(name) for name in parts]
    if store.mirror or not all(part.has_native_layout for part in opened):
        return []
    paths, n_bytes, n_samples = [], 0, 0
    for part in opened:
        readable = is_readable(part.read_status())
        for shard in range(part.layout.n_shards):
            path = part.shard_path(shard)
            if n_bytes < DISK_BYTES and path.is_file():
                first = shard * part.layout.shard_samples
                paths.append(path)
                n_bytes += path.stat().st_size
                n_samples += int(readable[first : first + part.layout.shard_samples].sum())
    description = f"shards, bypassing the page cache, {n_bytes / 1e6:.0f} MB"
    return [Workload(name="disk", description=description, run=limit_disk(paths, n_samples, threads=threads))]


def _read_png_size(path: str) -> bytes:
    """Read the width and the height of a PNG file, as it writes them."""
    with Path(path).open("rb") as file:
        return file.read(24)[16:]


def _list_png(folder: Path | None, dataset: Dataset, n_samples: int, batch_size: int) -> list[Workload]:
    """List reading the PNG files themselves."""
    if folder is None:
        return []
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError("Cannot time reading PNG files: TensorFlow is not installed. Run: pip install '.[train]'.")
    from hpa_model.pipeline import png_dataset

    found = [sample for sample in find_samples(folder, dataset=dataset)[:n_samples] if None not in sample.planes]
    paths = [[str(Path(plane.root, plane.name)) for plane in sample.planes if plane is not None] for sample in found]
    if not paths or not all(path.endswith(".png") and Path(path).is_file() for planes in paths for path in planes):
        raise InputError(f"images must be a folder with a PNG file for each channel. Received: {folder}. Pass another.")
    if len({_read_png_size(path) for planes in paths for path in planes}) > 1:
        raise InputError(f"images must be a folder with PNG files of one size. Received: {folder}. Pass another.")

    def run() -> int:
        return sum(len(images) for images in png_dataset(paths, batch_size))

    return [Workload(name="PNG + tf.data", description="the PNG files, read by TensorFlow", run=run)]


def _try_codecs(
    reader: Reader,
    chosen: npt.NDArray[np.int64],
    rates: dict[str, Measurement],
    *,
    threads: int,
    batch_size: int,
) -> Iterator[CodecEstimate]:
    """Measure what each codec would give."""
    tried = chosen[:N_ENCODED]
    images = [reader.read_one(index) for index in tried.tolist()]
    chunk_bytes = [len(chunk) for index in tried.tolist() if (chunk := reader.encoded_chunk(index)) is not None]
    disk_bytes_per_s = None
    if "disk" in rates and chunk_bytes:
        disk_bytes_per_s = rates["disk"].rate * float(np.mean(chunk_bytes))
    order = np.tile(tried, -(-4 * batch_size // len(tried)))
    workloads = []
    for name, codec in CODECS.items():
        make = partial(limit_decode, reader, name, order) if codec.cname else partial(limit_copy, images * 4)
        workloads.append(Workload(name=name, description="", run=make(threads=threads, n_images=batch_size)))
    for row in measure(workloads, rounds=3, min_seconds=0.1):
        sample_bytes = float(np.mean([len(encode_chunk(image, CODECS[row.name])) for image in images]))
        yield CodecEstimate(
            name=row.name,
            sample_bytes=sample_bytes,
            store_bytes=sample_bytes * len(reader),
            warm=row.rate,
            cold=None if disk_bytes_per_s is None else min(row.rate, disk_bytes_per_s / sample_bytes),
        )


def find_bottleneck(codec: str, fraction: float | None) -> Bottleneck | None:
    """Find what limits batches that come at a fraction of the limit of their codec; None if there is no limit."""
    if fraction is None:
        return None
    if fraction < NEAR_LIMIT:
        return "delivery"
    return "decoding" if CODECS[codec].cname else "memory"


def find_faster_codec(codec: str, codecs: tuple[CodecEstimate, ...], free_bytes: int) -> str | None:
    """Find the codec that is expected to be the fastest, if it is much faster than that of the store."""
    rates = {estimate.name: estimate.expected_rate(free_bytes) for estimate in codecs}
    fastest = max(rates, key=rates.__getitem__)
    return fastest if rates[fastest] > FASTER_CODEC * rates[codec] else None
