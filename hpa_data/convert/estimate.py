"""What a conversion would find, write and take, foreseen from some of its samples."""

import math
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_data.convert.plan import ConversionPlan
from hpa_data.errors import InputError
from hpa_data.format.codecs import encode_chunk, get_codec
from hpa_data.sources.decode import open_image
from hpa_data.sources.files import read_file
from hpa_data.sources.naming import SampleFiles, missing_channels
from hpa_data.sources.samples import read_sample
from hpa_data.store.create import find_existing
from hpa_data.store.failures import Failure
from hpa_data.store.write import peak_bytes
from hpa_data.system.executor import Parallelism, check_cluster, count_slots
from hpa_data.system.threads import sample_threads

# Samples that are read to foresee a conversion: the size of the whole is then known to some 5 %.
N_PROBES = 32


@dataclass(frozen=True, kw_only=True)
class ConversionEstimate:
    """What a conversion would do.

    Attributes
    ----------
    store : Path
    part : str
    n_samples : int
        In the part.
    n_pending : int
        Of them, still to be written.
    unlabelled, skipped : tuple of str
        Ids of samples that would be left out: without a row in the label table, without a channel.
    n_missing_channel : int
        Samples of the part that lack a channel, by their file names: filled or failed, as `missing` says.
    n_sampled : int
        Samples that were read for this.
    forms : dict of str to int
        What the planes of the first channel of each of them are.
    failures : tuple of Failure
        Of them, those that cannot be read.
    n_with_warnings : int
        Of them, readable ones with a note, as a colour that is not the expected one.
    mean_bytes : float
        Of an encoded image.
    n_bytes, error_bytes : int
        On disk, of what is still to be written, and half the width of its 95 % interval.
    free_bytes : int
        On the disk.
    seconds : float
        Expected, with the given workers.
    memory_bytes : int
        Upper bound of the memory taken at once on this machine, if no file is larger than those that were read.
    """

    store: Path
    part: str
    n_samples: int
    n_pending: int
    unlabelled: tuple[str, ...]
    skipped: tuple[str, ...]
    n_missing_channel: int
    n_sampled: int
    forms: dict[str, int]
    failures: tuple[Failure, ...]
    n_with_warnings: int
    mean_bytes: float
    n_bytes: int
    error_bytes: int
    free_bytes: int
    seconds: float
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """A sample that was read and encoded to see what that takes."""

    n_bytes: int | None  # None if it cannot be read
    seconds: float
    form: str
    picture_bytes: int
    has_note: bool
    failure: Failure | None


def estimate_conversion(
    plan: ConversionPlan, *, workers: Parallelism | None = None, overwrite: bool = False, n_sampled: int = N_PROBES
) -> ConversionEstimate:
    """Say what a conversion would do, from some of its samples; nothing is written.

    Parameters
    ----------
    plan : ConversionPlan
    workers : Parallelism, optional
    overwrite : bool
        As for `convert_files`.
    n_sampled : int
        Samples to read, evenly over the part.

    Raises
    ------
    InputError
        As `convert_files` would, but for the disk.
    """
    workers = workers or Parallelism()
    n_pending = _count_pending(plan, overwrite=overwrite)
    probes = _probe_samples(plan, n_sampled)
    sizes = np.array([probe.n_bytes for probe in probes if probe.n_bytes is not None] or [0], np.float64)
    # Of a mean over some of N samples, drawn without repeats; of one alone nothing is known.
    spread = sizes.std(ddof=1) if len(sizes) > 1 else sizes[0]
    error = 1.96 * spread / math.sqrt(len(sizes)) * math.sqrt(1 - len(probes) / len(plan.samples))
    seconds = sum(probe.seconds for probe in probes) / len(probes)
    layout = plan.part.layout
    check_cluster(workers, plan.list_paths())
    return ConversionEstimate(
        store=plan.part.path,
        part=plan.part.name,
        n_samples=len(plan.samples),
        n_pending=n_pending,
        unlabelled=plan.unlabelled,
        skipped=plan.skipped,
        n_missing_channel=sum(bool(missing_channels(sample)) for sample in plan.samples),
        n_sampled=len(probes),
        forms=dict(Counter(probe.form for probe in probes)),
        failures=tuple(probe.failure for probe in probes if probe.failure is not None),
        n_with_warnings=sum(probe.has_note for probe in probes),
        mean_bytes=float(sizes.mean()),
        n_bytes=round(n_pending * sizes.mean()),
        error_bytes=round(n_pending * error),
        free_bytes=_count_free(plan.part.path),
        seconds=n_pending * seconds / count_slots(workers),
        memory_bytes=peak_bytes(layout, workers, picture_bytes=max(probe.picture_bytes for probe in probes)),
    )


