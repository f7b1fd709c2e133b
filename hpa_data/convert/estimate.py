"""What a conversion would find and write, and its time and memory, estimated from some of its samples."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_data.convert.intensities import Levels, find_dim_read, measure_levels
from hpa_data.convert.plan import ConversionPlan
from hpa_data.convert.understand import SampleFacts, add_same_ids, count_facts, list_facts, understand_plan
from hpa_data.convert.windows import complete_windows
from hpa_data.errors import InputError
from hpa_data.format.codecs import encode_chunk, get_codec
from hpa_data.format.understood import Understanding
from hpa_data.sources.loading import choose_some, open_first
from hpa_data.sources.members import PassedOver
from hpa_data.sources.naming import SampleFiles, missing_channels
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.png_filters import FILTERS
from hpa_data.sources.samples import read_sample
from hpa_data.store.create import count_pending
from hpa_data.store.failures import Failure
from hpa_data.store.write import peak_bytes
from hpa_data.system.executor import Parallelism, check_cluster, count_slots
from hpa_data.system.threads import sample_threads
from hpa_data.tables import LabelCounts

# Samples that are read for an estimate: the size of the part is then known to about 5 %.
N_SAMPLED = 32


@dataclass(frozen=True, kw_only=True)
class ConversionEstimate:
    """What a conversion would do."""

    store: Path

    part: str

    n_samples: int

    n_pending: int
    """Samples still to be written."""

    unlabeled: tuple[str, ...]
    """Ids of samples that would be left out, without a row in the label table."""

    skipped: tuple[str, ...]
    """Ids of samples that would be left out, without a channel."""

    n_missing_channel: int
    """Samples of the part that lack a channel, judged by their file names; the options say what becomes of them."""

    n_sampled: int
    """Samples that were read for the estimate."""

    formats: dict[str, int]
    """How many of them have a first channel of which format, size, depth and number of planes."""

    failures: tuple[Failure, ...]
    """Those of them that cannot be read."""

    passed_over: tuple[PassedOver, ...]
    """Files of the source that belong to no sample."""

    understood: Understanding
    """What the files and labels are taken for, as far as the samples read show it."""

    mean_bytes: float
    """Of an encoded image."""

    n_bytes: int
    """Size on disk of the pending samples."""

    error_bytes: int
    """Half the width of the 95 % confidence interval of `n_bytes`."""

    free_bytes: int
    """On the disk."""

    seconds: float
    """Expected duration, with the given workers."""

    missing_files: tuple[str, ...]
    """Ids of the label table that the source has no files for."""

    matched: Mapping[str, str]
    """Ids of the label table that are not equal to those of their samples, each with what differs."""

    label_counts: LabelCounts | None
    """Classes of the samples; None without a label table."""

    memory_bytes: int
    """Upper bound of the memory taken at once on this machine, if no file is larger than those that were read."""


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """A sample that was read and encoded, and what that took."""

    n_bytes: int | None  # None if it cannot be read
    seconds: float
    format: str
    file_bytes: int
    facts: SampleFacts | None  # None if it cannot be read
    levels: Levels | None  # as well
    failure: Failure | None


def estimate_conversion(
    plan: ConversionPlan, *, workers: Parallelism | None = None, overwrite: bool = False, n_sampled: int = N_SAMPLED
) -> ConversionEstimate:
    """Estimate what a conversion would do from some of its samples; nothing is written.

    Parameters
    ----------
    plan : ConversionPlan
    workers : Parallelism, optional
    overwrite : bool
        As for `convert_files`.
    n_sampled : int
        Samples to read, evenly spaced over the part.

    Raises
    ------
    InputError
        As `convert_files`, except for a full disk.
    """
    workers = workers or Parallelism()
    # Without windows yet, unless the part exists and has some.
    n_pending = count_pending(plan.part, overwrite=overwrite)
    chosen = choose_some(plan.samples, n_sampled)
    plan = complete_windows(plan, samples=chosen, workers=workers, overwrite=overwrite)
    n_threads = max(workers.threads_per_task * (workers.processes or 1), 1)
    FILTERS.expect(n_pending * plan.part.layout.image_bytes, n_threads=n_threads)
    _describe_file(chosen[0], plan.settings)  # so that compiling the decoder is not timed
    probes = _probe_samples(plan, chosen)
    mean_bytes, error_bytes = _estimate_size(probes, len(plan.samples))
    seconds = sum(probe.seconds for probe in probes) / len(probes)
    layout = plan.part.layout
    check_cluster(workers, plan.list_paths())
    return ConversionEstimate(
        store=plan.part.path,
        part=plan.part.name,
        n_samples=len(plan.samples),
        n_pending=n_pending,
        unlabeled=plan.unlabeled,
        skipped=plan.skipped,
        missing_files=plan.missing_files,
        matched=plan.matched,
        label_counts=plan.label_counts,
        n_missing_channel=sum(bool(missing_channels(sample, plan.dataset)) for sample in plan.samples),
        n_sampled=len(probes),
        formats=dict(Counter(probe.format for probe in probes)),
        failures=tuple(probe.failure for probe in probes if probe.failure is not None),
        passed_over=plan.passed_over,
        understood=_understand(plan, probes),
        mean_bytes=mean_bytes,
        n_bytes=round(n_pending * mean_bytes),
        error_bytes=round(n_pending * error_bytes),
        free_bytes=plan.part.storage.free_bytes(),
        seconds=n_pending * seconds / count_slots(workers),
        memory_bytes=peak_bytes(layout, workers, file_bytes=max(probe.file_bytes for probe in probes)),
    )


def _understand(plan: ConversionPlan, probes: Sequence[_Probe]) -> Understanding:
    facts = [probe.facts for probe in probes if probe.facts is not None]
    levels = [probe.levels for probe in probes if probe.levels is not None]
    understood = count_facts(understand_plan(plan), facts, find_dim_read(levels, plan.settings, plan.dataset))
    return add_same_ids(understood, plan)


def estimate_least_bytes(plan: ConversionPlan, n_pending: int) -> int:
    """Estimate from some samples of a plan how many bytes a number of them take at least."""
    mean_bytes, error_bytes = _estimate_size(
        _probe_samples(plan, choose_some(plan.samples, N_SAMPLED)), len(plan.samples)
    )
    return round(n_pending * (mean_bytes - error_bytes))


def _estimate_size(probes: list[_Probe], n_samples: int) -> tuple[float, float]:
    """Return the mean size of an encoded image, and half the width of its 95 % confidence interval."""
    sizes = np.array([probe.n_bytes for probe in probes if probe.n_bytes is not None] or [0], np.float64)
    # A single sample says nothing about the spread. The last factor is that of draws without replacement.
    spread = sizes.std(ddof=1) if len(sizes) > 1 else sizes[0]
    error = 1.96 * spread / math.sqrt(len(sizes)) * math.sqrt(1 - len(probes) / n_samples)
    return float(sizes.mean()), float(error)


def _probe_samples(plan: ConversionPlan, samples: Sequence[SampleFiles]) -> list[_Probe]:
    """Read and encode some samples."""
    # In one thread that is not the main one, as in a conversion: in the main thread Blosc would use several.
    with sample_threads(1) as threads:
        return list(threads.map(lambda files: _probe_sample(plan, files), samples))


def _probe_sample(plan: ConversionPlan, files: SampleFiles) -> _Probe:
    started = time.perf_counter()
    n_bytes, failure, facts, levels = None, None, None, None
    try:
        sample = read_sample(files, plan.settings, plan.dataset)
        n_bytes = len(encode_chunk(sample.image, get_codec(plan.part.codec)))
        (facts,) = list_facts([(files.id, sample)])
        levels = measure_levels(files, sample)
    except InputError as error:
        failure = Failure(id=files.id, file=error.file, reason=str(error))
    seconds = time.perf_counter() - started
    format_, file_bytes = _describe_file(files, plan.settings)
    return _Probe(
        n_bytes=n_bytes,
        seconds=seconds,
        format=format_,
        file_bytes=file_bytes,
        facts=facts,
        levels=levels,
        failure=failure,
    )


def _describe_file(files: SampleFiles, options: ImportOptions) -> tuple[str, int]:
    """Describe a sample's first file: its format in words, and the bytes that it decodes to."""
    try:
        image = open_first(files, options)
    except InputError:
        image = None
    if image is None:
        return "not readable", 0
    y, x = image.shape
    planes = f"{image.n_planes} plane{'s' * (image.n_planes > 1)}"
    n_bytes = y * x * image.n_planes * np.dtype(image.dtype).itemsize
    return f"{image.format} {x} x {y}, {image.describe_depth()}, {planes}", n_bytes
