"""How well probabilities rank samples, whatever the thresholds: average precision and the area under the ROC curve."""

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
    """The samples of each class in the order of their probabilities, to be compared with labels more than once."""

    def __init__(self, order: npt.NDArray[np.int64], is_last: npt.NDArray[np.bool_]) -> None:
        self._order = order  # (N, K), the highest probability first
        self._is_last = is_last  # (N, K), of the samples with the same probability

    def _count(self, labels: npt.NDArray[np.generic], k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Count positives and samples down to each distinct probability of a class, int64 (D,) both."""
        ends = np.flatnonzero(self._is_last[:, k])
        positives = np.cumsum(np.asarray(labels)[self._order[:, k], k] != 0)
        return positives[ends], ends + 1

    def average_precision(self, labels: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """See `average_precision`."""
        values = np.full(self._order.shape[1], np.nan)
        for k in range(len(values)):
            positives, counts = self._count(labels, k)
            if positives[-1]:
                gained = np.diff(positives, prepend=0)
                values[k] = (gained * (positives / counts)).sum() / positives[-1]
        return values

    def roc_auc(self, labels: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """See `roc_auc`."""
        values = np.full(self._order.shape[1], np.nan)
        for k in range(len(values)):
            positives, counts = self._count(labels, k)
            negatives = counts - positives
            if positives[-1] and negatives[-1]:
                area = np.trapezoid(np.append(0, positives), np.append(0, negatives))
                values[k] = area / (positives[-1] * negatives[-1])
        return values


def rank_samples(probs: npt.NDArray[np.floating]) -> Ranking:
    """Sort the samples of each class by probability, float (N, K)."""
    order = np.argsort(-np.asarray(probs, np.float64), axis=0, kind="stable")
    ranked = np.take_along_axis(np.asarray(probs), order, axis=0)
    is_last = np.ones(ranked.shape, np.bool_)
    is_last[:-1] = ranked[1:] != ranked[:-1]
    return Ranking(order, is_last)
