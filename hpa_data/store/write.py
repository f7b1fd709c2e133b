"""What is written when: the shards of a part, and what counts as written.

A shard of images is written whole by one task: its file first, under another name until it is complete, then what is
known of its samples, last their `status`. Only `status` tells what exists, so that a killed conversion goes on with the
samples that are still pending.
"""

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import zarr

from hpa_data.dataset import FAILED, PENDING, Sample, is_readable
from hpa_data.errors import InputError
from hpa_data.format.codecs import (
    decode_shard_index,
    encode_chunk,
    encode_metadata_chunk,
    encode_shard_index,
    get_codec,
)
from hpa_data.format.layout import Layout, ShardTask, plan_shards
from hpa_data.format.statistics import channel_statistics, compute_checksum, sum_pixels
from hpa_data.store.failures import Failure, list_failures, write_failures
from hpa_data.store.part import Part
from hpa_data.system.atomic import open_atomic, write_atomic
from hpa_data.system.executor import Parallelism, run_tasks
from hpa_data.system.lock import read_lock
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import ThreadTeam

Item = TypeVar("Item")
Read = Callable[[Item], Sample]


# Letters of a note; the names that a file gives its planes, say, may be of any length.
MAX_NOTE = 1000

# Samples after which the thread that writes them is woken: waking it for each costs 3 % of all of the time.
GROUP = 8

# A decoded file, its planes taken apart, one of them as float32: up to 6 times its decoded bytes were measured.
READING_COPIES = 7


class _Encoded(NamedTuple):
    """A sample, ready to be written."""

    chunk: bytes | memoryview
    checksum: int
    sums: npt.NDArray[np.uint64]
    status: int
    note: str
    note_file: str


# The arrays of a part with numbers for each sample, in the order in which they are written: `status` last.
_NUMBERS = {"checksum": np.uint32, "sums": np.uint64, "status": np.uint8}


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One shard to write, with all that a worker process must know of it.

    Attributes
    ----------
    part : Path
        The part's folder.
    shard_path : Path
    layout : Layout
    codec : str
    task : ShardTask
    items : tuple
        What `read` makes each sample of, None for those that are to stay as they are.
    read : function of an item
    stop_at_failure : bool
    lock : str
        Who held the store when the job was made.
    """

    part: Path
    shard_path: Path
    layout: Layout
    codec: str
    task: ShardTask
    items: tuple[Any, ...]
    read: Read[Any]
    stop_at_failure: bool
    lock: str


def peak_bytes(layout: Layout, workers: Parallelism, *, picture_bytes: int | None = None) -> int:
    """Bound the memory that `write_shards` takes on this machine, whatever N is.

    Parameters
    ----------
    layout : Layout
    workers : Parallelism
    picture_bytes : int, optional
        Of the largest file, decoded; by default a plane of the image's own size.

    Returns
    -------
    int
        Bytes, beside those of the libraries and of the list of samples.
    """
    decoded = picture_bytes or layout.image_bytes // layout.image_shape[-1]
    sample = READING_COPIES * decoded + 4 * layout.image_bytes  # channels, merged, their squares, encoded
    n_threads = workers.threads_per_task * (workers.processes or 1)
    return workers.max_concurrent_tasks * layout.task_bytes + n_threads * sample


def write_shards(
    part: Part,
    items: Sequence[Item],
    read: Read[Item],
    *,
    redo: npt.NDArray[np.bool_] | None = None,
    workers: Parallelism | None = None,
    stop_at_failure: bool = False,
    progress: Progress = SILENT,
) -> list[Failure]:
    """Write the samples of a part that are pending or failed, one Dask task a shard, and then the statistics.

    Whoever calls this holds the store (`lock.hold_store`).

    Parameters
    ----------
    part : Part
        As `begin.create_part` gave it.
    items : sequence, length N
        What each sample is made of.
    read : function of an item
        Makes the sample. Called in several threads, in any order. An InputError marks the sample as failed; its image
        is then black. Pickled, with the items, where worker processes do the work.
    redo : array of bool, shape (N,), optional
        The samples to write instead. What else is in their shards stays as it is.
    workers : Parallelism, optional
    stop_at_failure : bool
        Raise the first InputError instead; shards that are done stay.
    progress : Progress, optional
        Of samples; advances after each shard. Not started: only the caller knows all that it does.

    Returns
    -------
    list of Failure
        All of the part, in the order of the samples. The store's bytes do not depend on the workers.

    Raises
    ------
    OSError
        If the disk is full, say. What was written before is whole; the same call goes on.
    KeyboardInterrupt
        After an interrupt, at a border between shards.
    """
    workers = workers or Parallelism()
    status = part.read_status()
    if redo is None:
        redo = (status == PENDING) | (status == FAILED)
    size = part.layout.shard_samples
    tasks = plan_shards(part.layout, shards=np.unique(np.flatnonzero(redo) // size).tolist())
    lock = read_lock(part.path.parent)
    jobs = [
        _Job(
            part=part.path,
            shard_path=part.shard_path(task.shard),
            layout=part.layout,
            codec=part.manifest.settings["codec"],
            task=task,
            items=tuple(items[i] if redo[i] else None for i in range(task.start, task.stop)),
            read=read,
            stop_at_failure=stop_at_failure,
            lock=lock,
        )
        for task in tasks
    ]

    def note_done(job: _Job) -> None:
        progress.advance(int(redo[job.task.start : job.task.stop].sum()))

    run_tasks(_write_shard, jobs, workers=workers, on_done=note_done)
    status = part.read_status()
    if (status[redo] == PENDING).any():
        raise RuntimeError(f"shards of {part.path} were told to be written and are not")
    _finish(part, is_readable(status))
    return list_failures(part)


def _write_shard(job: _Job, threads: ThreadTeam) -> None:
    """Read, encode and write the samples of one shard; then say so in `status`."""
    rows = slice(job.task.start, job.task.stop)
    group: Any = zarr.open_group(job.part, mode="r+")
    kept = _read_kept(job, group)
    to_do = [place for place in range(rows.stop - rows.start) if place not in kept]
    ready = kept
    samples: list[_Encoded] = []
    lengths: list[int] = []
    making = _make(job, threads, to_do, ready)
    with open_atomic(job.shard_path, page_cache=False) as file, contextlib.closing(making) as made:
        for _ in made:
            while (sample := ready.pop(len(samples), None)) is not None:
                file.write(sample.chunk)
                lengths.append(len(sample.chunk))
                samples.append(sample._replace(chunk=b""))  # written: its memory is free for the next
        file.write(encode_shard_index(lengths, shard_samples=job.layout.shard_samples))
        if read_lock(job.part.parent) != job.lock:
            raise RuntimeError("the store has another writer now; this one's was killed")
        if _row_path(job, "status").exists():
            # From here until their new rows are there, nothing is known of the samples that are made again.
            status = group["status"][rows]
            status[to_do] = PENDING
            _write_numbers(job, "status", status)
    _write_rows(job, group, samples)


def _make(job: _Job, threads: ThreadTeam, places: Sequence[int], ready: dict[int, _Encoded]) -> Generator[None]:
    """Read and encode samples into `ready`, in their order; yield when some more are there."""
    given_up = False

    def encode(group: Sequence[int], turn: int) -> None:
        if not given_up:
            ready[group[turn]] = _encode_sample(job, group[turn])

    groups = [places[start : start + GROUP] for start in range(0, len(places), GROUP)]
    begun = [threads.start(partial(encode, group), len(group)) for group in groups]
    try:
        for group in begun:
            group.result()
            yield
    finally:
        given_up = True


def _write_rows(job: _Job, group: Any, samples: Sequence[_Encoded]) -> None:
    """Write what is known of the samples of a shard: a chunk of each small array, `status` last."""
    for name in ("note", "note_file"):
        notes = [getattr(sample, name) for sample in samples]
        if any(notes) or _row_path(job, name).exists():
            group[name][job.task.start : job.task.stop] = np.array(notes, dtype=group[name].dtype)
    for name, dtype in _NUMBERS.items():
        _write_numbers(job, name, np.array([getattr(sample, name) for sample in samples], dtype))


def _write_numbers(job: _Job, name: str, rows: npt.NDArray[np.generic]) -> None:
    """Write a shard's chunk of an array with numbers for each sample."""
    write_atomic(_row_path(job, name), encode_metadata_chunk(rows, chunk_rows=job.layout.shard_samples))


