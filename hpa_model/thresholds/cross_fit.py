"""Cross-fitted predictions: each sample is predicted with thresholds that were fitted on others."""

import numpy as np
import numpy.typing as npt

from hpa_model.thresholds.fill import fill_empty_rows
from hpa_model.thresholds.search import N_STEPS, bin_probs, find_best

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
    truth = np.asarray(labels) != 0
    return predict_held_out(truth, bin_probs(probs), probs, folds, np.zeros_like(folds), fill=fill)


def predict_within_folds(
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    folds: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64] | None = None,
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
    groups : array of int, shape (N,), optional
        Samples of one group are in one split: thresholds fitted on duplicates of a sample fit it too well.
    n_splits : int
        The samples of a fold are split in so many, and each split is predicted with thresholds of the others.

    Returns
    -------
    array of uint8, shape (N, K)
    """
    truth = np.asarray(labels) != 0
    splits = split_rows(labels, n_splits, groups)
    return predict_held_out(truth, bin_probs(probs), probs, splits, folds, fill=fill)


def find_held_out(
    labels: npt.NDArray[np.generic], folds: npt.NDArray[np.int64], groups: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """Return the sets of rows, int (N,), of which each is predicted with thresholds of the others.

    The folds. A single fold is split into two halves, with all rows of one value of `groups`, int (N,), in one of them.
    """
    return folds if len(np.unique(folds)) > 1 else split_rows(labels, 2, groups)


def split_rows(
    labels: npt.NDArray[np.generic], n_splits: int, groups: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """Assign rows to splits so that each has its share of every class that few rows have, int64 (N,) from 0.

    Rows of one value of `groups`, int (N,), are in one split.
    """
    truth = np.asarray(labels) != 0
    if groups is not None:
        members = np.unique(groups, return_inverse=True)[1]
        of_groups = np.zeros((int(members.max()) + 1, truth.shape[1]), np.bool_)
        np.logical_or.at(of_groups, members, truth)
        return split_rows(of_groups, n_splits)[members]
    support = truth.sum(axis=0)
    rarest = np.where(truth, support, len(truth) + 1).argmin(axis=1)
    # In the order of their rarest class, with a random order within.
    order = np.lexsort((np.random.default_rng(0).permutation(len(truth)), rarest))
    splits: npt.NDArray[np.int64] = np.empty(len(truth), np.int64)
    splits[order] = np.arange(len(truth)) % n_splits
    return splits


def predict_held_out(
    truth: npt.NDArray[np.bool_],
    bins: npt.NDArray[np.int32],
    probs: npt.NDArray[np.floating],
    held_out: npt.NDArray[np.int64],
    pools: npt.NDArray[np.int64],
    *,
    fill: bool,
    n_steps: int = N_STEPS,
) -> npt.NDArray[np.uint8]:
    """Predict each set of rows with thresholds of the other rows of their pool.

    Parameters
    ----------
    truth : array of bool, shape (N, K)
    bins : array of int32, shape (N, K)
        From `bin_probs`, of `probs`. Different bins of a pool may be renumbered, see `renumber_bins`.
    probs : array of float, shape (N, K)
    held_out, pools : array of int, shape (N,)
        The set, and the pool, of each row.
    fill : bool
    n_steps : int
        Of the bins.

    Returns
    -------
    array of uint8, shape (N, K)
    """
    predictions = np.empty(truth.shape, np.uint8)
    for pool in np.unique(pools):
        rows = np.flatnonzero(pools == pool)
        sets = np.unique(held_out[rows], return_inverse=True)[1]
        best = find_best(truth[rows], bins[rows], sets, n_steps=n_steps)[sets]
        predicted = (bins[rows] > best).astype(np.uint8)
        predictions[rows] = fill_empty_rows(predicted, probs[rows], best < n_steps) if fill else predicted
    return predictions
