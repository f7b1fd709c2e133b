"""Writing one shard: its samples are read, encoded and written, then what is known of them, and `status` last."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, Sample
from hpa_data.errors import InputError
from hpa_data.format.arrays import IMAGES, ArraySpec
from hpa_data.format.codecs import (
    decode_shard_index,
    encode_chunk,
    encode_metadata_chunk,
    encode_shard_index,
    encode_text_chunk,
    get_codec,
)
from hpa_data.format.columns import decode_chunk_rows, find_max_chunk_bytes
from hpa_data.format.layout import Layout, ShardTask, find_shard
from hpa_data.format.statistics import compute_checksum, sum_pixels
from hpa_data.store.fence import Fence, SupersededError
from hpa_data.store.seal import OpenShard, checksum_rows
from hpa_data.store.storage import Storage
from hpa_data.system.files import refuse_unreadable
from hpa_data.system.threads import ThreadTeam

Item = TypeVar("Item")
Read = Callable[[Item], Sample]

# Letters of a note: the names that a file gives its planes, for example, may be of any length.
MAX_NOTE = 1000

# Samples after which the writing thread is woken: waking it for each costs 3 % of the time.
GROUP = 8


class _Encoded(NamedTuple):
    """A sample, ready to be written."""

    chunk: bytes | memoryview
    row: dict[str, Any]  # its value in each array of the job


@dataclass(frozen=True, kw_only=True)
class ShardJob:
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
    fence: Fence
    opened: OpenShard | None = None
    """What the samples that stay must be, if the part has a seal."""

    @property
    def kept(self) -> list[int]:
        """Rows of the shard that stay as they are."""
        return [index for index, item in enumerate(self.items) if item is None]

    @property
    def shard_key(self) -> str:
        """Key of the shard's images."""
        return f"{self.part}/{find_shard(IMAGES.name, self.task.shard).as_posix()}"

    def describe(self) -> str:
        """Name it in messages."""
        return f"shard {self.task.shard} of part {self.part!r}, rows {self.task.start} to {self.task.stop - 1}"


def find_row_chunk(part: str, spec: ArraySpec, shard: int) -> str:
    """Return the key of a shard's chunk in an array with a row per sample."""
    return "/".join([part, spec.name, "c", str(shard), *["0"] * (len(spec.dimensions) - 1)])


def write_shard(job: ShardJob, threads: ThreadTeam) -> None:
    """Read, encode and write the samples of one shard; then record that in `status`."""
    with contextlib.suppress(SupersededError):
        job.fence.check()  # before the work, too: on another disk there is no lock
        _write_samples(job, threads)


def _write_samples(job: ShardJob, threads: ThreadTeam) -> None:
    kept = _read_kept(job)
    to_do = [index for index, item in enumerate(job.items) if item is not None]
    ready = kept
    rows: list[dict[str, Any]] = []
    lengths: list[int] = []
    with (
        job.storage.open_writer(job.shard_key, before_replace=partial(_declare_pending, job)) as file,
        contextlib.closing(_encode_samples(job, threads, to_do, ready)) as encoding,
    ):
        for _ in encoding:
            while (sample := ready.pop(len(rows), None)) is not None:
                file.write(sample.chunk)
                lengths.append(len(sample.chunk))
                rows.append(sample.row)  # the chunk is written: its memory is free for the next
        file.write(encode_shard_index(lengths, shard_samples=job.layout.shard_samples))
    _write_rows(job, rows)


