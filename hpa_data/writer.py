"""What is written when: the shards of a part, and what counts as written.

A shard of images is written whole by one task: its file first, under another name until it is complete, then its
checksums and sums, last its `status`. Only `status` tells what exists, so that a killed conversion goes on with the
shards whose status is still pending.
"""

import contextlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import dask
import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.errors import InputError
from hpa_data.layout import ShardTask, plan_shards
from hpa_data.schema import FAILED, OK, PENDING, is_readable, measure_statistics
from hpa_data.shards import encode_chunk, find_codec, join_shard
from hpa_data.store import Part

Produce = Callable[[int], npt.NDArray[np.uint8]]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A sample that could not be written, and why."""

    id: str
    reason: str


def write_shards(
    part: Part,
    produce: Produce,
    *,
    workers: int | None = None,
    on_shard: Callable[[ShardTask], None] | None = None,
) -> list[Failure]:
    """Write every shard of a part with a pending or failed sample, one Dask task each, and then the statistics.

    Parameters
    ----------
    part : Part
        As `begin_part` gave it.
    produce : function of int
        Returns the image of a sample, uint8 (Y, X, C). Called from several threads, in any order. An InputError marks
        the sample as failed; its image is then black.
    workers : int, optional
        Threads; by default one a core. Memory is bounded by this many times ``part.layout.task_bytes``.
    on_shard : function of ShardTask, optional
        Called after each shard, from any thread.

    Returns
    -------
    list of Failure
        In the order of the samples. The store's bytes do not depend on the number of workers.
    """
    size = part.layout.shard_samples
    # A failed sample of a part that is not finished is tried again, or a conversion that goes on would not list it.
    open_shards = np.unique(np.flatnonzero(np.isin(part.status, (PENDING, FAILED))) // size)
    tasks = plan_shards(part.layout, shards=open_shards.tolist())

    def write(task: ShardTask) -> list[Failure]:
        failures = _write_shard(part, task, produce)
        if on_shard is not None:
            on_shard(task)
        return failures

    results = dask.compute(
        # Dask takes the last name first: named so, shards are written in rising order.
        *[dask.delayed(write)(task, dask_key_name=f"{part.layout.n_shards - task.shard:09}") for task in tasks],
        scheduler="threads",
        num_workers=workers or CPU_COUNT,
    )
    _finish(part)
    return [failure for failures in results for failure in failures]


def _write_shard(part: Part, task: ShardTask, produce: Produce) -> list[Failure]:
    """Produce, encode and write the samples of one shard; then say so in `status`."""
    codec = find_codec(part.manifest.settings["codec"])
    n_samples = task.stop - task.start
    status = np.full(n_samples, OK, np.uint8)
    checksum = np.zeros(n_samples, np.uint32)
    sums = np.zeros((n_samples, part.layout.image_shape[-1], 2), np.uint64)
    chunks, failures = [], []
    for place in range(n_samples):
        try:
            image = produce(task.start + place)
        except InputError as error:
            image = np.zeros(part.layout.image_shape, np.uint8)
            status[place] = FAILED
            failures.append(Failure(id=part.ids[task.start + place], reason=str(error)))
        chunks.append(encode_chunk(image, codec))
        checksum[place] = zlib.crc32(image)
        sums[place] = _sum_pixels(image)
    _write_whole(part.shard_path(task.shard), join_shard(chunks, shard_samples=part.layout.shard_samples))
    for name, values in (("checksum", checksum), ("sums", sums), ("status", status)):
        part.group[name][task.start : task.stop] = values  # type: ignore[index]
    return failures


def _sum_pixels(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Sum each channel of an image, uint8 (Y, X, 4), and its squares, exactly: uint64 (4, 2)."""
    squares = np.multiply(image, image, dtype=np.uint16)
    # OpenCV sums in float64, which is exact below 2^53, in a fifth of the time that NumPy takes.
    return np.array([cv2.sumElems(image), cv2.sumElems(squares)]).T.astype(np.uint64)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            # A full disk must show here, before `status` says that the shard exists.
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise


def _finish(part: Part) -> None:
    """Write the statistics over the good samples into the manifest: now the part is whole."""
    good = is_readable(part.status)
    y, x, _ = part.layout.image_shape
    statistics = measure_statistics(part.sums[good], pixels=y * x)
    part.group.attrs.put(replace(part.manifest, statistics=statistics).encode())
