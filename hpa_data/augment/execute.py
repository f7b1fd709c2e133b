"""Augmented copies of rare samples: the plan for a store, and the part that holds them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from hpa_data.augment.copy_task import close_readers, copy_function
from hpa_data.augment.oversample import plan_copies
from hpa_data.augment.plan import NOISE_SIZE_FACTOR, AugmentationPlan, plan_augmentation
from hpa_data.augment.transform import replay
from hpa_data.dataset import PENDING, is_readable
from hpa_data.errors import InputError
from hpa_data.format.statistics import ChannelStatistics
from hpa_data.store.create import create_part, find_existing
from hpa_data.store.failures import Failure, list_failures
from hpa_data.store.store import open_store
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism, check_cluster
from hpa_data.system.lock import hold_store
from hpa_data.system.progress import SILENT, Progress

__all__ = ["augment_store", "check_augmentation", "plan_augmentation", "plan_copies", "replay"]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What was made of a plan.

    Attributes
    ----------
    store : Path
    part : str
    n_copies : int
        In the part.
    n_ok : int
        Of them, readable.
    failures : tuple of Failure
        Copies that could not be made, because their parent is damaged; also in the store's ``failures.csv``.
    n_bytes : int
        On disk, the images of the part.
    statistics : Statistics or None
        Channel mean and standard deviation; None if no copy is readable.
    """

    store: Path
    part: str
    n_copies: int
    n_ok: int
    failures: tuple[Failure, ...]
    n_bytes: int
    statistics: ChannelStatistics | None


def augment_store(
    plan: AugmentationPlan,
    *,
    workers: Parallelism | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Augmentation:
    """Make the copies of a plan, or go on with a part of them that was begun.

    Parameters
    ----------
    plan : AugmentationPlan
        Without a copy, nothing is done.
    workers : Parallelism, optional
    overwrite : bool
        Delete a part of that name first.
    progress : Progress, optional
        Of copies.

    Returns
    -------
    Augmentation
        The bytes of the part do not depend on workers, and not on how often it was begun.

    Raises
    ------
    InputError
        If the store holds something else or has another writer, the disk cannot hold the copies, or the workers cannot
        be reached. Nothing is written then.
    """
    workers = workers or Parallelism()
    store = plan.part.path
    if not plan.tasks:
        return Augmentation(
            store=store, part=plan.part.name, n_copies=0, n_ok=0, failures=(), n_bytes=0, statistics=None
        )
    check_cluster(workers, [str(store)])
    with hold_store(store):
        check_augmentation(plan, overwrite=overwrite)
        begun = create_part(plan.part, overwrite=overwrite)
        progress.start(begun.count_pending())
        try:
            write_shards(begun, plan.tasks, copy_function(store), workers=workers, progress=progress.part())
        finally:
            close_readers()
        done = open_store(store).part(plan.part.name)
        status = done.read_status()
        return Augmentation(
            store=store,
            part=done.name,
            n_copies=len(status),
            n_ok=int(is_readable(status).sum()),
            failures=tuple(list_failures(done)),
            n_bytes=done.count_bytes(),
            statistics=done.manifest.statistics,
        )


def check_augmentation(plan: AugmentationPlan, *, overwrite: bool = False) -> None:
    """Refuse a plan that cannot be carried out; nothing is written.

    Raises
    ------
    InputError
        If the part was begun with other settings or samples, its parents have changed since the plan, or the disk
        cannot hold the copies, judged by their parents.
    """
    store = open_store(plan.part.path)
    for name, mark in plan.part.settings["parents"].items():
        if store.part(name).manifest.fingerprint != mark:
            raise InputError(f"Parts that are copied must stay as they are. Received: {name!r}, changed. Try again.")
    begun = None if overwrite else find_existing(plan.part)
    share = 1.0 if begun is None else float((begun.read_status() == PENDING).mean())
    free_bytes = shutil.disk_usage(plan.part.path).free
    if overwrite:  # what is at the part's place is deleted first
        old = plan.part.path / plan.part.name
        free_bytes += sum(path.stat().st_size for path in old.rglob("*") if path.is_file())
    n_bytes = share * plan.summary.n_bytes
    if n_bytes * NOISE_SIZE_FACTOR > free_bytes:
        raise InputError(
            f"The disk must hold the part. Received: {plan.part.path} with {free_bytes / 1e6:.0f} MB free, where it "
            f"takes {n_bytes / 1e6:.0f} to {n_bytes * NOISE_SIZE_FACTOR / 1e6:.0f} MB. Make room, or lower --min-count."
        )
