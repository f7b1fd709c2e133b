"""Measurements on a user's own machine: what bounds the reading of a store, and whether training ever waits for it."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.format.codecs import CODECS, encode_chunk
from hpa_data.reader.batches import BatchSampler, iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.sources.naming import find_samples
from hpa_data.store.store import Store
from hpa_data.system.memory import find_free_memory
from hpa_data.system.progress import SILENT, Progress
from hpa_model.bench.limits import limit_copy, limit_decode, limit_disk
from hpa_model.bench.timing import Measurement, Workload, measure

# Samples that each codec is tried on: enough for a ratio, few enough to be encoded in some seconds.
N_ENCODED = 32
# Of the shards, read from the disk.
DISK_BYTES = 2**30
# Above this share of its limit a reader has nothing left to lose.
NEAR = 0.8
NOTHING_TO_READ = (
    "A part to measure must have a sample that can be read. Received: {store}, {parts}, where none was converted. "
    "Convert it again, or name another."
)


@dataclass(frozen=True, kw_only=True)
class CodecFigures:
    """What a codec would give on this machine.

    Attributes
    ----------
    name : str
    sample_bytes : float
        Mean over some samples.
    store_bytes : float
        Of all samples that are read.
    warm, cold : float
        Samples a second at most: decoded, or copied, from the page cache; and from the disk. Cold is None where the
        disk is not ours to measure.
    """

    name: str
    sample_bytes: float
    store_bytes: float
    warm: float
    cold: float | None


@dataclass(frozen=True, kw_only=True)
class IoReport:
    """What was measured.

    Attributes
    ----------
    store : Path or str
    engine : str
    codec : str
        Of the first sample.
    n_samples, n_read : int
        In the parts, and those that were read over and over.
    batch_size, threads : int
    rows : tuple of Measurement
    codecs : tuple of CodecFigures
    free_bytes : int
        Memory that the page cache could take.
    verdict : tuple of str
        What it means, a sentence each.
    """

    store: Path | str
    engine: str
    codec: str
    n_samples: int
    n_read: int
    batch_size: int
    threads: int
    rows: tuple[Measurement, ...]
    codecs: tuple[CodecFigures, ...]
    free_bytes: int
    verdict: tuple[str, ...]


def measure_io(
    store: Store,
    parts: tuple[str, ...] = ("train",),
    *,
    png: Path | None = None,
    n_samples: int = 256,
    batch_size: int = 20,
    threads: int | None = None,
    rounds: int = 3,
    min_seconds: float = 0.5,
    progress: Progress = SILENT,
) -> IoReport:
    """Measure how fast batches of a store come, and what holds them up.

    Parameters
    ----------
    store : Store
    parts : tuple of str
    png : Path, optional
        A folder of planes, to be read through `tf.data` beside it.
    n_samples : int
        To be drawn at random and read over and over; they should be more than the processor's cache holds.
    batch_size : int
    threads : int, optional
        By default one a core.
    rounds : int
    min_seconds : float
        Seconds that each row is given in each round.
    progress : Progress, optional
        Of rounds.

    Returns
    -------
    IoReport
        Rates of one run, rows in turn, files in the page cache but for the rows that say otherwise.

    Raises
    ------
    InputError
        If nothing can be read.
    """
    threads = threads or CPU_COUNT
    with store.reader(parts, threads=threads) as reader:
        readable = np.flatnonzero(is_readable(reader.status))
        if not len(readable):
            raise InputError(NOTHING_TO_READ.format(store=store.location, parts=", ".join(parts)))
        kinds = {reader.codecs[index] for index in readable.tolist()}
        if len(kinds) > 1:
            raise InputError(
                f"Parts that are measured together must have one codec. Received: {', '.join(sorted(kinds))}. Measure "
                "one part at a time."
            )
        chosen = np.random.default_rng(0).choice(readable, min(n_samples, len(readable)), replace=False)
        for batch in iter_batches(reader, BatchSampler(chosen, batch_size), epochs=1):  # into the page cache
            del batch
        rows = [
            *_list_limits(reader, chosen, threads=threads, batch_size=batch_size),
            *_list_loaders(reader, chosen, batch_size=batch_size),
        ]
        rows += _list_disk(store, parts, threads=threads)
        rows += _list_png(png, n_samples, batch_size)
        timings = tuple(measure(rows, rounds=rounds, min_seconds=min_seconds, progress=progress))
        codecs = tuple(_try_codecs(reader, chosen, timings, threads=threads, batch_size=batch_size))
        free_bytes = find_free_memory()
        return IoReport(
            store=store.location,
            engine=reader.engine,
            codec=reader.codecs[0],
            n_samples=len(reader),
            n_read=len(chosen),
            batch_size=batch_size,
            threads=threads,
            rows=timings,
            codecs=codecs,
            free_bytes=free_bytes,
            verdict=tuple(_judge(reader.codecs[0], {row.name: row for row in timings}, codecs, free_bytes)),
        )


def _list_limits(reader: Reader, chosen: npt.NDArray[np.int64], *, threads: int, batch_size: int) -> list[Workload]:
    """List what no loader of these samples can be faster than."""
    images = list(reader.read(chosen[: 2 * batch_size]))
    rows = [
        Workload(
            name="memcpy",
            description="copy from memory into two batches",
            run=limit_copy(images, threads=threads, n_images=2 * batch_size),
        )
    ]
    if reader.engine != "mapped":
        return rows
    codec = reader.codecs[int(chosen[0])]
    if CODECS[codec].cname:
        run = limit_decode(reader, codec, chosen, threads=threads, n_images=2 * batch_size)
        return [*rows, Workload(name="limit", description="decode alone, from memory into two batches", run=run)]
    chunks = [reader.encoded_chunk(index) for index in chosen.tolist()]
    mapped = [chunk.reshape(reader.image_shape) for chunk in chunks if chunk is not None]
    run = limit_copy(mapped, threads=threads, n_images=2 * batch_size)
    return [*rows, Workload(name="limit", description="copy alone, from the mapped files into two batches", run=run)]


def _list_loaders(reader: Reader, chosen: npt.NDArray[np.int64], *, batch_size: int) -> list[Workload]:
    """List our own ways to deliver batches."""
    order = BatchSampler(chosen, batch_size)
    limit = "limit" if reader.engine == "mapped" else ""

    def run_numpy() -> int:
        return sum(len(batch.images) for batch in iter_batches(reader, order, epochs=1))

    rows = [Workload(name="NumPy", description="batches as arrays, shuffled", run=run_numpy, limit=limit)]
    if importlib.util.find_spec("tensorflow") is None:
        return rows
    from hpa_model.pipeline import dataset

    def run_tf() -> int:
        batches = dataset(reader, chosen, batch_size, epochs=1)
        return sum(len(batch[0] if isinstance(batch, tuple) else batch) for batch in batches)

    return [
        *rows,
        Workload(name="tf.data", description="the same through TensorFlow's pipeline", run=run_tf, limit=limit),
    ]


def _list_disk(store: Store, parts: tuple[str, ...], *, threads: int) -> list[Workload]:
    """List the reading of shards past the page cache, where they lie on a disk of this machine."""
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
    description = f"shards past the page cache, {n_bytes / 1e6:.0f} MB"
    return [Workload(name="disk", description=description, run=limit_disk(paths, n_samples, threads=threads))]


def _list_png(png: Path | None, n_samples: int, batch_size: int) -> list[Workload]:
    """List the reading of the files as they came."""
    if png is None:
        return []
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError("TensorFlow must be installed for --png. Received: a Python without. Leave --png out.")
    from hpa_model.pipeline import png_dataset

    found = [sample for sample in find_samples(png)[:n_samples] if None not in sample.planes]
    paths = [[str(Path(plane.root, plane.name)) for plane in sample.planes if plane is not None] for sample in found]
    if not paths or not all(path.endswith(".png") and Path(path).is_file() for planes in paths for path in planes):
        raise InputError(f"png must be a folder with a PNG file for each channel. Received: {png}. Pass another.")

    def run() -> int:
        return sum(len(images) for images in png_dataset(paths, batch_size))

    return [Workload(name="PNG + tf.data", description="the files as they came, read by TensorFlow", run=run)]


def _try_codecs(
    reader: Reader,
    chosen: npt.NDArray[np.int64],
    timings: tuple[Measurement, ...],
    *,
    threads: int,
    batch_size: int,
) -> Iterator[CodecFigures]:
    """Tell what each codec would give."""
    rates = {row.name: row.rate for row in timings}
    tried = chosen[:N_ENCODED]
    images = [reader.read_one(index) for index in tried.tolist()]
    own_bytes = [len(chunk) for index in tried.tolist() if (chunk := reader.encoded_chunk(index)) is not None]
    disk_bytes_per_s = rates["disk"] * float(np.mean(own_bytes)) if "disk" in rates and own_bytes else float("nan")
    order = np.tile(tried, -(-4 * batch_size // len(tried)))
    rows = []
    for name, codec in CODECS.items():
        make = partial(limit_decode, reader, name, order) if codec.cname else partial(limit_copy, images * 4)
        rows.append(Workload(name=name, description="", run=make(threads=threads, n_images=batch_size)))
    for row in measure(rows, rounds=3, min_seconds=0.1):
        sample_bytes = float(np.mean([len(encode_chunk(image, CODECS[row.name])) for image in images]))
        yield CodecFigures(
            name=row.name,
            sample_bytes=sample_bytes,
            store_bytes=sample_bytes * len(reader),
            warm=row.rate,
            cold=min(row.rate, disk_bytes_per_s / sample_bytes) if own_bytes else None,
        )


def _judge(own: str, rows: dict[str, Measurement], codecs: tuple[CodecFigures, ...], free_bytes: int) -> Iterator[str]:
    """Say what the figures mean."""
    best = rows.get("tf.data", rows["NumPy"])
    yield f"A trainer can be fed {best.rate:,.0f} images/s ({best.name}) from the page cache."
    share = rows["NumPy"].share
    what = "decoding" if CODECS[own].cname else "memory"
    if share is None:
        yield "There is no limit to hold it against: TensorStore reads these images."
    elif share >= NEAR:
        yield f"What bounds it is {what}: batches come at {share:.2f} of what {what} alone allows."
    else:
        yield f"What bounds it is delivery: batches come at {share:.2f} of what {what} alone allows."
    if "disk" not in rows:
        return
    disk = rows["disk"].rate
    figures = {codec.name: codec for codec in codecs}
    needed = figures[own].store_bytes
    if needed <= free_bytes:
        yield f"All of it, {needed / 1e9:.1f} GB, fits into free memory: the first epoch comes from the disk, no other."
    else:
        yield (
            f"It has {needed / 1e9:.1f} GB, more than the {free_bytes / 1e9:.1f} GB of free memory: each epoch comes "
            f"from the disk, at {min(disk, rows['NumPy'].rate):,.0f} images/s at most."
        )
    if disk < rows["NumPy"].rate:
        until = " until the files are cached" if needed <= free_bytes else ""
        yield f"From the disk, {disk:,.0f} samples/s come at most: the disk bounds you{until}."
    else:
        yield f"The disk gives {disk:,.0f} samples/s, more than can be decoded: it does not bound you."

    def expect(codec: CodecFigures) -> float:
        return codec.warm if codec.store_bytes <= free_bytes or codec.cold is None else codec.cold

    fastest = max(codecs, key=expect)
    if fastest.name != own and expect(fastest) > 1.2 * expect(figures[own]):
        yield (
            f"Codec {fastest.name} would give up to {expect(fastest):,.0f} samples/s instead of "
            f"{expect(figures[own]):,.0f}, for {fastest.store_bytes / 1e9:.1f} GB instead of {needed / 1e9:.1f}."
        )