def _row_path(job: _Job, name: str) -> Path:
    """Name the file of a shard's chunk in an array with one row or one row of numbers a sample."""
    return job.part.joinpath(name, "c", str(job.task.shard), *("0", "0") * (name == "sums"))


def _read_kept(job: _Job, group: Any) -> dict[int, _Encoded]:
    """Read the samples of a shard that are to stay as they are, by their place in it."""
    places = [place for place, item in enumerate(job.items) if item is None]
    if not places:
        return {}
    try:
        rows = {name: group[name][job.task.start : job.task.stop] for name in _Encoded._fields[1:]}
    except Exception as error:  # whatever a damaged chunk makes its codecs raise
        raise InputError(
            f"A part must be whole to change some of its samples. Received: {job.part}: {error}. Convert it again with "
            "--overwrite."
        ) from error
    try:
        shard = np.memmap(job.shard_path, np.uint8, "r")
        bounds = decode_shard_index(shard, shard_samples=job.layout.shard_samples)
    except (OSError, ValueError) as error:
        if any(rows["status"][place] != FAILED for place in places):
            raise InputError(
                f"A shard must be whole to change some of its samples. Received: {job.shard_path}: {error}. Run `hpa "
                "verify` with --source and --repair."
            ) from error
        black = np.zeros(job.layout.image_shape, np.uint8)
        return {
            place: _encode(job, black, FAILED, str(rows["note"][place]), str(rows["note_file"][place]))
            for place in places
        }
    return {
        place: _Encoded(
            chunk=shard[slice(*bounds[place].tolist())].tobytes(), **{name: rows[name][place] for name in rows}
        )
        for place in places
    }


def _encode_sample(job: _Job, place: int) -> _Encoded:
    """Read and encode one sample."""
    try:
        sample = job.read(job.items[place])
    except InputError as error:
        if job.stop_at_failure:
            raise
        return _encode(job, np.zeros(job.layout.image_shape, np.uint8), FAILED, str(error), error.file)
    return _encode(job, sample.image, sample.status, sample.note, "")


def _encode(job: _Job, image: npt.NDArray[np.uint8], status: int, note: str, file: str) -> _Encoded:
    return _Encoded(
        chunk=encode_chunk(image, get_codec(job.codec)),
        checksum=compute_checksum(image),
        sums=sum_pixels(image),
        status=status,
        note=_clean_text(note),
        note_file=_clean_text(file),
    )


def _clean_text(text: str) -> str:
    """Make text that any store takes of what a file or its name may say: in UTF-8, of bounded length."""
    return text.encode(errors="backslashreplace").decode()[:MAX_NOTE]


def _finish(part: Part, good: npt.NDArray[np.bool_]) -> None:
    """Write the statistics over the good samples into the manifest, and the list of failures into the store."""
    y, x, _ = part.layout.image_shape
    manifest = replace(part.manifest, statistics=channel_statistics(part.read_sums()[good], pixels=y * x))
    if manifest != part.manifest:
        part.group.attrs.put(manifest.encode())
    write_failures(part.path.parent)
