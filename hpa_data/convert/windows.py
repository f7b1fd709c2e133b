"""The first pass over a part whose channels have one window each: what black and white are is measured."""

from collections.abc import Sequence
from dataclasses import replace

from hpa_data.convert.plan import ConversionPlan
from hpa_data.sources.measure import measure_windows
from hpa_data.sources.naming import SampleFiles
from hpa_data.store.create import count_pending
from hpa_data.system.executor import Parallelism
from hpa_data.system.progress import SILENT, Progress


def complete_windows(
    plan: ConversionPlan,
    *,
    samples: Sequence[SampleFiles] | None = None,
    workers: Parallelism | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ConversionPlan:
    """Return a plan with the windows of ``dataset-percentile``, measured unless the part has them already.

    Parameters
    ----------
    plan : ConversionPlan
    samples : sequence of SampleFiles, optional
        What is read, for an estimate; by default all samples of the part.
    workers : Parallelism, optional
        Its threads, in this process, read the samples.
    overwrite : bool
        As for `convert_files`.
    progress : Progress, optional
        Of samples.

    Raises
    ------
    InputError
        If the files of a channel have pixels of different types, or the part exists with other settings.
    """
    settings = plan.settings
    is_needed = [settings.scaling(name).method == "dataset-percentile" for name in plan.dataset.channel_names]
    # A part that exists has them already.
    if not any(is_needed) or settings.windows is not None:
        return plan
    count_pending(plan.part, overwrite=overwrite)  # refuses before the work
    workers = workers or Parallelism()
    if samples is None:
        progress.note("Measuring the range of each channel first")
    windows = measure_windows(
        plan.samples if samples is None else samples,
        settings,
        plan.dataset,
        threads=max(workers.threads_per_task * (workers.processes or 1), 1),
        progress=progress,
    )
    settings = replace(settings, windows=windows)
    return replace(plan, settings=settings, part=replace(plan.part, settings=settings.encode()))
