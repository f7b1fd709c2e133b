"""Writing the shards of a part.

One task writes one shard: first its images, which appear once they are complete, then what is known of its samples,
and `status` last. Only `status` tells which samples exist, so a killed conversion resumes with those still pending.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import zarr

from hpa_data.dataset import FAILED, PENDING, Sample, is_readable
from hpa_data.errors import InputError
from hpa_data.format.arrays import IMAGES, ArraySpec, encode_group
from hpa_data.format.codecs import (
    decode_shard_index,
    encode_chunk,
    encode_metadata_chunk,
    encode_shard_index,
    encode_text_chunk,
    get_codec,
)
from hpa_data.format.layout import Layout, ShardTask, find_shard, plan_shards
from hpa_data.format.statistics import channel_statistics, compute_checksum, sum_pixels
from hpa_data.store.failures import Failure, list_failures, write_failures
from hpa_data.store.part import Part
from hpa_data.store.storage import Storage
from hpa_data.system.executor import Parallelism, run_tasks
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import ThreadTeam

Item = TypeVar("Item")
Read = Callable[[Item], Sample]


# Letters of a note: the names that a file gives its planes, for example, may be of any length.
MAX_NOTE = 1000

# Samples after which the writing thread is woken: waking it for each costs 3 % of the time.
GROUP = 8

# Copies of a file's decoded bytes while it is read (its planes separated, one of them as float32): 6 were measured.
READING_COPIES = 7


class _Encoded(NamedTuple):
    """A sample, ready to be written."""

    chunk: bytes | memoryview
    row: dict[str, Any]  # its value in each array of the job


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One shard to write, with everything that a worker process needs to know."""

    storage: Storage
    part: str
    layout: Layout
    codec: str
    arrays: tuple[ArraySpec, ...]  # beside the images, see `Part.shard_arrays`
    task: ShardTask
    items: tuple[Any, ...]  # what `read` makes each sample of; None for those that stay as they are
    read: Read[Any]
    stop_at_failure: bool
    lock: str  # who held the store when the job was created

    @property
    def shard_key(self) -> str:
        return f"{self.part}/{find_shard(IMAGES.name, self.task.shard).as_posix()}"

    def row_key(self, spec: ArraySpec) -> str:
        """Return the key of the shard's chunk in an array with a row per sample."""
        return "/".join([self.part, spec.name, "c", str(self.task.shard), *["0"] * (len(spec.dimensions) - 1)])


def peak_bytes(layout: Layout, workers: Parallelism, *, file_bytes: int | None = None) -> int:
    """Return an upper bound of the memory that `write_shards` takes on this machine, whatever N is.

    Parameters
    ----------
    layout : Layout
    workers : Parallelism
    file_bytes : int, optional
        Of the largest file, decoded; at least, and by default, one plane of the size of the images.

    Returns
    -------
    int
        Bytes, not counting the libraries and the list of samples.
    """
    plane = layout.image_bytes // layout.image_shape[-1]
    decoded = max(file_bytes or 0, plane)  # enlarged or padded, the plane is the larger one
    sample = READING_COPIES * decoded + 4 * layout.image_bytes  # channels, merged, their squares, encoded
    n_threads = workers.threads_per_task * (workers.processes or 1)
    return workers.max_concurrent_tasks * layout.task_bytes + n_threads * sample


