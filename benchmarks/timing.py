"""Rows that are timed in turn, and the table of what came out."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that is timed.

    Attributes
    ----------
    name : str
    shows : str
        What the row is meant to show.
    run : function
        Does it once; returns the number of samples.
    prepare : function
        Makes room for it, say; not timed.
    limit : str
        Name of the row that it is held against; empty if none.
    """

    name: str
    shows: str
    run: Callable[[], int]
    prepare: Callable[[], None] = lambda: None
    limit: str = ""


def measure(rows: list[Row], *, rounds: int) -> dict[str, list[float]]:
    """Time each row once a round, the rows in turn, after one round that does not count; samples per second."""
    rates: dict[str, list[float]] = {row.name: [] for row in rows}
    for number in range(rounds + 1):
        for row in rows:
            row.prepare()
            started = time.perf_counter()
            n_samples = row.run()
            if number:
                rates[row.name].append(n_samples / (time.perf_counter() - started))
    return rates


def print_table(rows: list[Row], rates: dict[str, list[float]]) -> None:
    """Print the median, lowest and highest rate of each row; the median of its rounds' shares of its limit."""
    print(f"{'row':<20}{'samples/s':>10}{'lowest':>9}{'highest':>9}{'of limit':>10}   shows")
    for row in rows:
        own = rates[row.name]
        share = ""
        if row.limit:
            pairs = zip(own, rates[row.limit], strict=True)
            share = f"{statistics.median(one / limit for one, limit in pairs):.2f}"
        print(f"{row.name:<20}{statistics.median(own):>10.0f}{min(own):>9.0f}{max(own):>9.0f}{share:>10}   {row.shows}")
