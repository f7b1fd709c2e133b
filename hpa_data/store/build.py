"""Building a part from its plan: lock, check the disk, create or resume, write, count."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hpa_data.dataset import FILLED, Sample, is_readable
from hpa_data.errors import InputError
from hpa_data.format.statistics import ChannelStatistics
from hpa_data.store.create import PartPlan, create_new_part, find_existing
from hpa_data.store.failures import Failure, list_failures
from hpa_data.store.opening import seal_part
from hpa_data.store.part import Part
from hpa_data.store.store import open_store
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism, check_cluster
from hpa_data.system.progress import SILENT, Progress

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What a part holds after it was built."""

    store: Path

    part: str

    n_samples: int

    n_ok: int
    """Samples whose image can be read."""

    n_filled: int
    """Of these, samples with a missing channel that is zero."""

    failures: tuple[Failure, ...]
    """The other samples; ``failures.csv`` in the store lists them, too."""

    warnings: tuple[str, ...]
    """About samples that can be read, such as files dominated by another color than their name states."""

    n_bytes: int
    """Size of the images on disk."""

    statistics: ChannelStatistics | None
    """None if no sample can be read."""


def _accept() -> None:
    pass


def _prepare(n_samples: int) -> None:
    pass


def _end(part: Part) -> None:
    pass


def build_part(
    plan: PartPlan,
    items: Sequence[Item],
    read: Callable[[Item], Sample],
    *,
    expected_bytes: Callable[[int], int],
    check: Callable[[], None] = _accept,
    prepare: Callable[[int], None] = _prepare,
    finish: Callable[[Part], None] = _end,
    paths: Sequence[str] = (),
    workers: Parallelism | None = None,
    stop_at_failure: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PartReport:
    """Build a part of a store, or resume building it: pending samples are written, failed ones are tried again.

    Parameters
    ----------
    plan : PartPlan
    items, read
        See `write_shards`.
    expected_bytes : function of int
        Estimates the size on disk of that many samples. Called only if the disk could not hold them uncompressed.
    check : function, optional
        Called with the store locked, before anything is written; raises InputError to refuse.
    prepare : function of int, optional
        Called with the number of samples that are about to be read.
    finish : function of a Part, optional
        Called with the part, whose samples are all written, before the store is unlocked.
    paths : sequence of str
        That every worker must see, beside the store.
    workers : Parallelism, optional
    stop_at_failure : bool
        Raise the first InputError of `read` instead of listing the sample as failed.
    overwrite : bool
        Delete a part of that name first.
    progress : Progress, optional
        Of samples; advances after each shard.

    Raises
    ------
    InputError
        If the store holds something else, has another writer, or does not fit on the disk, or the workers cannot be
        reached. Nothing is written then.
    """
    workers = workers or Parallelism()
    storage = plan.storage
    check_cluster(workers, paths)
    with storage.lock():
        storage.check_target(plan.name)
        storage.remove_partial(plan.name)  # before the disk is checked: it takes space
        check()
        existing = None if overwrite else find_existing(plan)
        n_pending = len(plan.ids) if existing is None else existing.count_pending()
        check_disk(plan, n_pending, expected_bytes, overwrite=overwrite)
        part = existing or create_new_part(plan)
        progress.start(n_pending)
        prepare(n_pending)
        write_shards(
            part, items, read, workers=workers, paths=paths, stop_at_failure=stop_at_failure, progress=progress.part()
        )
        written = open_store(storage).part(plan.name)
        finish(written)
        seal_part(open_store(storage).part(plan.name))
        return _report(written, plan.path)


def check_disk(
    plan: PartPlan, n_pending: int, expected_bytes: Callable[[int], int], *, overwrite: bool = False
) -> None:
    """Refuse to build a part of which the disk cannot hold the pending samples: InputError."""
    free_bytes = plan.storage.free_bytes()
    if overwrite:  # what is deleted first
        free_bytes += plan.storage.size(plan.name)
    if n_pending * plan.layout.image_bytes <= free_bytes:
        return
    n_bytes = expected_bytes(n_pending)
    if n_bytes > free_bytes:
        raise InputError(
            f"Cannot write part {plan.name!r}: it takes about {n_bytes / 1e6:.0f} MB, and {plan.storage.location} has "
            f"{free_bytes / 1e6:.0f} MB free. Free some space, or use another disk."
        )


def _report(part: Part, store: Path) -> PartReport:
    status = part.read_status()
    readable = is_readable(status)
    notes = zip(part.read_notes(), readable.tolist(), strict=True)
    return PartReport(
        store=store,
        part=part.name,
        n_samples=len(status),
        n_ok=int(readable.sum()),
        n_filled=int((status == FILLED).sum()),
        failures=tuple(list_failures(part)),
        warnings=tuple(note for (note, _), is_good in notes if note and is_good),
        n_bytes=part.count_bytes(),
        statistics=part.manifest.statistics,
    )
