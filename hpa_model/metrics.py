"""F1 scores and losses over a whole set of samples. NumPy only."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def predict_classes(probs: npt.NDArray[np.floating], thresholds: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Turn probabilities into predictions: a class is predicted where its probability exceeds its threshold.

    Parameters
    ----------
    probs : array of float, shape (N, K)
        In [0, 1].
    thresholds : float or array of float, shape (K,)
        In [0, 1]; a class with threshold 1 is never predicted.

    Returns
    -------
    array of uint8, shape (N, K)
    """
    # In float64 on both sides: a float32 probability must not be compared with a rounded threshold.
    return (np.asarray(probs, np.float64) > np.asarray(thresholds, np.float64)).astype(np.uint8)


def f1_per_class(labels: npt.NDArray[np.generic], predictions: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Count the F1 score of each class, 2 tp / (2 tp + fp + fn).

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (N, K)

    Returns
    -------
    array of float64, shape (K,)
        0 for a class that is neither in the labels nor predicted.

    Examples
    --------
    >>> f1_per_class(np.array([[1, 0], [1, 0]]), np.array([[1, 0], [0, 0]])).round(3)
    array([0.667, 0.   ])
    """
    return confusion_counts(labels, predictions).f1


def macro_f1(
    labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating], thresholds: npt.ArrayLike = 0.5
) -> float:
    """Average the F1 scores of all classes, each with the same weight.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        In [0, 1].
    thresholds : float or array of float, shape (K,)

    Returns
    -------
    float
        In [0, 1]. A class without a positive counts as 0, as in the paper's and Kaggle's score.
    """
    return float(f1_per_class(labels, predict_classes(probs, thresholds)).mean())


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How predictions of each class meet the truth; each array is int64, shape (K,).

    Attributes
    ----------
    support : array
        Samples that show the class.
    predicted : array
        Samples that it is predicted for.
    true_positives : array
        Samples of both kinds.
    """

    support: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    true_positives: npt.NDArray[np.int64]

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Share of what is predicted that is true, float64 (K,); 0 for a class that is never predicted."""
        return safe_divide(self.true_positives, self.predicted)

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Share of what is true that is predicted, float64 (K,); 0 for a class without a sample."""
        return safe_divide(self.true_positives, self.support)

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        """The harmonic mean of both, float64 (K,); 0 for a class that is neither shown nor predicted."""
        return safe_divide(2 * self.true_positives, self.support + self.predicted)  # 2 tp / (2 tp + fp + fn)


def safe_divide(numerator: npt.NDArray[np.int64], denominator: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Divide, with 0 where there is nothing to divide by."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def confusion_counts(labels: npt.NDArray[np.generic], predictions: npt.NDArray[np.generic]) -> Counts:
    """Hold predictions against labels, class by class.

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (N, K)
    """
    truth, guess = np.asarray(labels, bool), np.asarray(predictions, bool)
    return Counts(support=truth.sum(axis=0), predicted=guess.sum(axis=0), true_positives=(truth & guess).sum(axis=0))


def binary_cross_entropy(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating]) -> float:
    """Average the binary cross-entropy, in nats, over samples and classes, as Keras counts it.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        In [0, 1]; clipped to [1e-7, 1 - 1e-7] first.
    """
    p = np.asarray(probs, np.float64).clip(1e-7, 1 - 1e-7)
    return float(-np.where(np.asarray(labels, bool), np.log(p), np.log1p(-p)).mean())


def focal_cross_entropy(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating], gamma: float = 2.0) -> float:
    """Average the focal loss of Lin et al. (2017): cross-entropy, times a power of what is missing to certainty.

    Parameters and clipping as in `binary_cross_entropy`.
    """
    p = np.asarray(probs, np.float64).clip(1e-7, 1 - 1e-7)
    right = np.where(np.asarray(labels, bool), p, 1 - p)  # the probability given to what is true
    return float(((1 - right) ** gamma * -np.log(right)).mean())


def soft_macro_f1_loss(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating]) -> float:
    """Take 1 minus the mean over classes of F1, with probabilities in place of predictions.

    Counted over all rows at once: over small batches, most rare classes are absent and score 0.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        In [0, 1].
    """
    truth, p = np.asarray(labels, np.float64), np.asarray(probs, np.float64)
    total = truth.sum(axis=0) + p.sum(axis=0)
    return float(1 - (2 * (truth * p).sum(axis=0) / np.maximum(total, 1e-7)).mean())


def binary_accuracy(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating]) -> float:
    """Return the share of all labels, 0 and 1 alike, that the threshold 0.5 predicts right."""
    return float((predict_classes(probs, 0.5) == np.asarray(labels)).mean())


# What a loss in `losses` comes to over a whole set.
LOSSES: dict[str, Callable[[npt.NDArray[np.generic], npt.NDArray[np.floating]], float]] = {
    "bce": binary_cross_entropy,
    "f1": soft_macro_f1_loss,
    "focal": focal_cross_entropy,
}
