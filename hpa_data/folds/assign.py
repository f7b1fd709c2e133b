"""Folds: which samples validate together. Pure."""

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
    """Give each sample the fold in which it validates.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot.
    n_folds : int
        The number of folds, 2..N.
    method : {"stratified", "contiguous", "grouped-stratified"}
        ``stratified`` spreads each class, the rarest first, evenly over the folds (iterative stratification, Sechidis
        et al. 2011). ``grouped-stratified`` does so with whole groups. ``contiguous`` cuts the samples, as they stand,
        into n_folds runs: the first, middle and final third.
    groups : sequence, length N, optional
        For ``grouped-stratified``: samples of equal value share a fold.
    seed : int
        Decides between equal choices of the stratified ones.

    Returns
    -------
    array of int64, shape (N,)
        0..n_folds-1; every fold has a sample. A function of the arguments alone.

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
            f"method must be one of {', '.join(get_args(FoldMethod))}. Received: method={method!r}. Choose one of them."
        )
    if (groups is not None) != (method == "grouped-stratified"):
        raise InputError(
            f"groups must be given for grouped-stratified, and for it alone. Received: method={method!r}, groups "
            f"{'not ' if groups is None else ''}given. Choose another method."
        )
    if not 2 <= n_folds <= n_samples:
        raise InputError(
            f"folds must be from 2 to the number of samples, {n_samples}. Received: folds={n_folds}. Pass "
            "another number."
        )
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must be from 0 to 2**32 - 1. Received: seed={seed}. Pass another number.")
    if groups is not None and np.shape(groups) != (n_samples,):
        raise InputError(
            f"groups must have one value a sample. Received: shape {np.shape(groups)} for {n_samples} samples. Pass "
            "one for each."
        )
    folds: npt.NDArray[np.int64] = np.empty(n_samples, np.int64)
    if method == "contiguous":
        for fold, run in enumerate(np.array_split(np.arange(n_samples), n_folds)):
            folds[run] = fold
        return folds
    folds = (
        _stratify(labels, n_folds, seed)
        if groups is None
        else _stratify_groups(labels, n_folds, np.asarray(groups), seed)
    )
    empty = np.flatnonzero(np.bincount(folds, minlength=n_folds) == 0)
    if len(empty):
        raise InputError(
            f"Each fold must have a sample. Received: folds={n_folds} over {n_samples} samples, fold {empty[0]} empty. "
            "Pass fewer folds, or --method contiguous."
        )
    return folds


def _stratify(labels: npt.NDArray[np.uint8], n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Spread the columns of `labels`, (N, K), evenly over n_folds folds."""
    # A sample without a class counts as one of a class of its own, or the stratifier would leave it where it likes.
    bare = (labels.sum(axis=1) == 0).astype(np.uint8)
    folds = np.empty(len(labels), np.int64)
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold  # brings scikit-learn, which takes a second

    splitter = MultilabelStratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    for fold, (_, validation) in enumerate(splitter.split(labels, np.column_stack([labels, bare]))):
        folds[validation] = fold
    return folds


def _stratify_groups(
    labels: npt.NDArray[np.uint8], n_folds: int, groups: npt.NDArray[np.generic], seed: int
) -> npt.NDArray[np.int64]:
    """Spread groups evenly over n_folds folds: by the classes that they carry, and by their size."""
    _, members = np.unique(groups, return_inverse=True)
    sizes = np.bincount(members)
    if len(sizes) < n_folds:
        raise InputError(
            f"folds must be at most the number of groups, {len(sizes)}. Received: folds={n_folds}. Pass fewer, "
            "or another method."
        )
    carried = np.zeros((len(sizes), labels.shape[1]), np.uint8)
    np.maximum.at(carried, members, labels)
    # Sizes by powers of two are classes of their own: the folds are to have as many samples, not as many groups.
    magnitudes = np.log2(sizes).astype(np.int64)
    size_classes = np.eye(magnitudes.max() + 1, dtype=np.uint8)[magnitudes]
    return _stratify(np.column_stack([carried, size_classes]), n_folds, seed)[members]


def split_fold(
    folds: npt.NDArray[np.int64], parents: npt.NDArray[np.int64], fold: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the samples that train and those that validate in one fold.

    Copies train where their parent trains, and nowhere validate.

    Parameters
    ----------
    folds : array of int64, shape (N,)
        The fold of each original; what stands there for copies does not matter. Negative for those that take no part.
    parents : array of int64, shape (N,)
        The row of each copy's parent; negative for originals. See `reader.Reader`.
    fold : int

    Returns
    -------
    training, validation : array of int64
        Rows, rising.

    Examples
    --------
    >>> split_fold(np.array([0, 1, 1, -1]), np.array([-1, -1, -1, 0]), 0)
    (array([1, 2]), array([0]))
    >>> split_fold(np.array([0, 1, 1, -1]), np.array([-1, -1, -1, 0]), 1)
    (array([0, 3]), array([1, 2]))
    """
    is_copy = parents >= 0
    own = np.where(is_copy, folds[parents], folds)
    return np.flatnonzero((own >= 0) & (own != fold)), np.flatnonzero((own == fold) & ~is_copy)
