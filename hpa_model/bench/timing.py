"""Things that are timed in turn, so that what disturbs the machine disturbs them alike."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hpa_data.system.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One thing that is timed.

    Attributes
    ----------
    name : str
    description : str
        What the row is meant to show.
    run : function
        Does it once; returns the number of samples.
    prepare : function
        Makes room for it, say; not timed.
    limit : str
        Name of the row that it is held against; empty if none.
    """

    name: str
    description: str
    run: Callable[[], int]
    prepare: Callable[[], None] = lambda: None
    limit: str = ""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What came out of a row.

    Attributes
    ----------
    name, description : str
    rate, lowest, highest : float
        Samples a second: median over the rounds, and the range.
    cpu_s : float
        Seconds of all cores for 1,000 samples, median.
    share : float or None
        Of the limit's rate, the median of the rounds' own shares.
    """

    name: str
    description: str
    rate: float
    lowest: float
    highest: float
    cpu_s: float
    share: float | None


def measure(
    rows: Sequence[Workload], *, rounds: int, min_seconds: float = 0.0, progress: Progress = SILENT
) -> list[Measurement]:
    """Time each row once a round, the rows in turn, after one round that does not count.

    Parameters
    ----------
    rows : sequence of Workload
    rounds : int
        That count.
    min_seconds : float
        A row is run again and again within a round until so many seconds have gone by.
    progress : Progress, optional
        Of rounds.
    """
    rates: dict[str, list[float]] = {row.name: [] for row in rows}
    cpu: dict[str, list[float]] = {row.name: [] for row in rows}
    for number in range(rounds + 1):
        for row in rows:
            row.prepare()
            n_samples, started, started_cpu = 0, time.perf_counter(), time.process_time()
            while not n_samples or (number and time.perf_counter() - started < min_seconds):
                n_samples += row.run()
            seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
            if number:
                rates[row.name].append(n_samples / seconds)
                cpu[row.name].append(1000 * cpu_seconds / n_samples)
        progress.advance(1)
    return [
        Measurement(
            name=row.name,
            description=row.description,
            rate=statistics.median(rates[row.name]),
            lowest=min(rates[row.name]),
            highest=max(rates[row.name]),
            cpu_s=statistics.median(cpu[row.name]),
            share=_share(rates[row.name], rates[row.limit]) if row.limit else None,
        )
        for row in rows
    ]


def _share(rates: list[float], limits: list[float]) -> float:
    return statistics.median(own / limit for own, limit in zip(rates, limits, strict=True))


def describe_timings(timings: Sequence[Measurement]) -> str:
    """Make a table: median, lowest and highest rate of each row, CPU time, its share of its limit."""
    lines = [f"{'row':<24}{'samples/s':>10}{'lowest':>9}{'highest':>9}{'CPU s/1000':>12}{'of limit':>10}   description"]
    for row in timings:
        share = "" if row.share is None else f"{row.share:.2f}"
        lines.append(
            f"{row.name:<24}{row.rate:>10.0f}{row.lowest:>9.0f}{row.highest:>9.0f}{row.cpu_s:>12.2f}{share:>10}   "
            f"{row.description}"
        )
    return "\n".join(lines)
