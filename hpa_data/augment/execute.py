"""Making the augmented copies of a plan, and writing them as a part."""

from functools import partial

from hpa_data.augment.copy_task import close_readers, copy_function
from hpa_data.augment.oversample import plan_copies
from hpa_data.augment.plan import NOISE_SIZE_FACTOR, AugmentationPlan, plan_augmentation
from hpa_data.augment.transform import replay
from hpa_data.errors import InputError
from hpa_data.store.build import PartReport, build_part, check_disk
from hpa_data.store.create import count_pending
from hpa_data.store.store import open_store
from hpa_data.system.executor import Parallelism
from hpa_data.system.progress import SILENT, Progress

__all__ = ["augment_store", "check_augmentation", "plan_augmentation", "plan_copies", "replay"]


def augment_store(
    plan: AugmentationPlan,
    *,
    workers: Parallelism | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PartReport:
    """Make the copies of a plan, or resume making them; see `store.build.build_part`.

    Parameters
    ----------
    plan : AugmentationPlan
        If it has no copies, nothing is done.
    workers : Parallelism, optional
    overwrite : bool
        Delete a part of that name first.
    progress : Progress, optional
        Of copies; advances after each shard.

    Returns
    -------
    PartReport
        Its failures are copies of damaged parents.

    Raises
    ------
    InputError
        As `check_augmentation`, or if the store has another writer or the workers cannot be reached. Nothing is written
        then.
    """
    store = plan.part.path
    if not plan.tasks:
        return PartReport(
            store=store,
            part=plan.part.name,
            n_samples=0,
            n_ok=0,
            n_filled=0,
            failures=(),
            warnings=(),
            n_bytes=0,
            statistics=None,
        )
    try:
        return build_part(
            plan.part,
            plan.tasks,
            copy_function(store),
            expected_bytes=partial(_expect_bytes, plan),
            check=partial(_check_parents, plan),
            paths=[str(store)],
            workers=workers,
            overwrite=overwrite,
            progress=progress,
        )
    finally:
        close_readers()


def check_augmentation(plan: AugmentationPlan, *, overwrite: bool = False) -> None:
    """Refuse a plan that cannot be carried out; nothing is written.

    Raises
    ------
    InputError
        If the part exists with other settings or samples, its parents have changed since the plan, or the disk cannot
        hold the copies.
    """
    _check_parents(plan)
    n_pending = count_pending(plan.part, overwrite=overwrite)
    check_disk(plan.part, n_pending, partial(_expect_bytes, plan), overwrite=overwrite)


def _check_parents(plan: AugmentationPlan) -> None:
    """Refuse a plan whose parents have changed."""
    store = open_store(plan.part.path)
    for name, fingerprint in plan.part.settings["parents"].items():
        if store.part(name).manifest.fingerprint != fingerprint:
            raise InputError(
                f"Cannot make copies of part {name!r}: it was converted again since they were planned. Run the command "
                "again."
            )


def _expect_bytes(plan: AugmentationPlan, n_copies: int) -> int:
    """Estimate the size of a number of copies on disk from that of their parents, with room for their noise."""
    return round(n_copies / len(plan.tasks) * plan.summary.n_bytes * NOISE_SIZE_FACTOR)
