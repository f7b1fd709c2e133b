"""Compare a store with its checksums and its source, and repair what is wrong."""

import contextlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, FILLED, OK, PENDING, is_readable
from hpa_data.errors import InputError
from hpa_data.format.codecs import Codec, decode_chunk, decode_shard_index, get_codec
from hpa_data.format.layout import ShardTask, plan_shards
from hpa_data.format.statistics import channel_statistics, compute_checksum, sum_pixels
from hpa_data.store.part import Part
from hpa_data.store.store import Store, open_store
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import sample_threads
from hpa_data.verify.source import Source, find_source


class State(StrEnum):
    """What a check finds about a sample, or about a part."""

    OK = "ok"
    FILLED = "filled"
    """A channel that its source lacks is black."""
    BLACK = "black"
    """Every pixel is 0, and the checksum confirms it."""
    MISSING = "missing"
    """Not converted yet, or lost."""
    FAILED = "failed"
    """Could not be read when it was converted."""
    CORRUPT = "corrupt"
    """Cannot be decoded, or disagrees with its checksum or other metadata."""
    DIFFERS = "differs"
    """The source has other pixels."""
    UNREADABLE_SOURCE = "unreadable_source"
    """The store has it, but the source cannot be read, or lacks the sample."""

    @property
    def is_error(self) -> bool:
        """Whether something is wrong."""
        return self not in {State.OK, State.FILLED, State.BLACK}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The state of one sample, or of a part as a whole."""

    part: str
    id: str = ""
    """Of the sample; empty for the part as a whole."""
    state: State
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a check found; after the repair, if there was one."""

    store: Path
    counts: dict[State, int]
    """Samples in each state, zeros included."""
    findings: tuple[Finding, ...]
    """All that is not simply ok; part by part, in the order of the samples."""
    n_repaired: int
    """Samples that were written again."""

    @property
    def n_errors(self) -> int:
        """Samples and whole parts that something is wrong with."""
        return sum(finding.state.is_error for finding in self.findings)


def verify_store(
    path: str | Path,
    *,
    parts: Sequence[str] = (),
    source: str | Path | None = None,
    repair: bool = False,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> Verification:
    """Check each sample of a store against its checksum and its source; repair what is wrong.

    Parameters
    ----------
    path : str or Path
        The store.
    parts : sequence of str
        Names of parts; by default all.
    source : str or Path, optional
        The files that the part was converted from; they are read with the options of that time. For augmented copies,
        the store itself: they are made again from their parents and compared.
    repair : bool
        Write again, from the source, samples that are missing, failed, corrupt or differ, and copies from their
        parents. All else keeps its bytes.
    threads : int, optional
        By default one per core.
    progress : Progress, optional
        Of samples; started before each pass.

    Raises
    ------
    InputError
        If the store cannot be opened or is not in a folder, or the source does not fit the parts.
    """
    store = open_store(path)
    if store.mirror:  # before the parts are listed, which not every server can
        raise InputError(f"Cannot verify {store.location}: it is not in a folder. Verify a copy, or where it was made.")
    names = list(dict.fromkeys(parts)) or store.parts()
    _check_arguments(store, names, parts, source, repair=repair)
    findings: list[Finding] = []
    n_repaired = 0
    with store.storage.lock() if repair else contextlib.nullcontext():
        for name in names:
            try:
                part = store.part(name)
                part.require_native_layout()
                origin = find_source(store, part, source, repair=repair)
            except InputError as error:
                if parts:
                    raise
                findings.append(Finding(part=name, state=State.CORRUPT, reason=str(error)))
                continue
            try:
                found = check_part(part, origin, threads=threads, progress=progress)
            except InputError as error:
                findings.append(Finding(part=name, state=State.CORRUPT, reason=str(error)))
                continue
            if repair and origin is not None:
                rows = _choose_repairs(found, origin)
                n_repaired += int(rows.sum())
                again = _repair_part(part, origin, rows, threads=threads, progress=progress)
                if rows.any():
                    origin.on_repaired(store.part(name))
                found = [again.get(finding.id, finding) for finding in found]
            findings += _check_statistics(store.part(name)) + found
    counts = Counter(finding.state for finding in findings if finding.id)
    return Verification(
        store=store.path,
        counts={state: counts[state] for state in State},
        findings=tuple(finding for finding in findings if finding.state != State.OK),
        n_repaired=n_repaired,
    )


def _check_arguments(
    store: Store, names: Sequence[str], parts: Sequence[str], source: str | Path | None, *, repair: bool
) -> None:
    """Raise InputError unless there is something to check, and a source for exactly one part or for a repair."""
    if not names:
        raise InputError(f"Cannot verify {store.location}: it has no part. Pass the folder of a store.")
    if source is not None and len(names) != 1:
        raise InputError(
            f"source must be given for one part alone. Received: parts {', '.join(names)}. Pass one --part."
        )
    if repair and source is None and not (parts and all(store.part(name).copies is not None for name in names)):
        raise InputError(
            "repair must have a source. Received: none. Pass --part, and --source with its files; augmented copies "
            "need no --source."
        )


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
    threads: int | None = None,
    progress: Progress = SILENT,
) -> list[Finding]:
    """Check the samples of a part, or of some of its shards.

    Returns
    -------
    list of Finding
        One per sample, in their order, also for those that are ok.

    Raises
    ------
    InputError
        If the metadata of the part cannot be read.
    """
    arrays = part.read_metadata()  # also those that are not compared below, so that damage to any is found
    rows = [_Row(*values) for values in zip(*(arrays[name].tolist() for name in _Row._fields), strict=True)]
    tasks = plan_shards(part.layout, shards=shards)
    findings: list[Finding] = []
    progress.start(sum(task.stop - task.start for task in tasks))
    with sample_threads(Parallelism(threads=threads).threads_per_task) as team:
        for found in team.map(partial(_check_shard, part, source, rows), tasks):
            findings += found
            progress.advance(len(found))
    return findings


