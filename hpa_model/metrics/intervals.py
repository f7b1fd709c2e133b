"""How sure a score is, and how sure the difference of two: bootstrap intervals."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

# Of the intervals: they hold the true value in this fraction of data sets.
CONFIDENCE = 0.95
N_RESAMPLES = 1000
# Resamples that are weighted at once: float32 for each of 31,072 samples is 32 MB.
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval that holds the true value with a probability of `CONFIDENCE`."""

    low: float
    high: float


def draw_weights(n_groups: int, *, n_resamples: int = N_RESAMPLES, seed: int = 0) -> Iterator[npt.NDArray[np.float32]]:
    """Draw as many groups as there are, with replacement; yield how often each was, float32 (up to 256, G), in turn."""
    rng = np.random.default_rng(seed)
    for start in range(0, n_resamples, _BATCH):
        n = min(_BATCH, n_resamples - start)
        drawn = rng.integers(0, n_groups, (n, n_groups)) + np.arange(n)[:, None] * n_groups
        yield np.bincount(drawn.ravel(), minlength=n * n_groups).reshape(n, n_groups).astype(np.float32)


def number_samples(n_samples: int, groups: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
    """Return the number of each sample's group, int64 (N,) from 0; without groups, each sample is one."""
    return np.arange(n_samples) if groups is None else np.unique(groups, return_inverse=True)[1]


def bootstrap_f1(
    labels: npt.NDArray[np.generic],
    predictions: npt.NDArray[np.generic],
    groups: npt.NDArray[np.int64] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Compute the F1 of each class, over sets of samples that are drawn from these with replacement.

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (N, K)
    groups : array of int, shape (N,), optional
        Samples of one group are drawn together.
    n_resamples : int
    seed : int
        The same draws for the same number of groups: so two models can be compared on each of them.

    Returns
    -------
    array of float64, shape (n_resamples, K)
        0 for a class that is neither in the labels that were drawn nor predicted.
    """
    truth, predicted = np.asarray(labels, bool), np.asarray(predictions, bool)
    numbers = number_samples(len(truth), groups)
    n_groups, n_classes = int(numbers.max()) + 1, truth.shape[1]
    counts = np.concatenate([truth & predicted, truth.astype(np.float32) + predicted], axis=1).astype(np.float32)
    if groups is not None:
        of_groups = np.zeros((n_groups, counts.shape[1]), np.float32)
        np.add.at(of_groups, numbers, counts)
        counts = of_groups
    f1 = []
    for weights in draw_weights(n_groups, n_resamples=n_resamples, seed=seed):
        sums = weights @ counts  # whole numbers below 2 ** 24: exact
        found, total = sums[:, :n_classes], sums[:, n_classes:]
        f1.append(np.divide(2 * found, total, out=np.zeros_like(found), where=total > 0))
    return np.concatenate(f1).astype(np.float64)


def bootstrap_macro_f1(
    labels: npt.NDArray[np.generic],
    predictions: npt.NDArray[np.generic],
    groups: npt.NDArray[np.int64] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> npt.NDArray[np.float64]:
    """Average `bootstrap_f1` over the classes, float64 (n_resamples,)."""
    return bootstrap_f1(labels, predictions, groups, n_resamples=n_resamples, seed=seed).mean(axis=1)


def draw_rows(
    n_samples: int, groups: npt.NDArray[np.int64] | None, n_resamples: int, *, seed: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """Draw groups with replacement; yield the indices of their samples, int64, those drawn twice twice.

    For what cannot be computed with weights, such as fitting thresholds again.
    """
    numbers = number_samples(n_samples, groups)
    order = np.argsort(numbers, kind="stable")
    for weights in draw_weights(int(numbers.max()) + 1, n_resamples=n_resamples, seed=seed):
        for each in weights.astype(np.int64):
            yield np.repeat(order, each[numbers[order]])


def find_interval(
    score: float, values: npt.NDArray[np.float64], refitted: npt.NDArray[np.float64] | None = None
) -> Interval:
    """Find an interval around a score from its bootstrap values.

    The outer percentiles of the values, moved by as much as their mean is off the score: resamples hold fewer different
    samples of a rare class than the data, or none, so that their macro-F1 is too low. Where thresholds were fitted, the
    interval is stretched by as much as the score varies more when they are fitted again: thresholds that were chosen on
    few samples are a part of what a score owes to chance.

    Parameters
    ----------
    score : float
        Of all samples.
    values : array of float64, shape (n_resamples,)
        Of resamples, with the predictions as they are.
    refitted : array of float64, shape (D,), optional
        Of resamples, D at least 2, with predictions by thresholds that were fitted to the resample.

    Returns
    -------
    Interval
        It holds the score that the same models, with thresholds fitted in the same way, have on average over data sets
        of the same kind and size.
    """
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) - values.mean()
    stretch = find_stretch(values, refitted)
    low, high = np.clip([score + stretch * low, score + stretch * high], 0, 1)  # no score lies outside
    return Interval(low=float(low), high=float(high))


def find_stretch(values: npt.NDArray[np.float64], refitted: npt.NDArray[np.float64] | None) -> float:
    """Return how much more refitted scores vary, at least 1; see `find_interval`."""
    spread = float(values.std(ddof=1))
    if refitted is None or not spread:
        return 1.0
    return max(1.0, float(refitted.std(ddof=1)) / spread)


def find_difference(
    difference: float,
    values: npt.NDArray[np.float64],
    refitted: npt.NDArray[np.float64] | None = None,
    *,
    n_comparisons: int = 1,
) -> Interval:
    """Find an interval around the difference of two scores of the same samples, from bootstrap differences.

    Parameters
    ----------
    difference : float
    values, refitted
        As in `find_interval`; each is a difference of two scores of one resample.
    n_comparisons : int
        The intervals of so many comparisons hold all true values with a probability of `CONFIDENCE`, by Bonferroni.

    Returns
    -------
    Interval
        If it does not contain 0, the scores differ.
    """
    sd = float(values.std(ddof=1)) * find_stretch(values, refitted)
    width = float(norm.ppf(1 - (1 - CONFIDENCE) / 2 / n_comparisons)) * sd
    return Interval(low=difference - width, high=difference + width)


def bootstrap_ranking(
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    groups: npt.NDArray[np.int64] | None = None,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute average precision and ROC-AUC of each class, see `ranking`, over the draws of `bootstrap_f1`.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
    groups, n_resamples, seed
        As in `bootstrap_f1`.

    Returns
    -------
    two arrays of float64, shape (n_resamples, K)
        Where a class was not drawn, its mean over the other resamples; NaN for a class without positive samples, or
        without negative ones.
    """
    truth = np.asarray(labels) != 0
    numbers = number_samples(len(truth), groups)
    values = np.full((2, n_resamples, truth.shape[1]), np.nan)
    known = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
    orders = {k: np.argsort(-np.asarray(probs)[:, k], kind="stable") for k in known}
    start = 0
    for weights in draw_weights(int(numbers.max()) + 1, n_resamples=n_resamples, seed=seed):
        stop = start + len(weights)
        for k, order in orders.items():
            ranked = np.asarray(probs)[order, k]
            values[:, start:stop, k] = _rank_weighted(truth[order, k], ranked, weights[:, numbers[order]])
        start = stop
    missing = np.isnan(values)
    means = np.where(missing, 0, values).sum(axis=1) / np.maximum((~missing).sum(axis=1), 1)
    missing[:, :, np.setdiff1d(np.arange(truth.shape[1]), known)] = False
    values = np.where(missing, means[:, None], values)
    return values[0], values[1]


def _rank_weighted(
    truth: npt.NDArray[np.bool_], ranked: npt.NDArray[np.floating], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Compute average precision and ROC-AUC of one class, float64 (2, R); NaN where a kind of sample has no weight.

    Samples are in the order of their probabilities `ranked`, (N,), the highest first; weights are (R, N).
    """
    # Only the ties with a positive sample matter: how much weight lies before each, and how much up to its end.
    is_first = np.append(True, ranked[1:] != ranked[:-1])
    ties, firsts = np.cumsum(is_first) - 1, np.append(np.flatnonzero(is_first), len(ranked))
    positive = np.flatnonzero(truth)
    found, first_positive = np.unique(ties[positive], return_index=True)
    begins, ends = firsts[found], firsts[found + 1]
    edges = np.unique(np.concatenate([[0], begins, ends]))
    inner = edges[edges < len(ranked)]
    sums = np.add.reduceat(weights, inner, axis=1, dtype=np.float64)
    upto = np.concatenate([np.zeros((len(weights), 1)), sums.cumsum(axis=1)], axis=1)
    before = upto[:, np.searchsorted(edges, begins)]
    after = upto[:, np.searchsorted(edges, ends)]
    gained = np.add.reduceat(weights[:, positive], first_positive, axis=1, dtype=np.float64)
    positives = gained.cumsum(axis=1)
    n_positive, n_negative = positives[:, -1], upto[:, -1] - positives[:, -1]
    precision = np.divide(positives, after, out=np.zeros_like(after), where=after > 0)
    # Negative samples that are ranked below: those in a tie count half.
    below = n_negative[:, None] - (before - (positives - gained) + after - positives) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.stack(
            [
                (gained * precision).sum(axis=1) / n_positive,
                (gained * below).sum(axis=1) / (n_positive * n_negative),
            ]
        )