def write_shards(
    part: Part,
    items: Sequence[Item],
    read: Read[Item],
    *,
    rewrite: npt.NDArray[np.bool_] | None = None,
    workers: Parallelism | None = None,
    stop_at_failure: bool = False,
    progress: Progress = SILENT,
) -> list[Failure]:
    """Write the samples of a part that are pending or failed, one task per shard, and then the statistics.

    The caller holds the store's lock.

    Parameters
    ----------
    part : Part
        From `create_part`.
    items : sequence, length N
        What each sample is read from.
    read : function of an item
        Returns the sample. Called in several threads, in any order. An InputError marks the sample as failed; its image
        is then black. Pickled, with the items, if worker processes do the work.
    rewrite : array of bool, shape (N,), optional
        The samples to write instead. The others in their shards stay as they are.
    workers : Parallelism, optional
    stop_at_failure : bool
        Raise the first InputError instead; shards that are complete stay.
    progress : Progress, optional
        Of samples; advances after each shard. The caller starts it.

    Returns
    -------
    list of Failure
        Of the whole part, in the order of the samples. The bytes of the store do not depend on the workers.

    Raises
    ------
    OSError
        If the disk is full, for example. The shards written before are complete; the same call resumes.
    KeyboardInterrupt
        After an interrupt, once the shards in progress are complete.
    """
    workers = workers or Parallelism()
    storage = part.storage
    status = part.read_status()
    if rewrite is None:
        rewrite = (status == PENDING) | (status == FAILED)
    size = part.layout.shard_samples
    lock = storage.read_lock()
    jobs = [
        _Job(
            storage=storage,
            part=part.name,
            layout=part.layout,
            codec=part.manifest.settings["codec"],
            arrays=part.shard_arrays,
            task=task,
            items=tuple(items[i] if rewrite[i] else None for i in range(task.start, task.stop)),
            read=read,
            stop_at_failure=stop_at_failure,
            lock=lock,
        )
        for task in plan_shards(part.layout, shards=np.unique(np.flatnonzero(rewrite) // size).tolist())
    ]

    def report(job: _Job) -> None:
        progress.advance(int(rewrite[job.task.start : job.task.stop].sum()))

    run_tasks(_write_shard, jobs, workers=workers, on_done=report)
    status = part.read_status()
    if (status[rewrite] == PENDING).any():
        raise RuntimeError(f"some shards of {part.path} were not written, although their tasks ended without an error")
    _write_statistics(part, is_readable(status))
    write_failures(storage, part.name)
    return list_failures(part)


def _write_shard(job: _Job, threads: ThreadTeam) -> None:
    """Read, encode and write the samples of one shard; then record that in `status`."""
    kept = _read_kept(job)
    to_do = [index for index, item in enumerate(job.items) if item is not None]
    ready = kept
    rows: list[dict[str, Any]] = []
    lengths: list[int] = []
    with (
        job.storage.open_writer(job.shard_key) as file,
        contextlib.closing(_encode_samples(job, threads, to_do, ready)) as encoding,
    ):
        for _ in encoding:
            while (sample := ready.pop(len(rows), None)) is not None:
                file.write(sample.chunk)
                lengths.append(len(sample.chunk))
                rows.append(sample.row)  # the chunk is written: its memory is free for the next
        file.write(encode_shard_index(lengths, shard_samples=job.layout.shard_samples))
        if job.storage.read_lock() != job.lock:
            raise InputError(
                f"Cannot write to {job.storage.location}: its lock is gone, or another process holds it now. "
                "Nothing more is written to it. Run the command again."
            )
        _reset_status(job, to_do)
    _write_rows(job, rows)


def _encode_samples(
    job: _Job, threads: ThreadTeam, indices: Sequence[int], ready: dict[int, _Encoded]
) -> Generator[None]:
    """Read and encode samples of the shard into `ready`, in their order; yield whenever there are some more."""
    stopped = False

    def encode(group: Sequence[int], position: int) -> None:
        if not stopped:
            ready[group[position]] = _encode_sample(job, group[position])

    groups = [indices[start : start + GROUP] for start in range(0, len(indices), GROUP)]
    started = [threads.start(partial(encode, group), len(group)) for group in groups]
    try:
        for group in started:
            group.result()
            yield
    finally:
        stopped = True


def _reset_status(job: _Job, indices: Sequence[int]) -> None:
    """Declare samples of a shard pending that are written again: until their new rows exist, nothing is known of them.

    A shard that is written for the first time has no status yet.
    """
    status = next(spec for spec in job.arrays if spec.name == "status")
    if job.storage.exists(job.row_key(status)):
        # Only these rows: the others are written again, and may be damaged.
        rows = _read_rows(job, [status])[status.name].copy()
        rows[indices] = PENDING
        _write_chunk(job, status, rows.tolist())


def _write_rows(job: _Job, rows: Sequence[dict[str, Any]]) -> None:
    """Write what is known of the samples of a shard, `status` last."""
    for spec in job.arrays:
        _write_chunk(job, spec, [row[spec.name] for row in rows])


def _write_chunk(job: _Job, spec: ArraySpec, rows: Sequence[Any]) -> None:
    """Write a shard's chunk of an array with a row per sample."""
    key, size = job.row_key(spec), job.layout.shard_samples
    if spec.dtype != "string":
        job.storage.put(key, encode_metadata_chunk(np.array(rows, spec.dtype), chunk_rows=size))
    elif any(rows):
        job.storage.put(key, encode_text_chunk(rows, chunk_rows=size))
    else:
        job.storage.delete(key)


def _read_rows(job: _Job, specs: Sequence[ArraySpec]) -> dict[str, npt.NDArray[Any]]:
    """Read the shard's rows of arrays with a row per sample."""
    group: Any = zarr.open_group(job.storage.zarr_store(), path=job.part, mode="r")
    return {spec.name: group[spec.name][job.task.start : job.task.stop] for spec in specs}


def _read_kept(job: _Job) -> dict[int, _Encoded]:
    """Read the samples of a shard that stay as they are, by their index in it."""
    indices = [index for index, item in enumerate(job.items) if item is None]
    if not indices:
        return {}
    path = f"{job.storage.location}/{job.shard_key}"
    try:
        columns = _read_rows(job, job.arrays)
    except Exception as error:  # whatever a damaged chunk makes its codecs raise
        raise InputError(
            f"Cannot rewrite some samples of {path}: the arrays beside the images are damaged: {error}. Convert the "
            "part again with --overwrite."
        ) from error
    rows = {index: {name: values[index] for name, values in columns.items()} for index in indices}
    try:
        shard = job.storage.view(job.shard_key)
        bounds = decode_shard_index(shard, shard_samples=job.layout.shard_samples)
    except (OSError, ValueError) as error:
        if any(row["status"] != FAILED for row in rows.values()):
            raise InputError(
                f"Cannot rewrite some samples of {path}: the shard is damaged: {error}. Run `hpa verify` with --source "
                "and --repair."
            ) from error
        chunk = _encode(job, _failed_sample(job)).chunk
        return {index: _Encoded(chunk, row) for index, row in rows.items()}
    return {index: _Encoded(shard[slice(*bounds[index].tolist())].tobytes(), row) for index, row in rows.items()}


def _encode_sample(job: _Job, index: int) -> _Encoded:
    """Read and encode one sample."""
    try:
        sample = job.read(job.items[index])
    except InputError as error:
        if job.stop_at_failure:
            raise
        return _encode(job, _failed_sample(job, str(error)), error.file)
    return _encode(job, sample)


def _failed_sample(job: _Job, note: str = "") -> Sample:
    return Sample(image=np.zeros(job.layout.image_shape, np.uint8), status=FAILED, note=note)


def _encode(job: _Job, sample: Sample, file: str = "") -> _Encoded:
    return _Encoded(
        chunk=encode_chunk(sample.image, get_codec(job.codec)),
        row={
            "note": _clean_text(sample.note),
            "note_file": _clean_text(file),
            "checksum": compute_checksum(sample.image),
            "sums": sum_pixels(sample.image),
            "origin": _clean_text(sample.origin),
            "filled": ",".join(sample.filled),
            "status": sample.status,
        },
    )


def _clean_text(text: str) -> str:
    """Make text that any store can hold from what a file or its name contains: valid UTF-8, of bounded length."""
    return text.encode(errors="backslashreplace").decode()[:MAX_NOTE]


def _write_statistics(part: Part, readable: npt.NDArray[np.bool_]) -> None:
    """Write the statistics over the readable samples into the manifest."""
    y, x, _ = part.layout.image_shape
    manifest = replace(part.manifest, statistics=channel_statistics(part.read_sums()[readable], pixels=y * x))
    if manifest != part.manifest:
        part.storage.put(f"{part.name}/zarr.json", encode_group(manifest.encode()))
