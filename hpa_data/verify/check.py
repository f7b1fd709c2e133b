"""Compare a store with its checksums and its source, and repair what is wrong."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, FILLED, OK, PENDING
from hpa_data.errors import InputError
from hpa_data.format.arrays import SEAL_KEY
from hpa_data.format.codecs import Codec, decode_chunk, decode_shard_index, get_codec
from hpa_data.format.layout import ShardTask, plan_shards
from hpa_data.format.statistics import compute_checksum, sum_pixels
from hpa_data.reader.kvstore import find_url
from hpa_data.store.opening import seal_part
from hpa_data.store.part import Part
from hpa_data.store.seal import METADATA_KEY
from hpa_data.store.store import Store, open_store
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism
from hpa_data.system.files import is_unreadable, read_regular
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import sample_threads
from hpa_data.verify.findings import Finding, State
from hpa_data.verify.sealing import SealCheck, check_seal, compute_statistics, restore_statistics, seal_checked
from hpa_data.verify.source import Source, find_source


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
    n_sealed: int = 0
    """Parts that a seal was added to."""
    unsealed: tuple[str, ...] = ()
    """Names of parts without a seal, or with one that does not cover all: of their metadata, little is checked."""

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
    seal: bool = False,
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
    seal : bool
        Add a seal to parts that have none, or a damaged one, if everything else in them is right.
    threads : int, optional
        By default one per core.
    progress : Progress, optional
        Of samples; started before each pass.

    Raises
    ------
    InputError
        If the store cannot be opened or is not in a folder, or the source does not fit the parts.
    """
    if find_url(Path(path)):  # before its server is asked for anything
        raise InputError(f"Cannot verify {path}: it is not in a folder. Verify a copy, or where it was made.")
    store = open_store(path)
    names = list(dict.fromkeys(parts)) or store.parts()
    _check_arguments(store, names, parts, source, repair=repair)
    findings: list[Finding] = []
    n_repaired = n_sealed = 0
    unsealed: list[str] = []
    with store.storage.lock() if repair or seal else contextlib.nullcontext():
        for name in names:
            try:
                part = store.part(name, compares_seal=False)  # all is compared at once, below
                part.require_native_layout()
                origin = find_source(store, part, source, repair=repair)
            except InputError as error:
                if parts:
                    raise
                findings.append(_find_in_part(name, error))
                continue
            try:
                sealed = check_seal(part)
                part = replace(part, lost=sealed.damaged)
                found = check_part(part, origin, sealed=sealed, threads=threads, progress=progress)
            except InputError as error:
                findings.append(_find_in_part(name, error))
                continue
            if repair and origin is not None:
                rows = _choose_repairs(found, origin, sealed, part.layout.shard_samples)
                n_repaired += int(rows.sum())
                if sealed.is_damaged:  # it stands in the way of every write, and `seal` makes it again
                    store.storage.delete(f"{name}/{SEAL_KEY}")
                sealed, again = _repair_part(store, part, origin, rows, threads=threads, progress=progress)
                found = [again.get(finding.id, finding) for finding in found]
                part = replace(store.part(name, compares_seal=False), lost=sealed.damaged)
            of_part = _check_statistics(part)
            if seal and not sealed.is_sealed and _may_be_sealed(part, sealed, [*of_part, *found]):
                seal_checked(part)
                sealed = check_seal(part)
                n_sealed += 1
            if not sealed.is_sealed:
                unsealed.append(name)
            of_part += [Finding(part=name, state=State.CORRUPT, reason=reason) for reason in sealed.reasons]
            findings += of_part + found
    counts = Counter(finding.state for finding in findings if finding.id)
    return Verification(
        store=store.path,
        counts={state: counts[state] for state in State},
        findings=tuple(finding for finding in findings if finding.state != State.OK),
        n_repaired=n_repaired,
        n_sealed=n_sealed,
        unsealed=tuple(unsealed),
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


def _find_in_part(name: str, error: InputError) -> Finding:
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


def _check_statistics(part: Part) -> list[Finding]:
    """Compare the channel statistics in the manifest with those of the samples, if all are written and readable."""
    if any(key.startswith(("sums/", "status/")) for key in part.lost):
        return []
    recorded = part.manifest.statistics
    try:
        computed = compute_statistics(part)
    except InputError as error:
        return [_find_in_part(part.name, error)]
    is_right = recorded == computed or (computed is None and not (recorded and recorded.n_samples))
    reason = "its channel statistics are not those of its samples"
    return [] if is_right else [Finding(part=part.name, state=State.CORRUPT, reason=reason)]


def _choose_repairs(
    findings: Sequence[Finding], source: Source, sealed: SealCheck, shard_samples: int
) -> npt.NDArray[np.bool_]:
    """Choose the samples to write again, bool (N,).

    A sample that is good in the store but unreadable in its source stays. A lost one is tried in any case, so that at
    least its failure is recorded. Where the metadata of a shard are damaged, all of its samples are written again, or
    none: what is kept would be sealed. A failed one has nothing to lose then.
    """
    states = np.array([finding.state for finding in findings])
    is_lost = np.isin(states, [State.MISSING, State.CORRUPT, State.DIFFERS])
    rows: npt.NDArray[np.bool_] = is_lost | ((states == State.FAILED) & source.exists)
    for shard in sealed.shards:
        members = slice(shard * shard_samples, (shard + 1) * shard_samples)
        rows[members] = (rows | (states == State.FAILED))[members].all()
    return rows


def _may_be_sealed(part: Part, sealed: SealCheck, findings: Sequence[Finding]) -> bool:
    """Tell whether a part without a seal, or with a damaged one, is right otherwise; samples may have failed."""
    is_right = not any(finding.state.is_error and finding.state != State.FAILED for finding in findings)
    return is_right and (sealed.is_damaged or not sealed.reasons) and not (part.read_status() == PENDING).any()


def _repair_part(
    store: Store, part: Part, source: Source, rows: npt.NDArray[np.bool_], *, threads: int | None, progress: Progress
) -> tuple[SealCheck, dict[str, Finding]]:
    """Write samples again, bool (N,); return what a second check finds: of the seal, and in their shards by id."""
    restore_statistics(part)
    part.storage.remove_partial(part.name)
    progress.start(int(rows.sum()))
    workers = Parallelism(threads=threads)
    write_shards(part, source.items, source.read, rewrite=rows, workers=workers, progress=progress.part())
    if rows.any():
        source.on_repaired(store.part(part.name, compares_seal=False))
    part = store.part(part.name, compares_seal=False)
    sealed = check_seal(part)
    if not sealed.shards:  # or nothing is sealed yet of those that could not be repaired
        seal_part(part)
        sealed = check_seal(part)
    part = replace(part, lost=sealed.damaged)
    shards = np.unique(np.flatnonzero(rows) // part.layout.shard_samples).tolist()
    again = check_part(part, source, shards=shards, sealed=sealed, threads=threads, progress=progress)
    return sealed, {finding.id: finding for finding in again}
