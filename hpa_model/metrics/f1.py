"""F1 scores and accuracy. NumPy only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def predict_classes(probs: npt.NDArray[np.floating], thresholds: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Predict each class whose probability exceeds its threshold.

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
    # In float64 on both sides, so that a float32 probability is not compared with a rounded threshold.
    return (np.asarray(probs, np.float64) > np.asarray(thresholds, np.float64)).astype(np.uint8)


def f1_per_class(labels: npt.NDArray[np.generic], predictions: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Compute the F1 score of each class, 2 tp / (2 tp + fp + fn).

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
    """The confusion counts of each class; each array is int64, shape (K,)."""

    support: npt.NDArray[np.int64]
    """Samples that show the class."""

    predicted: npt.NDArray[np.int64]
    """Samples that the class is predicted for."""

    true_positives: npt.NDArray[np.int64]
    """Samples that show the class and that it is predicted for."""

    @property
    def precision(self) -> npt.NDArray[np.float64]:
        """Fraction of the predicted samples that show the class, float64 (K,); 0 for a class never predicted."""
        return safe_divide(self.true_positives, self.predicted)

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Fraction of the class's samples that are predicted, float64 (K,); 0 for a class without a sample."""
        return safe_divide(self.true_positives, self.support)

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        """The harmonic mean of both, float64 (K,); 0 for a class without a sample that is never predicted."""
        return safe_divide(2 * self.true_positives, self.support + self.predicted)  # 2 tp / (2 tp + fp + fn)


def safe_divide(numerator: npt.NDArray[np.int64], denominator: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Divide, with 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def confusion_counts(labels: npt.NDArray[np.generic], predictions: npt.NDArray[np.generic]) -> Counts:
    """Compare predictions with labels, class by class.

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (N, K)
    """
    truth, predicted = np.asarray(labels, bool), np.asarray(predictions, bool)
    return Counts(
        support=truth.sum(axis=0),
        predicted=predicted.sum(axis=0),
        true_positives=(truth & predicted).sum(axis=0),
    )


def binary_accuracy(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating]) -> float:
    """Return the fraction of all labels, 0 and 1 alike, that the threshold 0.5 predicts correctly."""
    return float((predict_classes(probs, 0.5) == np.asarray(labels)).mean())
