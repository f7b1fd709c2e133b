"""Image files into a part of a store."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hpa_data.convert.estimate import check_disk
from hpa_data.convert.plan import ConversionPlan
from hpa_data.dataset import FILLED, is_readable
from hpa_data.format.statistics import ChannelStatistics
from hpa_data.sources.samples import read_sample
from hpa_data.store.create import create_part, remove_stale
from hpa_data.store.failures import Failure, list_failures
from hpa_data.store.store import open_store
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism, check_cluster
from hpa_data.system.lock import hold_store
from hpa_data.system.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What a conversion did.

    Attributes
    ----------
    store : Path
    part : str
    n_samples : int
        In the part.
    n_ok : int
        Of them, readable.
    n_filled : int
        Of the readable ones, those with a channel of zeros for a missing one.
    unlabelled : tuple of str
        Ids of samples left out because the label table has no row for them.
    skipped : tuple of str
        Ids of samples left out because they lack a channel.
    failures : tuple of Failure
        Samples of the part that could not be read; also in the store's ``failures.csv``.
    noted : tuple of str
        What to know of samples that could be read: files of another colour than expected.
    n_bytes : int
        On disk, the images of the part.
    statistics : Statistics or None
        Channel mean and standard deviation; None if no sample is readable.
    """

    store: Path
    part: str
    n_samples: int
    n_ok: int
    n_filled: int
    unlabelled: tuple[str, ...]
    skipped: tuple[str, ...]
    failures: tuple[Failure, ...]
    noted: tuple[str, ...]
    n_bytes: int
    statistics: ChannelStatistics | None


def convert_files(
    plan: ConversionPlan,
    *,
    workers: Parallelism | None = None,
    stop_at_failure: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Conversion:
    """Convert image files into a part of a store, or go on with one that was begun.

    A part that is there and made by the same plan is completed: pending samples are written, failed ones tried again.

    Parameters
    ----------
    plan : ConversionPlan
    workers : Parallelism, optional
    stop_at_failure : bool
        Raise at the first sample that cannot be read, instead of listing it.
    overwrite : bool
        Delete a part of that name first.
    progress : Progress, optional
        Of samples; advances after each shard.

    Returns
    -------
    Conversion

    Raises
    ------
    InputError
        If the store holds something else, has another writer, or does not fit on the disk, or the workers cannot be
        reached. Nothing is written then.
    """
    workers = workers or Parallelism()
    store = plan.part.path
    check_cluster(workers, plan.list_paths())
    with hold_store(store):
        remove_stale(plan.part)
        check_disk(plan, overwrite=overwrite)
        begun = create_part(plan.part, overwrite=overwrite)
        progress.start(begun.count_pending())
        write_shards(
            begun,
            plan.samples,
            partial(read_sample, settings=plan.settings),
            workers=workers,
            stop_at_failure=stop_at_failure,
            progress=progress.part(),
        )
        done = open_store(store).part(plan.part.name)
        status = done.read_status()
        readable = is_readable(status).tolist()
        noted = [note for (note, _), is_good in zip(done.read_notes(), readable, strict=True) if note and is_good]
        return Conversion(
            store=store,
            part=done.name,
            n_samples=len(status),
            n_ok=int(is_readable(status).sum()),
            n_filled=int((status == FILLED).sum()),
            unlabelled=plan.unlabelled,
            skipped=plan.skipped,
            failures=tuple(list_failures(done)),
            noted=tuple(noted),
            n_bytes=done.count_bytes(),
            statistics=done.manifest.statistics,
        )
