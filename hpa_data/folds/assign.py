"""Assigning samples to cross-validation folds."""

from typing import get_args

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.folds.options import FoldMethod

# The fold of samples that are not used; and, where there are fewer than two folds, of those that every model is trained
# on, and none is validated on.
NOT_USED, TRAINING_ONLY = -1, -2

# Fewest samples, or groups, that validate the only model: thresholds of one half score the other.
MIN_HELD_OUT = 2


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


def hold_out(
    labels: npt.NDArray[np.uint8],
    share: float,
    method: FoldMethod = "stratified",
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> npt.NDArray[np.int64]:
    """Assign a share of the samples to fold 0, on which the only model is validated, and the others to no fold.

    Parameters
    ----------
    labels, method, groups, seed
        As for `assign_folds`. ``contiguous`` takes the first samples.
    share : float
        Of the samples, between 0 and 1. At least two samples, or groups, are held out, because each half is scored
        with thresholds of the other one; at least one is not.

    Returns
    -------
    array of int64, shape (N,)
        0 or `TRAINING_ONLY`. It depends on the arguments alone.

    Raises
    ------
    InputError
        If there are fewer than three samples, or groups.

    Examples
    --------
    >>> hold_out(np.ones((5, 1), np.uint8), 0.4, method="contiguous")
    array([ 0,  0, -2, -2, -2])
    """
    each = np.arange(len(labels)) if groups is None else np.asarray(groups)
    columns, members = (labels, each) if groups is None else _describe_groups(labels, each)
    n_units = len(columns)
    if n_units < MIN_HELD_OUT + 1:
        of_groups = "" if groups is None else f" in {n_units} group{'s' if n_units > 1 else ''} that belong together"
        raise InputError(
            f"Cannot hold out samples for validation: there must be {MIN_HELD_OUT + 1} that do not belong together. "
            f"Received: {len(labels)} samples{of_groups}. Pass --folds 0, which validates nothing."
        )
    n_held_out = min(max(MIN_HELD_OUT, round(share * n_units)), n_units - 1)
    if method == "contiguous":
        is_held_out = np.arange(n_units) < n_held_out
    else:
        is_held_out = _stratify_share(columns, n_held_out, seed)
    return np.where(is_held_out, 0, TRAINING_ONLY)[members]


def _stratify_share(labels: npt.NDArray[np.uint8], n_held_out: int, seed: int) -> npt.NDArray[np.bool_]:
    """Choose about so many rows of `labels`, (N, K), with their share of each column, bool (N,)."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit  # brings scikit-learn, which takes a second

    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=n_held_out, random_state=seed)
    (_, chosen), *_ = splitter.split(labels, _add_unlabeled(labels))
    is_chosen: npt.NDArray[np.bool_] = np.zeros(len(labels), np.bool_)
    is_chosen[chosen] = True
    if is_chosen.all() or is_chosen.sum() < MIN_HELD_OUT:  # of very few rows
        is_chosen = np.arange(len(labels)) < n_held_out
    return is_chosen


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
    folds = np.empty(len(labels), np.int64)
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold  # brings scikit-learn, which takes a second

    splitter = MultilabelStratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    for fold, (_, validation) in enumerate(splitter.split(labels, _add_unlabeled(labels))):
        folds[validation] = fold
    return folds


def _add_unlabeled(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Add a class of the samples without one to labels: the stratifier would not distribute them otherwise."""
    return np.column_stack([labels, (labels.sum(axis=1) == 0).astype(np.uint8)])


def _stratify_groups(
    labels: npt.NDArray[np.uint8], n_folds: int, groups: npt.NDArray[np.generic], seed: int
) -> npt.NDArray[np.int64]:
    """Distribute groups evenly over the folds: by the classes of their samples, and by their size."""
    columns, members = _describe_groups(labels, groups)
    if len(columns) < n_folds:
        raise InputError(
            f"folds must be at most the number of groups, {len(columns)}. Received: folds={n_folds}. Pass fewer: "
            "samples of one group, such as duplicates, are in one fold."
        )
    return _stratify(columns, n_folds, seed)[members]


def _describe_groups(
    labels: npt.NDArray[np.uint8], groups: npt.NDArray[np.generic]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return what is distributed of each group, (G, K'), and the group of each sample, int64 (N,)."""
    _, members = np.unique(groups, return_inverse=True)
    sizes = np.bincount(members)
    group_labels = np.zeros((len(sizes), labels.shape[1]), np.uint8)
    np.maximum.at(group_labels, members, labels)
    # Each power of two of the size is one more class: folds should have equally many samples, not groups.
    magnitudes = np.log2(sizes).astype(np.int64)
    size_classes = np.eye(magnitudes.max() + 1, dtype=np.uint8)[magnitudes]
    return np.column_stack([group_labels, size_classes]), members


def split_fold(
    folds: npt.NDArray[np.int64], parents: npt.NDArray[np.int64], fold: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the training and validation samples of one fold.

    Copies are in training where their parent is, and never in validation.

    Parameters
    ----------
    folds : array of int64, shape (N,)
        The fold of each original, `TRAINING_ONLY`, or -1 for those that are not used. Values of copies do not matter.
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
    >>> split_fold(np.array([0, -2, -1]), np.array([-1, -1, -1]), 0)
    (array([1]), array([0]))
    """
    is_copy = parents >= 0
    of_original = np.where(is_copy, folds[parents], folds)
    is_used = of_original != NOT_USED
    return np.flatnonzero(is_used & (of_original != fold)), np.flatnonzero((of_original == fold) & ~is_copy)
