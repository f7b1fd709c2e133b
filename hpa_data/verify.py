"""A store against its checksums and its source, and the repair of what is wrong."""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.augment.copy_task import copy_function, list_copy_tasks
from hpa_data.dataset import CHANNELS, FAILED, FILLED, OK, PENDING, Sample, is_readable
from hpa_data.errors import InputError
from hpa_data.format.codecs import decode_chunk, decode_shard_index, get_codec
from hpa_data.format.layout import ShardTask, plan_shards
from hpa_data.format.statistics import channel_statistics, compute_checksum, sum_pixels
from hpa_data.sources.naming import SampleFiles, find_samples
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.samples import read_sample
from hpa_data.store.part import Part
from hpa_data.store.store import Store, open_store
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism
from hpa_data.system.lock import hold_store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.threads import sample_threads

# What a sample may be found to be. The last four are faults, which a repair takes on.
KINDS = ("ok", "filled", "black", "missing", "failed", "corrupt", "differs")
FAULTS = ("missing", "failed", "corrupt", "differs")

OTHER_PIXELS = ("differs", "the source has other pixels")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A sample that is not simply ok.

    Attributes
    ----------
    part : str
    id : str
        Empty if it is the part itself.
    kind : str
        ``filled``: a missing channel is black. ``black``: every pixel is 0, and the checksum says that this is right.
        ``missing``: not written, or lost. ``failed``: could not be read when it was converted. ``corrupt``: fails its
        checksum. ``differs``: the source has other pixels, or lacks the sample.
    reason : str
    """

    part: str
    id: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What a check found, after repair if there was one.

    Attributes
    ----------
    store : Path
    counts : dict of str to int
        Samples by kind, in the order of `KINDS`.
    findings : tuple of Finding
        Part after part, in the order of the samples.
    n_repaired : int
        Samples that were made again.
    """

    store: Path
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    n_repaired: int

    @property
    def n_faults(self) -> int:
        """Samples, or whole parts, that are not as they should be."""
        return sum(finding.kind in FAULTS for finding in self.findings)


