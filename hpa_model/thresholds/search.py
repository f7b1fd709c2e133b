"""The threshold of each class with the highest F1 score. NumPy only."""

import numpy as np
import numpy.typing as npt

# A probability never exceeds 1, so that a class with this threshold is never predicted.
NEVER = 1.0
# Thresholds that are tried: 0 to 1 in steps of 0.001.
N_STEPS = 1000


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
    return find_best(count_bins(labels, bin_probs(probs, n_steps), n_steps)) / n_steps


def bin_probs(probs: npt.NDArray[np.floating], n_steps: int = N_STEPS) -> npt.NDArray[np.int64]:
    """Count how many of the thresholds 0, 1 / n_steps, …, 1 each probability exceeds, int64 (N, K).

    A class is predicted at threshold number t, from 0, where more than t are exceeded.
    """
    return np.searchsorted(np.arange(n_steps + 1) / n_steps, np.asarray(probs, np.float64), side="left")


def count_bins(
    labels: npt.NDArray[np.generic], bins: npt.NDArray[np.int64], n_steps: int = N_STEPS
) -> npt.NDArray[np.int64]:
    """Count the positive samples, and all samples, in each bin of each class, int64 (2, K, n_steps + 1)."""
    n_classes, n_bins = bins.shape[1], n_steps + 1
    flat = bins + np.arange(n_classes) * n_bins
    counts = [np.bincount(each, minlength=n_classes * n_bins) for each in (flat[np.asarray(labels) != 0], flat.ravel())]
    return np.stack(counts).reshape(2, n_classes, n_bins)


def find_best(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the number of the lowest of the best thresholds of each class, int64 (K,), from `count_bins`."""
    # Samples that exceed threshold number t, for each t.
    above = np.zeros_like(counts)
    above[..., :-1] = counts[..., :0:-1].cumsum(axis=-1)[..., ::-1]
    n_positive = counts[0].sum(axis=-1)
    # Where the class has no positive sample, the result is replaced.
    f1 = 2 * above[0] / np.maximum(n_positive[:, None] + above[1], 1)
    return np.where(n_positive > 0, f1.argmax(axis=-1), counts.shape[-1] - 1)
