"""The threshold of each class: search, and cross-fitted predictions to score it without bias. NumPy only."""

import numpy as np
import numpy.typing as npt

from hpa_model.metrics import predict_classes

# A probability never exceeds 1, so that a class with this threshold is never predicted.
NEVER = 1.0


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
    truth = np.asarray(labels, bool)
    n_steps = round(1 / step)
    grid = np.arange(n_steps + 1) / n_steps  # (T,)
    best = np.full(truth.shape[1], NEVER)
    for k in np.flatnonzero(truth.any(axis=0)):
        # How many thresholds of the grid each probability exceeds; the class is predicted at exactly these.
        exceeded = np.searchsorted(grid, np.asarray(probs[:, k], np.float64), side="left")  # (N,)
        predicted = _count_above(exceeded, len(grid))
        true_positives = _count_above(exceeded[truth[:, k]], len(grid))
        # The denominator is not 0, because the class has a positive sample.
        f1 = 2 * true_positives / (truth[:, k].sum() + predicted)
        best[k] = grid[f1.argmax()]
    return best


def _count_above(exceeded: npt.NDArray[np.int64], n_grid: int) -> npt.NDArray[np.int64]:
    """Count the samples that exceed each threshold of the grid, int64 (T,)."""
    counts = np.bincount(exceeded, minlength=n_grid + 1)
    return counts[::-1].cumsum()[::-1][1:]


def predict_cross_fitted(
    labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating], folds: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Predict each fold with thresholds that were fitted on the other folds only.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        Out-of-fold probabilities.
    folds : array of int, shape (N,)
        At least two different values.

    Returns
    -------
    array of uint8, shape (N, K)
        Predictions, to be scored with the labels of all folds together.
    """
    predictions = np.zeros(np.shape(labels), np.uint8)
    for fold in np.unique(folds):
        in_fold = folds == fold
        thresholds = search_thresholds(labels[~in_fold], probs[~in_fold])
        predictions[in_fold] = predict_classes(probs[in_fold], thresholds)
    return predictions
