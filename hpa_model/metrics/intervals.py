"""How sure a score is: bootstrap intervals of macro-F1."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Of the intervals: they hold the true value in this fraction of data sets.
CONFIDENCE = 0.95
N_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval that holds the true value with a probability of `CONFIDENCE`."""

    low: float
    high: float


def bootstrap_macro_f1(
    labels: npt.NDArray[np.generic],
    predictions: npt.NDArray[np.generic],
    groups: npt.NDArray[np.int64] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Compute macro-F1 of sets of samples that are drawn from these with replacement.

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (N, K)
    groups : array of int, shape (N,), optional
        Samples of one group are drawn together.
    n_resamples : int
    seed : int

    Returns
    -------
    array of float64, shape (n_resamples,)
    """
    truth, predicted = np.asarray(labels, bool), np.asarray(predictions, bool)
    numbers = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = int(numbers.max()) + 1
    counts = np.zeros((2, n_groups, truth.shape[1]))
    np.add.at(counts[0], numbers, truth & predicted)
    np.add.at(counts[1], numbers, truth.astype(float) + predicted)
    rng = np.random.default_rng(seed)
    scores = np.empty(n_resamples)
    for n in range(n_resamples):
        weights = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups).astype(float)
        true_positives, total = weights @ counts[0], weights @ counts[1]
        scores[n] = np.divide(2 * true_positives, total, out=np.zeros(len(total)), where=total > 0).mean()
    return scores


def find_interval(values: npt.NDArray[np.float64]) -> Interval:
    """Return the interval between the outer percentiles of bootstrap values."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(low=float(low), high=float(high))