def verify_store(
    path: str | Path,
    *,
    part: str | None = None,
    source: str | Path | None = None,
    repair: bool = False,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> Verification:
    """Check each sample of a store against its checksum, and against its source.

    Parameters
    ----------
    path : str or Path
        The store.
    part : str, optional
        Only this part; by default all.
    source : str or Path, optional
        The files that the part was made from; read as they were then. Augmented copies are made from the store itself:
        its own path has them replayed.
    repair : bool
        Make again what is missing, failed, corrupt or differs, from the source, and copies from their parents; all else
        stays as it is, bit for bit.
    threads : int, optional
        By default one a core.
    progress : Progress, optional
        Of samples; started before each pass.

    Returns
    -------
    Verification

    Raises
    ------
    InputError
        If the store cannot be opened, a repair has no source, a source does not say for which part, or copies are to be
        held against anything but their parents.
    """
    store = open_store(path)
    names = [part] if part is not None else store.parts()
    if source is not None and len(names) != 1:
        raise InputError(
            f"A source must be that of one part. Received: {path} with {', '.join(names) or 'none'}. Pass --part."
        )
    if not names:
        raise InputError(f"A store to check must have parts. Received: {path}, without. Pass the folder of the store.")
    if repair and source is None and (part is None or store.part(part).copies is None):
        raise InputError(
            "A repair must have a source. Received: none. Pass --part, and --source with its files; copies alone are "
            "made of what is in the store."
        )
    workers = Parallelism(threads=threads)
    local = store.require_local()
    findings: list[Finding] = []
    counts: Counter[str] = Counter()
    n_repaired = 0
    with hold_store(local) if repair else contextlib.nullcontext():
        for name in names:
            try:
                opened = store.part(name)
                opened.require_native_layout()
                origin = _find_origin(store, opened, source, repair=repair)
            except InputError as error:
                if part is not None:
                    raise
                findings.append(Finding(part=name, id="", kind="corrupt", reason=str(error)))
                continue
            check = _Check(part=opened, origin=origin, workers=workers, progress=progress)
            try:
                found = check.run(plan_shards(opened.layout))
            except InputError as error:
                findings.append(Finding(part=name, id="", kind="corrupt", reason=str(error)))
                continue
            if repair and origin is not None:
                redo = _choose_repairs(found, origin)
                n_repaired += int(redo.sum())
                found = _repair(check, found, origin, redo)
            if not _has_right_statistics(store.part(name)):
                reason = "its channel statistics are not those of its samples"
                findings.append(Finding(part=name, id="", kind="corrupt", reason=reason))
            counts.update(kind for kind, _ in found)
            findings += [
                Finding(part=name, id=opened.ids[i], kind=kind, reason=reason)
                for i, (kind, reason) in enumerate(found)
                if kind != "ok"
            ]
    return Verification(
        store=store.path,
        counts={kind: counts[kind] for kind in KINDS},
        findings=tuple(findings),
        n_repaired=n_repaired,
    )


Found = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """What the samples of a part can be made of again.

    Attributes
    ----------
    items : sequence, length N
    read : function of an item
    is_there : array of bool, shape (N,)
        Whether the source has anything of the sample.
    """

    items: Sequence[Any]
    read: Callable[[Any], Sample]
    is_there: npt.NDArray[np.bool_]


def _find_origin(store: Store, part: Part, source: str | Path | None, *, repair: bool) -> _Origin | None:
    """Find what the samples of a part can be made of again; None if nobody asked."""
    if part.copies is not None:
        if source is not None and not (Path(source).is_dir() and Path(source).samefile(store.path)):
            raise InputError(
                f"Copies must be held against their parents in the store. Received: source={source} for part "
                f"{part.name!r}. Pass --source {store.path}."
            )
        if source is None and not repair:
            return None
        tasks = list_copy_tasks(store, part)
        return _Origin(items=tasks, read=copy_function(store.path), is_there=np.ones(len(tasks), np.bool_))
    if source is None:
        return None
    settings = ImportOptions.decode(part.manifest.settings)
    files = _find_files(part, source, settings)
    is_there = np.array([any(plane is not None for plane in sample.planes) for sample in files])
    return _Origin(items=files, read=partial(read_sample, options=settings), is_there=is_there)


def _find_files(part: Part, source: str | Path, settings: ImportOptions) -> list[SampleFiles]:
    """Find the files of each sample of a part, in its order; a sample without any has a fault."""
    by_id = {sample.id: sample for sample in find_samples(source, settings)}
    nothing = (None,) * len(CHANNELS)
    return [by_id.get(name) or SampleFiles(name, nothing, "the source has no files of it") for name in part.ids]


def _has_right_statistics(part: Part) -> bool:
    """Tell whether the manifest of a part that is whole has the statistics of its samples."""
    status = part.read_status()
    if (status == PENDING).any():
        return part.manifest.statistics is None or not part.manifest.statistics.n_samples
    y, x, _ = part.layout.image_shape
    return part.manifest.statistics == channel_statistics(part.read_sums()[is_readable(status)], pixels=y * x)


def _choose_repairs(found: Sequence[Found], origin: _Origin) -> npt.NDArray[np.bool_]:
    """Choose the samples to make again, bool (N,).

    One that is good in the store and cannot be read from its source stays as it is. What is lost is tried in any case:
    then its failure is at least written down.
    """
    return np.array(
        [
            kind in {"missing", "corrupt"} or (kind == "failed" and is_there) or (kind, reason) == OTHER_PIXELS
            for (kind, reason), is_there in zip(found, origin.is_there.tolist(), strict=True)
        ]
    )


def _repair(check: "_Check", found: list[Found], origin: _Origin, redo: npt.NDArray[np.bool_]) -> list[Found]:
    """Make samples again, and check the shards that they lie in once more."""
    check.part.storage.remove_partial(check.part.name)
    check.progress.start(int(redo.sum()))
    write_shards(
        check.part, origin.items, origin.read, rewrite=redo, workers=check.workers, progress=check.progress.part()
    )
    touched = np.unique(np.flatnonzero(redo) // check.part.layout.shard_samples).tolist()
    mended = list(found)
    for task in plan_shards(check.part.layout, shards=touched):
        mended[task.start : task.stop] = check.run([task])
    return mended


@dataclass(frozen=True, kw_only=True)
class _Check:
    """How a part is checked."""

    part: Part
    origin: _Origin | None
    workers: Parallelism
    progress: Progress

    def run(self, tasks: Sequence[ShardTask]) -> list[Found]:
        """Check the samples of some shards; returns kind and reason of each, in order."""
        self.progress.start(sum(task.stop - task.start for task in tasks))
        part = self.part
        rows = _Rows(
            status=part.read_status(),
            checksum=part.read_checksums(),
            sums=part.read_sums(),
            notes=part.read_notes(),
        )
        found: list[Found] = []
        check = partial(_check_shard, self.part, rows, self.origin)
        with sample_threads(self.workers.threads_per_task) as threads:
            for checked in threads.map(check, tasks):
                found += checked
                self.progress.advance(len(checked))
        return found


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The small arrays of a part, read once."""

    status: npt.NDArray[np.uint8]
    checksum: npt.NDArray[np.uint32]
    sums: npt.NDArray[np.uint64]
    notes: list[tuple[str, str]]


def _check_shard(part: Part, rows: _Rows, origin: _Origin | None, task: ShardTask) -> list[Found]:
    path = part.shard_path(task.shard)
    image = np.empty(part.layout.image_shape, np.uint8)
    shard, bounds, fault = None, None, ("missing", "its shard is not there")
    if path.is_file():
        try:
            shard = np.fromfile(path, np.uint8)
            bounds = decode_shard_index(shard, shard_samples=part.layout.shard_samples)
        except (OSError, ValueError) as error:
            fault = ("corrupt", f"its shard cannot be read: {error}")
    found = []
    for index in range(task.start, task.stop):
        kind, reason = fault
        chunk = None
        if shard is not None and bounds is not None:
            start, stop = bounds[index - task.start].tolist()
            chunk = shard[start:stop]
        if rows.status[index] == PENDING:
            kind, reason = "missing", "not yet converted"
        elif rows.status[index] == FAILED:
            kind, reason = "failed", rows.notes[index][0]
        elif chunk is not None:
            kind, reason = _check_image(part, rows, index, chunk, image)
        if origin is not None and kind not in FAULTS:
            kind, reason = _compare(rows, index, origin) or (kind, reason)
        found.append((kind, reason))
    return found


def _check_image(
    part: Part, rows: _Rows, index: int, chunk: npt.NDArray[np.uint8], image: npt.NDArray[np.uint8]
) -> Found:
    """Decode a chunk into `image` and hold it against what the small arrays say of it."""
    if not len(chunk):
        return "missing", "its shard does not hold it"
    try:
        decode_chunk(chunk, image, get_codec(part.manifest.settings["codec"]))
    except (ValueError, RuntimeError) as error:
        return "corrupt", f"it cannot be decoded: {error}"
    for is_wrong, reason in (
        (compute_checksum(image) != rows.checksum[index], "its pixels fail the checksum"),
        (not np.array_equal(sum_pixels(image), rows.sums[index]), "its sums are not those of its pixels"),
        (rows.status[index] not in {OK, FILLED}, f"its status is {rows.status[index]}"),
    ):
        if is_wrong:
            return "corrupt", reason
    if not image.any():
        return "black", "every pixel is 0"
    return ("filled", "a channel of zeros for a missing one") if rows.status[index] == FILLED else ("ok", "")


def _compare(rows: _Rows, index: int, origin: _Origin) -> Found | None:
    """Read a sample from its source again; None if the store has the same."""
    try:
        image = origin.read(origin.items[index]).image
    except InputError as error:
        return "differs", str(error)
    if compute_checksum(image) != rows.checksum[index]:
        return OTHER_PIXELS
    return None
