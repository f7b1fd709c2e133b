"""How often the 95 % interval of a score holds the score that is to be expected: it should be 95 %.

    python -m benchmarks.coverage [--rows 784] [--data-sets 500] [--groups]

Each data set is drawn anew: labels of classes that are equally frequent, or as frequent as Kaggle's, and probabilities
with skill. What is to be expected is the mean score of all data sets. With --groups, samples come in groups of up to
six that are much alike. Prints a table; RESULTS.md holds what was measured.
"""

import argparse

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from benchmarks.no_skill import KAGGLE_COUNTS, N_FOLDS, N_KAGGLE, UNIFORM_FREQUENCY
from hpa_model.evaluation.records import HEADLINE
from hpa_model.evaluation.resample import refit
from hpa_model.metrics import Interval, f1_per_class
from hpa_model.metrics.intervals import bootstrap_macro_f1, find_interval
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.thresholds import predict_cross_fitted

# Distance of positive and negative samples before the logistic function, in standard deviations.
SKILL = 2.5
# Of the samples of a group around their mean.
SPREAD = 0.3
MOST_IN_GROUP = 6


def draw_rows(
    rng: np.random.Generator, n: int, frequency: npt.NDArray[np.float64], *, grouped: bool = False
) -> OutOfFold:
    """Draw n rows with calibrated probabilities of the same skill for each class; groups lie in one fold."""
    sizes = rng.integers(1, MOST_IN_GROUP + 1, n) if grouped else np.ones(n, np.int64)
    groups = np.repeat(np.arange(n), sizes)[:n]
    shows = rng.random((n, len(frequency))) < frequency
    place = SKILL * shows + rng.normal(size=shows.shape)
    labels, place = shows[groups].astype(np.uint8), place[groups]
    if grouped:
        place = place + SPREAD * rng.normal(size=place.shape)
    return OutOfFold(
        ids=[str(row) for row in range(n)],
        labels=labels,
        probs=expit(SKILL * place - SKILL**2 / 2 + logit(frequency)).astype(np.float32),
        folds=rng.permutation(n)[groups] % N_FOLDS,
        groups=groups if grouped else None,
    )


def measure_coverage(n: int, frequency: npt.NDArray[np.float64], n_sets: int, *, grouped: bool) -> dict[str, float]:
    """Return the part of data sets whose interval holds the mean score of all, for each way to find an interval."""
    rng = np.random.default_rng(0)
    scores, intervals = [], []
    for number in range(n_sets):
        rows = draw_rows(rng, n, frequency, grouped=grouped)
        probs = rows.probs.astype(np.float64)
        predicted = predict_cross_fitted(rows.labels, probs, rows.folds)
        score = float(f1_per_class(rows.labels, predicted).mean())
        drawn = bootstrap_macro_f1(rows.labels, predicted, rows.groups, seed=number)
        found = {
            "as hpa evaluate": find_interval(score, drawn, refit(rows, probs, HEADLINE.name, fill=False, seed=number)),
            "thresholds as they are": find_interval(score, drawn),
        }
        if grouped:
            alone = bootstrap_macro_f1(rows.labels, predicted, seed=number)
            found["and groups ignored"] = find_interval(score, alone)
        scores.append(score)
        intervals.append(found)
    expected = float(np.mean(scores))

    def holds(interval: Interval) -> bool:
        return interval.low <= expected <= interval.high

    return {name: float(np.mean([holds(found[name]) for found in intervals])) for name in intervals[0]}


def main() -> None:
    """Parse the arguments, and print how often intervals hold what is to be expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=784)
    parser.add_argument("--data-sets", type=int, default=500)
    parser.add_argument("--groups", action="store_true")
    arguments = parser.parse_args()
    kaggle = np.array(KAGGLE_COUNTS) / N_KAGGLE
    for name, frequency in {
        "equal classes": np.full(len(kaggle), UNIFORM_FREQUENCY),
        "Kaggle's classes": kaggle,
    }.items():
        found = measure_coverage(arguments.rows, frequency, arguments.data_sets, grouped=arguments.groups)
        print(f"{name:<17}" + "  ".join(f"{kind} {100 * value:.1f} %" for kind, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