def _encode_samples(
    job: ShardJob, threads: ThreadTeam, indices: Sequence[int], ready: dict[int, _Encoded]
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


def _declare_pending(job: ShardJob) -> None:
    """Declare samples of a shard pending whose images are about to be replaced: until their rows exist, too.

    A shard that is written for the first time has no status yet.
    """
    job.fence.check()
    pending = job.fence.states[-1]
    if pending is not None:
        job.storage.put(job.fence.status_key, pending, before_replace=job.fence.check)
    job.fence.check()


def _write_rows(job: ShardJob, rows: Sequence[dict[str, Any]]) -> None:
    """Write what is known of the samples of a shard, `status` last."""
    for spec in job.arrays:
        _write_chunk(job, spec, [row[spec.name] for row in rows])


def _write_chunk(job: ShardJob, spec: ArraySpec, rows: Sequence[Any]) -> None:
    """Write a shard's chunk of an array with a row per sample."""
    key, size = find_row_chunk(job.part, spec, job.task.shard), job.layout.shard_samples
    if spec.dtype != "string":
        content = encode_metadata_chunk(np.array(rows, spec.dtype), chunk_rows=size)
    elif any(rows):
        content = encode_text_chunk(rows, chunk_rows=size)
    else:
        job.fence.check()
        job.storage.delete(key)
        return
    job.storage.put(key, content, before_replace=job.fence.check)


def _read_rows(job: ShardJob, spec: ArraySpec) -> npt.NDArray[Any]:
    """Read the shard's rows of an array with a row per sample; ValueError or RuntimeError if they are damaged."""
    shape = (job.layout.shard_samples, *spec.shape(job.layout, n_classes=0)[1:])
    dtype = None if spec.dtype == "string" else np.dtype(spec.dtype)
    max_bytes = find_max_chunk_bytes(shape, None if dtype is None else dtype.itemsize)
    try:
        content = job.storage.get(find_row_chunk(job.part, spec, job.task.shard), max_bytes=max_bytes)
    except FileNotFoundError:
        content = None
    rows = decode_chunk_rows(content, dtype, shape)
    if job.opened and checksum_rows(rows, job.opened.rows) != job.opened.checksums[spec.name]:
        raise ValueError(f"{spec.name} has changed since this command began")
    return rows


def _read_kept(job: ShardJob) -> dict[int, _Encoded]:
    """Read the samples of a shard that stay as they are, by their index in it."""
    indices = job.kept
    if not indices:
        return {}
    path = f"{job.storage.location}/{job.shard_key}"
    try:
        columns = {spec.name: _read_rows(job, spec) for spec in job.arrays}
    except (OSError, ValueError, RuntimeError) as error:
        refuse_unreadable(error, path)
        raise InputError(
            f"Cannot rewrite some samples of {path}: the arrays beside the images are damaged: {error}. Convert the "
            "part again with --overwrite."
        ) from error
    rows = {index: {name: values[index] for name, values in columns.items()} for index in indices}
    try:
        shard = job.storage.view(job.shard_key, max_bytes=job.layout.max_shard_bytes)
        bounds = decode_shard_index(shard, shard_samples=job.layout.shard_samples)
    except (OSError, ValueError) as error:
        refuse_unreadable(error, path)
        if any(row["status"] != FAILED for row in rows.values()):
            raise InputError(
                f"Cannot rewrite some samples of {path}: the shard is damaged: {error}. Run `hpa verify` with --source "
                "and --repair."
            ) from error
        chunk = _encode(job, _failed_sample(job)).chunk
        return {index: _Encoded(chunk, row) for index, row in rows.items()}
    return {index: _Encoded(shard[slice(*bounds[index].tolist())].tobytes(), row) for index, row in rows.items()}


def _encode_sample(job: ShardJob, index: int) -> _Encoded:
    """Read and encode one sample."""
    try:
        sample = job.read(job.items[index])
    except InputError as error:
        if job.stop_at_failure:
            raise
        return _encode(job, _failed_sample(job, str(error)), error.file)
    return _encode(job, sample)


def _failed_sample(job: ShardJob, note: str = "") -> Sample:
    return Sample(image=np.zeros(job.layout.image_shape, np.uint8), status=FAILED, note=note)


def _encode(job: ShardJob, sample: Sample, file: str = "") -> _Encoded:
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
