"""Cross-fitted predictions: each sample is predicted with thresholds that were fitted on others."""

import numpy as np
import numpy.typing as npt

from hpa_model.thresholds.fill import fill_empty_rows
from hpa_model.thresholds.search import N_STEPS, bin_probs, count_bins, find_best

# Splits of the samples of one fold.
N_SPLITS = 10


def predict_cross_fitted(
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    folds: npt.NDArray[np.int64],
    *,
    fill: bool = False,
) -> npt.NDArray[np.uint8]:
    """Predict each fold with thresholds that were fitted on the other folds only.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        Out-of-fold probabilities.
    folds : array of int, shape (N,)
        At least two different values.
    fill : bool
        Predict the most probable class where none is, see `fill_empty_rows`.

    Returns
    -------
    array of uint8, shape (N, K)
        Predictions, to be scored with the labels of all folds together.
    """
    return _predict_held_out(labels, probs, folds, np.zeros_like(folds), fill=fill)


def predict_within_folds(
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    folds: npt.NDArray[np.int64],
    *,
    n_splits: int = N_SPLITS,
    fill: bool = False,
) -> npt.NDArray[np.uint8]:
    """Predict each sample with thresholds that were fitted on other samples of its fold.

    So the model that is scored is also the one that the thresholds are fitted to.

    Parameters
    ----------
    labels, probs, folds, fill
        As in `predict_cross_fitted`. The result depends on the order of the rows: it decides the splits.
    n_splits : int
        The samples of a fold are split in so many, and each split is predicted with thresholds of the others.

    Returns
    -------
    array of uint8, shape (N, K)
    """
    splits = split_rows(labels, n_splits)
    return _predict_held_out(labels, probs, splits * (int(folds.max()) + 1) + folds, folds, fill=fill)


def split_rows(labels: npt.NDArray[np.generic], n_splits: int) -> npt.NDArray[np.int64]:
    """Assign rows to splits so that each has its share of every class that few rows have, int64 (N,) from 0."""
    truth = np.asarray(labels) != 0
    support = truth.sum(axis=0)
    rarest = np.where(truth, support, len(truth) + 1).argmin(axis=1)
    # In the order of their rarest class, with a random order within.
    order = np.lexsort((np.random.default_rng(0).permutation(len(truth)), rarest))
    splits: npt.NDArray[np.int64] = np.empty(len(truth), np.int64)
    splits[order] = np.arange(len(truth)) % n_splits
    return splits


def _predict_held_out(
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    held_out: npt.NDArray[np.int64],
    pools: npt.NDArray[np.int64],
    *,
    fill: bool,
) -> npt.NDArray[np.uint8]:
    """Predict the rows of each value of `held_out`, int (N,), with thresholds of the other rows of their pool."""
    truth, bins = np.asarray(labels) != 0, bin_probs(probs)
    predictions = np.zeros(truth.shape, np.uint8)
    for pool in np.unique(pools):
        in_pool = pools == pool
        counts = count_bins(truth[in_pool], bins[in_pool])
        for group in np.unique(held_out[in_pool]):
            rows = np.flatnonzero(in_pool & (held_out == group))
            best = find_best(counts - count_bins(truth[rows], bins[rows]))
            of_group = (bins[rows] > best).astype(np.uint8)
            predictions[rows] = fill_empty_rows(of_group, probs[rows], best < N_STEPS) if fill else of_group
    return predictions
