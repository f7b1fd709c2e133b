"""Folds: which samples validate together. Pure."""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

from hpa_data.errors import InputError

Method = Literal["stratified", "contiguous"]


def assign_folds(
    labels: npt.NDArray[np.uint8], k: int, *, method: Method = "stratified", seed: int = 0
) -> npt.NDArray[np.int64]:
    """Give each sample the fold in which it validates.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot.
    k : int
        The number of folds, 2..N.
    method : {"stratified", "contiguous"}
        ``stratified`` spreads each class, the rarest first, evenly over the folds (iterative stratification, Sechidis
        et al. 2011). ``contiguous`` cuts the samples, as they stand, into k runs: the first, middle and final third.
    seed : int
        Decides between equal choices of ``stratified``.

    Returns
    -------
    array of int64, shape (N,)
        0..k-1; every fold has a sample. A function of the arguments alone.

    Raises
    ------
    InputError
        If k or the method cannot be used.

    Examples
    --------
    >>> assign_folds(np.ones((7, 1), np.uint8), 3, method="contiguous")
    array([0, 0, 0, 1, 1, 2, 2])
    """
    n_samples = len(labels)
    if method not in get_args(Method):
        raise InputError(f"method must be stratified or contiguous. Received: method={method!r}. Choose one of them.")
    if not 2 <= k <= n_samples:
        raise InputError(
            f"folds must be from 2 to the number of samples, {n_samples}. Received: folds={k}. Pass another number."
        )
    folds = np.empty(n_samples, np.int64)
    if method == "contiguous":
        for fold, run in enumerate(np.array_split(np.arange(n_samples), k)):
            folds[run] = fold
        return folds
    # A sample without a class counts as one of a class of its own, or the stratifier would leave it where it likes.
    bare = (labels.sum(axis=1) == 0).astype(np.uint8)
    splitter = MultilabelStratifiedKFold(n_splits=k, shuffle=True, random_state=seed)
    for fold, (_, validation) in enumerate(splitter.split(labels, np.column_stack([labels, bare]))):
        folds[validation] = fold
    empty = np.flatnonzero(np.bincount(folds, minlength=k) == 0)
    if len(empty):
        raise InputError(
            f"Each fold must have a sample. Received: folds={k} over {n_samples} samples, fold {empty[0]} empty. "
            "Pass fewer folds, or --method contiguous."
        )
    return folds