def _check_shard(part: Part, source: Source | None, rows: Sequence[_Row], task: ShardTask) -> list[Finding]:
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
        findings.append(Finding(part=part.name, id=row.id, state=state, reason=reason))
    return findings


def _read_chunks(part: Part, task: ShardTask) -> list[npt.NDArray[np.uint8]] | tuple[State, str]:
    """Read the encoded samples of a shard; or the state of all of them, if it cannot be read."""
    path = part.shard_path(task.shard)
    if not path.is_file():
        return State.MISSING, "its shard is missing"
    try:
        shard = np.fromfile(path, np.uint8)
        bounds = decode_shard_index(shard, shard_samples=part.layout.shard_samples)
    except (OSError, ValueError) as error:
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


def _check_statistics(part: Part) -> list[Finding]:
    """Compare the channel statistics in the manifest with those of the samples, once all are written."""
    status, recorded = part.read_status(), part.manifest.statistics
    if (status == PENDING).any():
        is_right = recorded is None or not recorded.n_samples
    else:
        y, x, _ = part.layout.image_shape
        is_right = recorded == channel_statistics(part.read_sums()[is_readable(status)], pixels=y * x)
    reason = "its channel statistics are not those of its samples"
    return [] if is_right else [Finding(part=part.name, state=State.CORRUPT, reason=reason)]


def _choose_repairs(findings: Sequence[Finding], source: Source) -> npt.NDArray[np.bool_]:
    """Choose the samples to write again, bool (N,).

    A sample that is good in the store but unreadable in its source stays. A lost one is tried in any case, so that at
    least its failure is recorded.
    """
    states = np.array([finding.state for finding in findings])
    is_lost = np.isin(states, [State.MISSING, State.CORRUPT, State.DIFFERS])
    return is_lost | ((states == State.FAILED) & source.exists)


def _repair_part(
    part: Part, source: Source, rows: npt.NDArray[np.bool_], *, threads: int | None, progress: Progress
) -> dict[str, Finding]:
    """Write samples again, bool (N,); return what a second check finds in their shards, by sample id."""
    part.storage.remove_partial(part.name)
    progress.start(int(rows.sum()))
    workers = Parallelism(threads=threads)
    write_shards(part, source.items, source.read, rewrite=rows, workers=workers, progress=progress.part())
    shards = np.unique(np.flatnonzero(rows) // part.layout.shard_samples).tolist()
    again = check_part(part, source, shards=shards, threads=threads, progress=progress)
    return {finding.id: finding for finding in again}
