"""How well probabilities rank samples, whatever the thresholds: average precision and the area under the ROC curve."""

from typing import Any

import numpy as np
import numpy.typing as npt


def average_precision(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Compute the average precision of each class, as scikit-learn defines it.

    The precision at each distinct probability, weighted by the increase of recall there.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)

    Returns
    -------
    array of float64, shape (K,)
        Of probabilities without skill, about the frequency of the class. NaN for a class without a positive sample.
    """
    return rank_samples(probs).average_precision(labels)


def roc_auc(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Compute the area under the ROC curve of each class: how often a positive sample is ranked above a negative one.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)

    Returns
    -------
    array of float64, shape (K,)
        0.5 for probabilities without skill; ties count half. NaN for a class without positive or negative samples.
    """
    return rank_samples(probs).roc_auc(labels)


def mean_of_known(values: npt.NDArray[np.float64]) -> float:
    """Average over the classes for which a measure is known; NaN if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


class Ranking:
    """The rank of each sample in each class, to be compared with labels more than once."""

    def __init__(
        self, at_least: npt.NDArray[np.int32], above: npt.NDArray[np.int32], order: npt.NDArray[np.int64]
    ) -> None:
        self._at_least = at_least  # (N, K), samples with this probability or a higher one
        self._above = above  # (N, K), samples with a higher one
        self._order = order  # (N,), the row of each sample in both

    def shuffle(self, order: npt.NDArray[np.int64]) -> "Ranking":
        """Return the ranking of the probabilities in another order of the samples, int (N,)."""
        return Ranking(self._at_least, self._above, self._order[order])

    def average_precision(self, labels: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """See `average_precision`."""
        classes, rows = np.nonzero(np.asarray(labels).T)
        at_least = self._at_least[self._order[rows], classes]
        order = np.lexsort((at_least, classes))
        key = classes[order] * (len(labels) + 1) + at_least[order]
        # Positive samples with the same probability or a higher one.
        starts = np.searchsorted(classes, classes)
        precisions = (np.searchsorted(key, key, side="right") - starts) / at_least[order]
        n_classes = self._above.shape[1]
        return _divide_known(np.bincount(classes, precisions, n_classes), np.bincount(classes, minlength=n_classes))

    def roc_auc(self, labels: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """See `roc_auc`."""
        classes, rows = np.nonzero(np.asarray(labels).T)
        n_classes = self._above.shape[1]
        n_positive = np.bincount(classes, minlength=n_classes)
        # From the lowest probability, 1; those of equal ones are averaged.
        rows = self._order[rows]
        ranks = len(labels) - (self._at_least[rows, classes] + self._above[rows, classes] - 1) / 2
        n_right = np.bincount(classes, ranks, n_classes) - n_positive * (n_positive + 1) / 2
        return _divide_known(n_right, n_positive * (len(labels) - n_positive))


def _divide_known(numerator: npt.NDArray[Any], denominator: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Divide, with NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


def rank_samples(probs: npt.NDArray[np.floating]) -> Ranking:
    """Rank the samples of each class by probability, float (N, K)."""
    values = np.asarray(probs, np.float64)
    at_least, above = np.empty((2, *values.shape), np.int32)
    for k, column in enumerate(values.T):
        ordered = np.sort(column)
        at_least[:, k] = len(values) - np.searchsorted(ordered, column, side="left")
        above[:, k] = len(values) - np.searchsorted(ordered, column, side="right")
    return Ranking(at_least, above, np.arange(len(values)))