def check_disk(plan: ConversionPlan, *, overwrite: bool = False) -> None:
    """Refuse a conversion that the disk cannot hold; InputError then.

    Samples are read only if it would be full if nothing compressed.
    """
    n_pending = _count_pending(plan, overwrite=overwrite)
    free_bytes = _count_free(plan.part.path)
    if overwrite:  # what is at the part's place is deleted first
        old = plan.part.path / plan.part.name
        free_bytes += sum(path.stat().st_size for path in old.rglob("*") if path.is_file())
    if not n_pending or n_pending * plan.part.layout.image_bytes <= free_bytes:
        return
    told = estimate_conversion(plan, overwrite=overwrite)
    if told.n_bytes - told.error_bytes > free_bytes:
        raise InputError(
            f"The disk must hold the part. Received: {plan.part.path} with {free_bytes / 1e6:.0f} MB free, where it "
            f"takes {told.n_bytes / 1e6:.0f} ± {told.error_bytes / 1e6:.0f} MB. Make room, or use another disk."
        )


def _count_pending(plan: ConversionPlan, *, overwrite: bool) -> int:
    """Count the samples that a conversion would write."""
    begun = None if overwrite else find_existing(plan.part)
    return len(plan.samples) if begun is None else begun.count_pending()


def _count_free(path: Path) -> int:
    """Count the free bytes of the disk on which a path lies, or would lie."""
    place = next(folder for folder in (path, *path.parents) if folder.is_dir())
    return shutil.disk_usage(place).free


def _probe_samples(plan: ConversionPlan, n_sampled: int) -> list[_Probe]:
    """Read and encode some samples, evenly over the part."""
    chosen = np.unique(np.linspace(0, len(plan.samples) - 1, n_sampled).round().astype(int)).tolist()
    # In one thread that is not the main one, where Blosc uses several; as a conversion does.
    with sample_threads(1) as threads:
        return list(threads.map(lambda index: _probe_sample(plan, plan.samples[index]), chosen))


def _probe_sample(plan: ConversionPlan, files: SampleFiles) -> _Probe:
    started = time.perf_counter()
    n_bytes, failure, has_note = None, None, False
    try:
        sample = read_sample(files, plan.settings)
        n_bytes = len(encode_chunk(sample.image, get_codec(plan.part.codec)))
        has_note = bool(sample.note)
    except InputError as error:
        failure = Failure(id=files.id, file=error.file, reason=str(error))
    seconds = time.perf_counter() - started
    form, picture_bytes = "", 0
    first = next(file for file in files.planes if file is not None)
    try:
        picture = open_image(read_file(first.root, first.name), first.name)
        (y, x), bits = picture.shape, picture.max_value.bit_length()
        form = f"{picture.form} {x} x {y}, {bits} bit, {picture.n_planes} plane{'s' * (picture.n_planes > 1)}"
        picture_bytes = y * x * picture.n_planes * (2 if bits > 8 else 1)
    except InputError:
        form = "not readable"
    return _Probe(
        n_bytes=n_bytes,
        seconds=seconds,
        form=form,
        picture_bytes=picture_bytes,
        has_note=has_note,
        failure=failure,
    )
