"""How often scores without skill lie inside the band that `hpa evaluate` shows beside each score: it should be 95 %.

    python -m benchmarks.no_skill [--rows 112 336 784 31072] [--data-sets 200]

Each data set has random labels and probabilities that do not depend on them: uniform ones, or like those of a network
that knows how often each class occurs, with classes that are equally frequent, or as frequent as Kaggle's. Each score
is counted once. Prints a table; RESULTS.md holds what was measured.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from hpa_model.evaluation.scorer import Scorer
from hpa_model.evaluation.scores import fit_decision
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.thresholds.no_skill import choose_draws, measure_no_skill

N_FOLDS = 3
# Samples of each class in Kaggle's training data, and all.
KAGGLE_COUNTS = (
    *(12885, 1254, 3621, 1561, 1858, 2513, 1008, 2822, 53, 45, 28, 1093, 688, 537, 1066, 21, 530, 210, 902, 1482),
    *(172, 3777, 802, 2965, 322, 8228, 328, 11),
)
N_KAGGLE = 31_072
UNIFORM_FREQUENCY = 0.045


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the labels and probabilities of a data set are drawn."""

    name: str
    is_uniform: bool
    """Whether the classes are equally frequent."""

    knows_frequencies: bool
    """Whether probabilities are around the frequency of the class, else they are uniform in 0..1."""


KINDS = (
    Kind(name="equal classes, uniform", is_uniform=True, knows_frequencies=False),
    Kind(name="equal classes, like a network", is_uniform=True, knows_frequencies=True),
    Kind(name="Kaggle's classes, uniform", is_uniform=False, knows_frequencies=False),
    Kind(name="Kaggle's classes, like a network", is_uniform=False, knows_frequencies=True),
)


def draw_rows(rng: np.random.Generator, n: int, kind: Kind, n_folds: int = N_FOLDS) -> OutOfFold:
    """Draw n rows of a kind, each with a class."""
    frequency = np.array(KAGGLE_COUNTS) / N_KAGGLE
    if kind.is_uniform:
        frequency = np.full(len(frequency), UNIFORM_FREQUENCY)
    labels = (rng.random((n, len(frequency))) < frequency).astype(np.uint8)
    empty = np.flatnonzero(~labels.any(axis=1))
    labels[empty, rng.choice(len(frequency), len(empty), p=frequency / frequency.sum())] = 1
    probs = rng.random(labels.shape)
    if kind.knows_frequencies:
        probs = expit(logit(frequency) + 0.7 * rng.standard_normal(labels.shape))
    return OutOfFold(
        ids=[str(i) for i in range(n)],
        labels=labels,
        probs=probs.astype(np.float32),
        folds=rng.permutation(np.arange(n) % n_folds),
    )


def find_outside(rows: OutOfFold) -> Iterator[tuple[str, bool]]:
    """Yield the name of each score of rows, and whether it lies outside its band."""
    scorer = Scorer(rows, fit_decision(rows, n_folds=int(rows.folds.max()) + 1))
    values = scorer.score()
    bands = measure_no_skill(scorer.score, rows.folds, n_draws=choose_draws(rows.labels.size))
    for name, band in bands.items():
        yield name, not band.low <= values[name] <= band.high


def measure_coverage(n_rows: int, n_data_sets: int, *, seed: int = 0) -> dict[str, float]:
    """Return the fraction of data sets whose score lies inside its band, by the name of the score; folds together."""
    rng = np.random.default_rng([seed, n_rows])
    inside: dict[str, list[bool]] = {}
    for number in range(n_data_sets):
        for name, is_outside in find_outside(draw_rows(rng, n_rows, KINDS[number % len(KINDS)])):
            inside.setdefault(name if "/" not in name else f"fold: {name.split('/')[1]}", []).append(not is_outside)
    return {name: float(np.mean(each)) for name, each in inside.items()}


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[112, 336, 784, 31_072])
    parser.add_argument("--data-sets", type=int, default=200)
    options = parser.parse_args(arguments)
    for n_rows in options.rows:
        coverage = measure_coverage(n_rows, options.data_sets)
        print(f"{n_rows} rows, {options.data_sets} data sets:")
        for name, value in coverage.items():
            print(f"  {name:<32}{value:>8.1%}", flush=True)


if __name__ == "__main__":
    main()
