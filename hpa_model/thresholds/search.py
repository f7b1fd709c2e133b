"""The threshold of each class with the highest F1 score. NumPy only."""

import numpy as np
import numpy.typing as npt

# A probability never exceeds 1, so that a class with this threshold is never predicted.
NEVER = 1.0
# Thresholds that are tried: 0 to 1 in steps of 0.001.
N_STEPS = 1000
# So many counts are kept at a time: they fit a processor's cache.
MAX_COUNTS = 2**19


def search_thresholds(
    labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating], *, step: float = 0.001
) -> npt.NDArray[np.float64]:
    """Pick, for each class, the threshold with the highest F1 score.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
        1 where the sample shows the class.
    probs : array of float, shape (N, K)
        Predicted probabilities in [0, 1]; a class is predicted where its probability exceeds the threshold.
    step : float
        Spacing of the thresholds that are tried, from 0 to 1.

    Returns
    -------
    array of float64, shape (K,)
        The lowest of the best thresholds. 1, which predicts nothing, for a class without a positive sample: every
        threshold scores 0 there, and the lowest would predict the class for all samples.

    Examples
    --------
    >>> labels = np.array([[1, 0], [1, 0], [0, 0]])
    >>> search_thresholds(labels, np.array([[0.9, 0.4], [0.6, 0.1], [0.2, 0.3]]))
    array([0.2, 1. ])
    """
    n_steps = round(1 / step)
    return find_best(np.asarray(labels) != 0, bin_probs(probs, n_steps), n_steps=n_steps)[0] / n_steps


def bin_probs(probs: npt.NDArray[np.floating], n_steps: int = N_STEPS) -> npt.NDArray[np.int32]:
    """Count how many of the thresholds 0, 1 / n_steps, …, 1 each probability exceeds, int32 (N, K).

    A class is predicted at threshold number t, from 0, where more than t are exceeded.
    """
    thresholds = np.arange(n_steps + 1) / n_steps
    return np.searchsorted(thresholds, np.asarray(probs, np.float64), side="left").astype(np.int32)


def renumber_bins(bins: npt.NDArray[np.int32], pools: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int32], int]:
    """Leave out thresholds that make no difference, for a faster `find_best`.

    Parameters
    ----------
    bins : array of int32, shape (N, K)
    pools : array of int, shape (N,)
        Bins of rows of different pools are not to be compared afterwards.

    Returns
    -------
    tuple of array of int32, shape (N, K), and int
        Other numbers in the same order within a pool, where 0 stays 0, and the number of thresholds, `n_steps`.
    """
    renumbered = np.empty_like(bins)
    for pool in np.unique(pools):
        rows = np.flatnonzero(pools == pool)
        for k in range(bins.shape[1]):
            values, numbers = np.unique(bins[rows, k], return_inverse=True)
            renumbered[rows, k] = numbers + (values[0] > 0)
    return renumbered, int(renumbered.max()) + 1


def find_best(
    truth: npt.NDArray[np.bool_],
    bins: npt.NDArray[np.int32],
    held_out: npt.NDArray[np.int64] | None = None,
    *,
    n_steps: int = N_STEPS,
) -> npt.NDArray[np.int32]:
    """Find the number of the lowest of the best thresholds of each class.

    Parameters
    ----------
    truth : array of bool, shape (N, K)
    bins : array of int32, shape (N, K)
        See `bin_probs`.
    held_out : array of int, shape (N,), optional
        Sets of rows, from 0. Without it, the thresholds are those of all rows.
    n_steps : int

    Returns
    -------
    array of int32, shape (S, K)
        For each set of rows, the thresholds that are best for the rows outside of it.
    """
    n_sets = 1 if held_out is None else int(held_out.max()) + 1
    best = np.empty((n_sets, truth.shape[1]), np.int32)
    step = max(1, MAX_COUNTS // (n_sets * (n_steps + 1)))
    for start in range(0, truth.shape[1], step):
        some = slice(start, start + step)
        best[:, some] = _find_best(truth[:, some], bins[:, some], held_out, n_sets, n_steps)
    return best


def _find_best(
    truth: npt.NDArray[np.bool_],
    bins: npt.NDArray[np.int32],
    held_out: npt.NDArray[np.int64] | None,
    n_sets: int,
    n_steps: int,
) -> npt.NDArray[np.int32]:
    """See `find_best`: F1 changes for the better only at thresholds right below a positive sample."""
    exceeding = _count_exceeding(bins, held_out, n_sets, n_steps)  # (S, K, n_steps + 1)
    classes, rows = np.nonzero(truth.T)
    order = np.lexsort((bins[rows, classes], classes))
    classes, rows = classes[order], rows[order]
    at = bins[rows, classes]
    starts = np.flatnonzero(np.diff(classes, prepend=-1))  # of the positive samples of each class that has one
    ends = np.append(starts[1:], len(classes))
    number = np.repeat(np.arange(len(starts)), ends - starts)
    key = classes * (n_steps + 2) + at
    first = np.searchsorted(key, key)  # of those with the same probability
    # Positive samples that count, before each, for each set: (S, P + 1).
    counted = np.zeros((n_sets, len(classes) + 1), np.int64)
    is_counted = np.ones((1, len(rows)), bool) if held_out is None else held_out[rows] != np.arange(n_sets)[:, None]
    is_counted.cumsum(axis=1, out=counted[:, 1:])
    n_positive = counted[:, ends] - counted[:, starts]  # (S, classes with a positive sample)
    true_positives = np.where(at > 0, counted[:, ends[number]] - counted[:, first], 0)
    n_exceeding = exceeding[:, classes, np.maximum(at - 1, 0)]
    f1 = 2 * true_positives / np.maximum(n_positive[:, number] + n_exceeding, 1)
    best = np.full(exceeding.shape[:2], n_steps, np.int32)
    if not len(starts):
        return best
    highest = np.maximum.reduceat(f1, starts, axis=1)
    is_best = f1 == highest[:, number]
    lowest = np.minimum.reduceat(np.where(is_best, np.arange(len(classes)), len(classes)), starts, axis=1)
    at_best = np.take_along_axis(n_exceeding, lowest, axis=1)[..., None]
    # The lowest threshold that the same samples exceed.
    found = np.where(highest > 0, (exceeding[:, classes[starts]] > at_best).sum(axis=-1), 0)
    best[:, classes[starts]] = np.where(n_positive > 0, found, n_steps)
    return best


def _count_exceeding(
    bins: npt.NDArray[np.int32], held_out: npt.NDArray[np.int64] | None, n_sets: int, n_steps: int
) -> npt.NDArray[np.int64]:
    """Count the samples outside of each set that exceed each threshold, int64 (S, K, n_steps + 1)."""
    n_classes, n_bins = bins.shape[1], n_steps + 1
    flat = bins + np.arange(n_classes) * n_bins
    if held_out is not None:
        flat += held_out[:, None] * (n_classes * n_bins)
    counts = np.bincount(flat.ravel(), minlength=n_sets * n_classes * n_bins).reshape(n_sets, n_classes, n_bins)
    if held_out is not None:
        counts = counts.sum(axis=0) - counts
    exceeding = np.zeros_like(counts)
    exceeding[..., :-1] = counts[..., :0:-1].cumsum(axis=-1)[..., ::-1]
    return exceeding
