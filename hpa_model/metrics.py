"""F1 scores over a whole set of samples. NumPy only."""

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
    truth, guess = np.asarray(labels, bool), np.asarray(predictions, bool)
    hits = (truth & guess).sum(axis=0)
    total = truth.sum(axis=0) + guess.sum(axis=0)  # 2 tp + fp + fn
    return np.divide(2 * hits, total, out=np.zeros(truth.shape[1]), where=total > 0)


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
