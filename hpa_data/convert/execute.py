"""Converting the image files of a plan into a part of a store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from hpa_data.convert.estimate import estimate_least_bytes
from hpa_data.convert.intensities import find_dim
from hpa_data.convert.plan import ConversionPlan
from hpa_data.convert.understand import add_same_ids, record_understanding, understand_plan
from hpa_data.convert.windows import complete_windows
from hpa_data.format.understood import Understanding
from hpa_data.sources.members import PassedOver
from hpa_data.sources.png_filters import FILTERS
from hpa_data.sources.samples import read_sample
from hpa_data.store.build import PartReport, build_part
from hpa_data.store.part import Part
from hpa_data.system.executor import Parallelism
from hpa_data.system.progress import SILENT, Progress
from hpa_data.tables import LabelCounts


@dataclass(frozen=True, kw_only=True)
class Conversion(PartReport):
    """What a part holds after a conversion, and what was left out of it."""

    unlabeled: tuple[str, ...]
    """Ids of samples without a row in the label table."""

    skipped: tuple[str, ...]
    """Ids of samples that lack a channel."""

    missing_files: tuple[str, ...] = ()
    """Ids of the label table that the source has no files for."""

    matched: Mapping[str, str] = field(default_factory=dict)
    """Ids of the label table that are not equal to those of their samples, each with what differs."""

    label_counts: LabelCounts | None = None
    """Classes of the samples; None without a label table."""

    passed_over: tuple[PassedOver, ...]
    """Files of the source that belong to no sample."""

    understood: Understanding
    """What the files and labels were taken for."""


def convert_files(
    plan: ConversionPlan,
    *,
    workers: Parallelism | None = None,
    stop_at_failure: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Conversion:
    """Convert image files into a part of a store, or resume a conversion; see `store.build.build_part`.

    Parameters
    ----------
    plan : ConversionPlan
    workers : Parallelism, optional
    stop_at_failure : bool
        Raise an error at the first sample that cannot be read, instead of listing it.
    overwrite : bool
        Delete a part of that name first; as for `plan_conversion`.
    progress : Progress, optional
        Of samples; advances after each shard. Starts for a first pass, too, where windows are measured.

    Raises
    ------
    InputError
        If the store holds something else, has another writer, or does not fit on the disk, or the workers cannot be
        reached. Nothing is written then.
    """
    workers = workers or Parallelism()
    plan = complete_windows(plan, workers=workers, overwrite=overwrite, progress=progress)
    found: list[Understanding] = []

    def record(part: Part) -> None:
        dim = find_dim(part, plan.samples, plan.settings, plan.dataset)
        found.append(record_understanding(part, understand_plan(plan), dim))

    def prepare(n_samples: int) -> None:
        if not (workers.processes or workers.scheduler):  # worker processes find out by themselves
            FILTERS.expect(n_samples * plan.part.layout.image_bytes, n_threads=workers.threads_per_task)

    report = build_part(
        plan.part,
        plan.samples,
        partial(read_sample, options=plan.settings, dataset=plan.dataset),
        expected_bytes=partial(estimate_least_bytes, plan),
        prepare=prepare,
        finish=record,
        paths=plan.list_paths(),
        workers=workers,
        stop_at_failure=stop_at_failure,
        overwrite=overwrite,
        progress=progress,
    )
    return Conversion(
        **vars(report),
        unlabeled=plan.unlabeled,
        skipped=plan.skipped,
        missing_files=plan.missing_files,
        matched=plan.matched,
        label_counts=plan.label_counts,
        passed_over=plan.passed_over,
        understood=add_same_ids(found[0], plan),
    )
