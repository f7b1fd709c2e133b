"""Assigning samples to cross-validation folds."""

from typing import get_args

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.folds.options import FoldMethod


def assign_folds(
    labels: npt.NDArray[np.uint8],
    n_folds: int,
    method: FoldMethod = "stratified",
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> npt.NDArray[np.int64]:
    """Assign each sample to the fold in whose validation set it is.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot.
    n_folds : int
        2..N.
    method : {"stratified", "contiguous", "grouped-stratified"}
        ``stratified`` distributes each class, the rarest first, evenly over the folds (iterative stratification,
        Sechidis et al. 2011). ``grouped-stratified`` does so with whole groups. ``contiguous`` splits the samples in
        their order into n_folds blocks, as into the first, middle and last third.
    groups : sequence, length N, optional
        For ``grouped-stratified``: samples with the same value are in the same fold.
    seed : int
        Of the stratified methods.

    Returns
    -------
    array of int64, shape (N,)
        0..n_folds-1; every fold has a sample. It depends on the arguments alone.

    Raises
    ------
    InputError
        If n_folds or the method cannot be used.

    Examples
    --------
    >>> assign_folds(np.ones((7, 1), np.uint8), 3, method="contiguous")
    array([0, 0, 0, 1, 1, 2, 2])
    """
    n_samples = len(labels)
    if method not in get_args(FoldMethod):
        raise InputError(
            f"method must be one of {', '.join(get_args(FoldMethod))}. Received: method={method!r}. Choose one."
        )
    if (groups is not None) != (method == "grouped-stratified"):
        raise InputError(
            f"groups must be given for grouped-stratified, and only for it. Received: method={method!r}, "
            f"{'no ' if groups is None else ''}groups. Choose another method."
        )
    check_n_folds(n_folds, n_samples, seed)
    if groups is not None and np.shape(groups) != (n_samples,):
        raise InputError(
            f"groups must have one value per sample. Received: shape {np.shape(groups)} for {n_samples} samples. Pass "
            "one for each."
        )
    folds: npt.NDArray[np.int64] = np.empty(n_samples, np.int64)
    if method == "contiguous":
        for fold, block in enumerate(np.array_split(np.arange(n_samples), n_folds)):
            folds[block] = fold
        return folds
    folds = (
        _stratify(labels, n_folds, seed)
        if groups is None
        else _stratify_groups(labels, n_folds, np.asarray(groups), seed)
    )
    empty = np.flatnonzero(np.bincount(folds, minlength=n_folds) == 0)
    if len(empty):
        raise InputError(
            f"Cannot assign {n_samples} samples to {n_folds} folds: fold {empty[0]} is empty. Pass fewer --folds, or "
            "--fold-method contiguous."
        )
    return folds


def check_n_folds(n_folds: int, n_samples: int, seed: int) -> None:
    """Refuse a number of folds or a seed that `assign_folds` cannot use."""
    if not 2 <= n_folds <= n_samples:
        raise InputError(
            f"folds must be from 2 to the number of samples, {n_samples}. Received: folds={n_folds}. Pass another "
            "number."
        )
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must be from 0 to 2**32 - 1. Received: seed={seed}. Pass another number.")


def _stratify(labels: npt.NDArray[np.uint8], n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Distribute the columns of `labels`, (N, K), evenly over the folds."""
    # Samples without a class are a class, too, or the stratifier would not distribute them.
    unlabeled = (labels.sum(axis=1) == 0).astype(np.uint8)
    folds = np.empty(len(labels), np.int64)
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold  # brings scikit-learn, which takes a second

    splitter = MultilabelStratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    for fold, (_, validation) in enumerate(splitter.split(labels, np.column_stack([labels, unlabeled]))):
        folds[validation] = fold
    return folds


def _stratify_groups(
    labels: npt.NDArray[np.uint8], n_folds: int, groups: npt.NDArray[np.generic], seed: int
) -> npt.NDArray[np.int64]:
    """Distribute groups evenly over the folds: by the classes of their samples, and by their size."""
    _, members = np.unique(groups, return_inverse=True)
    sizes = np.bincount(members)
    if len(sizes) < n_folds:
        raise InputError(
            f"folds must be at most the number of groups, {len(sizes)}. Received: folds={n_folds}. Pass fewer: "
            "samples of one group, such as duplicates, are in one fold."
        )
    group_labels = np.zeros((len(sizes), labels.shape[1]), np.uint8)
    np.maximum.at(group_labels, members, labels)
    # Each power of two of the size is one more class: folds should have equally many samples, not groups.
    magnitudes = np.log2(sizes).astype(np.int64)
    size_classes = np.eye(magnitudes.max() + 1, dtype=np.uint8)[magnitudes]
    return _stratify(np.column_stack([group_labels, size_classes]), n_folds, seed)[members]


def split_fold(
    folds: npt.NDArray[np.int64], parents: npt.NDArray[np.int64], fold: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the training and validation samples of one fold.

    Copies are in training where their parent is, and never in validation.

    Parameters
    ----------
    folds : array of int64, shape (N,)
        The fold of each original, negative for those that are not used. Values of copies do not matter.
    parents : array of int64, shape (N,)
        The index of each copy's parent; negative for originals. See `reader.Reader`.
    fold : int

    Returns
    -------
    training, validation : array of int64
        Indices, ascending.

    Examples
    --------
    >>> split_fold(np.array([0, 1, 1, -1]), np.array([-1, -1, -1, 0]), 0)
    (array([1, 2]), array([0]))
    >>> split_fold(np.array([0, 1, 1, -1]), np.array([-1, -1, -1, 0]), 1)
    (array([0, 3]), array([1, 2]))
    """
    is_copy = parents >= 0
    of_original = np.where(is_copy, folds[parents], folds)
    return np.flatnonzero((of_original >= 0) & (of_original != fold)), np.flatnonzero((of_original == fold) & ~is_copy)
