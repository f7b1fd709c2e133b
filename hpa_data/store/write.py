"""Writing the shards of a part.

One task writes one shard: first its images, which appear once they are complete, then what is known of its samples,
and `status` last. Only `status` tells which samples exist, so a killed conversion resumes with those still pending.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, PENDING, is_readable
from hpa_data.format.codecs import encode_metadata_chunk
from hpa_data.format.layout import Layout, ShardTask, plan_shards
from hpa_data.format.statistics import channel_statistics
from hpa_data.store.failures import Failure, write_failures
from hpa_data.store.fence import Fence, read_state
from hpa_data.store.opening import replace_manifest
from hpa_data.store.part import Part
from hpa_data.store.seal import OpenShard, open_seal
from hpa_data.store.shard import Item, Read, ShardJob, find_row_chunk, write_shard
from hpa_data.system.executor import Parallelism, run_tasks
from hpa_data.system.progress import SILENT, Progress

# Times that shards are written again which a worker that woke late has declared pending.
MAX_ROUNDS = 5

# Copies of a file's decoded bytes while it is read (its planes separated, one of them as float32): 6 were measured.
READING_COPIES = 7


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
    paths: Sequence[str] = (),
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
    paths : sequence of str
        What `read` needs, for the proof of the workers of a cluster.
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
    jobs = _list_jobs(part, items, read, status, rewrite, stop_at_failure=stop_at_failure)

    reported: set[int] = set()

    def report(job: ShardJob) -> None:
        if job.task.shard not in reported:
            reported.add(job.task.shard)
            progress.advance(int(rewrite[job.task.start : job.task.stop].sum()))

    opened: dict[int, OpenShard] = {}
    if jobs:  # before anything is written; `seal_part` seals it again
        opened = open_seal(storage, part.name, {job.task.shard: job.kept for job in jobs}, part.arrays.values())
    lost = {find_row_chunk("", spec, job.task.shard).lstrip("/") for job in jobs for spec in part.shard_arrays}
    part = replace(part, lost=part.lost - lost)  # they are written now
    for _ in range(MAX_ROUNDS):
        run_tasks(
            write_shard,
            [replace(job, opened=opened.get(job.task.shard)) for job in jobs],
            workers=workers,
            on_done=report,
            paths=[*paths, str(storage.location)],
            describe=lambda job: job.describe(),
        )
        if workers.scheduler:
            # No worker that was given up, and wakes now, can write from here on. What it has left is removed.
            storage.renew_lock()
            storage.remove_partial(part.name)
        status = part.read_status()
        pending = rewrite & (status == PENDING)
        if not pending.any():
            break
        # Only such a worker can have declared samples pending after another one had written them.
        jobs = _list_jobs(part, items, read, status, pending, stop_at_failure=stop_at_failure)
    else:
        raise RuntimeError(f"some shards of {part.path} were not written, although their tasks ended without an error")
    _write_statistics(part, is_readable(status))
    return write_failures(part)


def _list_jobs(
    part: Part,
    items: Sequence[Item],
    read: Read[Item],
    status: npt.NDArray[np.uint8],
    rewrite: npt.NDArray[np.bool_],
    *,
    stop_at_failure: bool,
) -> list[ShardJob]:
    """Plan a task for each shard with samples to write."""
    storage, size = part.storage, part.layout.shard_samples
    lock = storage.read_lock()
    spec = next(spec for spec in part.shard_arrays if spec.name == "status")

    def plan_fence(task: ShardTask) -> Fence:
        key = find_row_chunk(part.name, spec, task.shard)
        before = read_state(storage, key)
        rows = slice(task.start, task.stop)
        pending = np.where(rewrite[rows], PENDING, status[rows]).astype(spec.dtype)
        states = (before,) if before is None else (before, encode_metadata_chunk(pending, chunk_rows=size))
        return Fence(storage=storage, lock=lock, status_key=key, states=states)

    return [
        ShardJob(
            storage=storage,
            part=part.name,
            layout=part.layout,
            codec=part.manifest.settings["codec"],
            arrays=part.shard_arrays,
            task=task,
            items=tuple(items[i] if rewrite[i] else None for i in range(task.start, task.stop)),
            read=read,
            stop_at_failure=stop_at_failure,
            fence=plan_fence(task),
        )
        for task in plan_shards(part.layout, shards=np.unique(np.flatnonzero(rewrite) // size).tolist())
    ]


def _write_statistics(part: Part, readable: npt.NDArray[np.bool_]) -> None:
    """Write the statistics over the readable samples into the manifest."""
    y, x, _ = part.layout.image_shape
    manifest = replace(part.manifest, statistics=channel_statistics(part.read_sums()[readable], pixels=y * x))
    replace_manifest(part, manifest)
