"""Interleaved timing, so that noise on the machine affects all workloads equally."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpa_data.system.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Something to time."""

    name: str
    description: str
    """What the measurement is meant to show."""

    run: Callable[[], int]
    """Do the work once; return the number of samples."""

    prepare: Callable[[], None] = lambda: None
    """Called before `run`, not timed."""

    baseline: str = ""
    """Name of the workload to compare with; empty if there is none."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The result of timing a workload over several rounds."""

    name: str
    description: str
    rate: float
    """Samples per second, median."""

    lowest: float
    """Samples per second in the slowest round."""

    highest: float
    """Samples per second in the fastest round."""

    cpu_s: float
    """CPU seconds of all cores per 1,000 samples, median."""

    fraction: float | None
    """Rate relative to the baseline's rate in the same round, median; None without a baseline."""


def measure(
    workloads: Sequence[Workload], *, rounds: int, min_seconds: float = 0.0, progress: Progress = SILENT
) -> list[Measurement]:
    """Time each workload once per round, one after the other, after a warm-up round that does not count.

    Parameters
    ----------
    workloads : sequence of Workload
    rounds : int
        Rounds that count.
    min_seconds : float
        Seconds to repeat a workload for, at least, in each round.
    progress : Progress, optional
        Counts rounds.
    """
    rates: dict[str, list[float]] = {workload.name: [] for workload in workloads}
    cpu_s: dict[str, list[float]] = {workload.name: [] for workload in workloads}
    for number in range(rounds + 1):
        for workload in workloads:
            workload.prepare()
            n_samples, started, started_cpu = 0, time.perf_counter(), time.process_time()
            while not n_samples or (number and time.perf_counter() - started < min_seconds):
                n_samples += workload.run()
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
            if number:
                rates[workload.name].append(n_samples / seconds)
                cpu_s[workload.name].append(1000 * cpu_seconds / n_samples)
        progress.advance(1)
    return [
        summarize(
            workload.name,
            workload.description,
            rates=rates[workload.name],
            cpu_s=cpu_s[workload.name],
            baseline=rates[workload.baseline] if workload.baseline else None,
        )
        for workload in workloads
    ]


def summarize(
    name: str,
    description: str,
    *,
    rates: Sequence[float],
    cpu_s: Sequence[float],
    baseline: Sequence[float] | None = None,
) -> Measurement:
    """Summarize the rounds of a workload: `rates`, `cpu_s` and the rates of its baseline, a number per round each."""
    return Measurement(
        name=name,
        description=description,
        rate=statistics.median(rates),
        lowest=min(rates),
        highest=max(rates),
        cpu_s=statistics.median(cpu_s),
        fraction=None if baseline is None else median_ratio(rates, baseline),
    )


def median_ratio(rates: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the median of the ratios of two workloads in the same rounds."""
    return statistics.median(rate / base for rate, base in zip(rates, baseline, strict=True))


def describe_timings(timings: Sequence[Measurement]) -> str:
    """Make a table of measurements."""
    lines = [
        f"{'workload':<24}{'samples/s':>10}{'lowest':>9}{'highest':>9}{'CPU s/1000':>12}{'of limit':>10}   description"
    ]
    for row in timings:
        fraction = "" if row.fraction is None else f"{row.fraction:.2f}"
        lines.append(
            f"{row.name:<24}{row.rate:>10.0f}{row.lowest:>9.0f}{row.highest:>9.0f}{row.cpu_s:>12.2f}{fraction:>10}   "
            f"{row.description}"
        )
    return "\n".join(lines)
