"""How long it takes to make the order of an epoch, of plain and of balanced ones, and what an epoch then holds.

    python -m benchmarks.sampling [--samples 31072 1000000] [--classes 28] [--rounds 7]

Labels are drawn: class k is as frequent as 1 / (k + 1), and every second sample has two. Milliseconds are the lowest
of the rounds. An order is made once in an epoch; a batch of it is a slice.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.strata import Strata, stratify

BATCH_SIZE = 20


def draw_labels(n_samples: int, n_classes: int) -> npt.NDArray[np.uint8]:
    """Draw labels of one or two classes a sample, uint8 (N, K)."""
    rng = np.random.default_rng(0)
    frequencies = 1 / np.arange(1, n_classes + 1)
    labels = np.zeros((n_samples, n_classes), np.uint8)
    for step in (1, 2):
        rows = np.arange(0, n_samples, step)
        labels[rows, rng.choice(n_classes, len(rows), p=frequencies / frequencies.sum())] = 1
    return labels


def measure(work: Callable[[int], object], rounds: int) -> float:
    """Return the lowest milliseconds of some rounds, each of which gets its number."""
    times = []
    for number in range(rounds):
        started = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - started)
    return 1e3 * min(times)


def make_rows(n_samples: int, n_classes: int, rounds: int) -> list[str]:
    """Measure each way to balance so many samples."""
    labels = draw_labels(n_samples, n_classes)
    indices = np.arange(n_samples)
    rows = []
    ways: dict[str, Callable[[int], Strata | None]] = {
        "none": lambda _: None,
        "sqrt": lambda _: stratify(labels, power=0.5),
        "balanced": lambda _: stratify(labels, power=1),
        "balanced, mix of 2": lambda _: stratify(labels, power=1, parts=indices % 2, part_shares=[1, 2]),
    }
    for name, make in ways.items():
        made_ms = measure(make, min(rounds, 3))
        sampler = BatchSampler(indices, BATCH_SIZE, strata=make(0))
        epoch_ms = measure(sampler.order, rounds)
        counts = labels[sampler.order(0)].sum(axis=0)
        rows.append(
            f"{n_samples:>9,}  {name:<18}  {made_ms:>10.1f}  {epoch_ms:>10.2f}  {counts.max():>9,}  {counts.min():>9,}"
        )
    return rows


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[31_072, 1_000_000])
    parser.add_argument("--classes", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(f"{'samples':>9}  {'sampling':<18}  {'once, ms':>10}  {'epoch, ms':>10}  {'most':>9}  {'fewest':>9}")
    for n_samples in options.samples:
        print("\n".join(make_rows(n_samples, options.classes, options.rounds)))


if __name__ == "__main__":
    main()
