"""Compare the samples of a part with its checksums and its source."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, FILLED, OK, PENDING
from hpa_data.errors import InputError
from hpa_data.format.codecs import Codec, decode_chunk, decode_shard_index, get_codec
from hpa_data.format.layout import ShardTask, plan_shards
from hpa_data.format.statistics import compute_checksum, sum_pixels
from hpa_data.store.part import Part
from hpa_data.store.seal import METADATA_KEY
from hpa_data.system.executor import Parallelism
from hpa_data.system.files import is_unreadable, read_regular
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import sample_threads
from hpa_data.verify.findings import Finding, State
from hpa_data.verify.sealing import SealCheck, compute_statistics
from hpa_data.verify.source import Source


def find_in_part(name: str, error: InputError) -> Finding:
    """Return what an error says about a part as a whole."""
    state = State.UNREADABLE if is_unreadable(error) else State.CORRUPT
    return Finding(part=name, state=state, reason=str(error))


class _Row(NamedTuple):
    """What the metadata of a part say about one sample."""

    id: str
    status: int
    checksum: int
    sums: list[list[int]]  # (C, 2)
    note: str


def check_part(
    part: Part,
    source: Source | None = None,
    *,
    shards: Sequence[int] | None = None,
    sealed: SealCheck | None = None,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> list[Finding]:
    """Check the samples of a part, or of some of its shards. `sealed` is what its seal says.

    Returns
    -------
    list of Finding
        One per sample, in their order, also for those that are ok.

    Raises
    ------
    InputError
        If the metadata of the part cannot be read.
    """
    sealed = sealed or SealCheck()
    # Without a seal also those that are not compared below, so that damage to any is found. What is damaged, and can
    # state any length, is not decoded.
    names = set(_Row._fields if sealed.is_sealed else part.arrays) - {
        key.split("/")[0] for key in sealed.damaged & {f"note/{METADATA_KEY}"}
    }
    arrays = part.read_metadata(names=names)
    arrays.setdefault("note", np.full(part.layout.n_samples, "", object))
    rows = [_Row(*values) for values in zip(*(arrays[name].tolist() for name in _Row._fields), strict=True)]
    tasks = plan_shards(part.layout, shards=shards)
    findings: list[Finding] = []
    progress.start(sum(task.stop - task.start for task in tasks))
    with sample_threads(Parallelism(threads=threads).threads_per_task) as team:
        for found in team.map(partial(_check_shard, part, source, rows, sealed.shards), tasks):
            findings += found
            progress.advance(len(found))
    return findings


def _check_shard(
    part: Part, source: Source | None, rows: Sequence[_Row], damaged: Mapping[int, str], task: ShardTask
) -> list[Finding]:
    codec = get_codec(part.manifest.settings["codec"])
    image = np.empty(part.layout.image_shape, np.uint8)
    chunks = _read_chunks(part, task)
    findings = []
    for index in range(task.start, task.stop):
        row = rows[index]
        if row.status == PENDING:
            state, reason = State.MISSING, "not yet converted"
        elif row.status == FAILED:
            state, reason = State.FAILED, row.note
        elif isinstance(chunks, list):
            state, reason = _check_chunk(chunks[index - task.start], row, codec, image)
        else:
            state, reason = chunks
        if source is not None and not state.is_error:
            state, reason = _compare(source, index, row) or (state, reason)
        if task.shard in damaged and (not state.is_error or state == State.MISSING):
            state = state if state.is_error else State.CORRUPT
            reason = f"{damaged[task.shard]} fails its checksum in the seal"
        findings.append(Finding(part=part.name, id=row.id, state=state, reason=reason))
    return findings


def _read_chunks(part: Part, task: ShardTask) -> list[npt.NDArray[np.uint8]] | tuple[State, str]:
    """Read the encoded samples of a shard; or the state of all of them, if it cannot be read."""
    path = part.shard_path(task.shard)
    try:
        shard = np.frombuffer(read_regular(path, max_bytes=part.layout.max_shard_bytes), np.uint8)
        bounds = decode_shard_index(shard, shard_samples=part.layout.shard_samples)
    except FileNotFoundError:
        return State.MISSING, "its shard is missing"
    except (OSError, ValueError) as error:
        if is_unreadable(error):
            return State.UNREADABLE, f"its shard cannot be read: {error}. Check its permissions, or the disk"
        return State.CORRUPT, f"its shard cannot be read: {error}"
    return [shard[start:stop] for start, stop in bounds[: task.stop - task.start].tolist()]


def _check_chunk(
    chunk: npt.NDArray[np.uint8], row: _Row, codec: Codec, image: npt.NDArray[np.uint8]
) -> tuple[State, str]:
    """Decode a chunk into `image` and compare it with the metadata."""
    if not len(chunk):
        return State.MISSING, "it is not in its shard"
    try:
        decode_chunk(chunk, image, codec)
    except (ValueError, RuntimeError) as error:
        return State.CORRUPT, f"it cannot be decoded: {error}"
    for is_wrong, reason in (
        (compute_checksum(image) != row.checksum, "its pixels fail the checksum"),
        (not np.array_equal(sum_pixels(image), row.sums), "its sums are not those of its pixels"),
        (row.status not in {OK, FILLED}, f"its status is {row.status}"),
    ):
        if is_wrong:
            return State.CORRUPT, reason
    if not image.any():
        return State.BLACK, "every pixel is 0"
    return (State.FILLED, "a missing channel is black") if row.status == FILLED else (State.OK, "")


def _compare(source: Source, index: int, row: _Row) -> tuple[State, str] | None:
    """Read a sample from its source again; None if the store has the same pixels."""
    try:
        image = source.read(source.items[index]).image
    except InputError as error:
        return State.UNREADABLE_SOURCE, str(error)
    return None if compute_checksum(image) == row.checksum else (State.DIFFERS, "the source has other pixels")


def check_statistics(part: Part) -> list[Finding]:
    """Compare the channel statistics in the manifest with those of the samples, if all are written and readable."""
    if any(key.startswith(("sums/", "status/")) for key in part.lost):
        return []
    recorded = part.manifest.statistics
    try:
        computed = compute_statistics(part)
    except InputError as error:
        return [find_in_part(part.name, error)]
    is_right = recorded == computed or (computed is None and not (recorded and recorded.n_samples))
    reason = "its channel statistics are not those of its samples"
    return [] if is_right else [Finding(part=part.name, state=State.CORRUPT, reason=reason)]
