"""Oversampling: which samples are copied, how often, until each class has enough. Pure."""

from typing import get_args

import numpy as np
import numpy.typing as npt

from hpa_data.augment.options import Order
from hpa_data.errors import InputError

# More copies than any training could use: a typing error.
MAX_COUNT = 100_000
MAX_COPIES = 300_000


def plan_copies(
    labels: npt.NDArray[np.uint8],
    min_count: int = 500,
    order: Order = "index",
    *,
    eligible: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Choose which samples to copy until each class has enough.

    Take the classes with fewer than `min_count` samples in turn. Copy the samples of the class one after the other,
    in the order of their rows and then from the first again, until it has enough. A copy counts for all its classes.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot.
    min_count : int
        Samples that each class is to have, copies included, 1..100,000.
    order : {"index", "rarest"}
        Take the classes by their index, as in the paper, or the rarest first, which needs fewer copies.
    eligible : array of bool, shape (N,), optional
        Samples that may be copied; the others are only counted. By default all.

    Returns
    -------
    array of int64, shape (M,)
        The row of each copy's parent. A class without an eligible sample stays below `min_count`.

    Raises
    ------
    InputError
        If `min_count` or `order` is not one of those, or the copies would be more than 300,000.

    Examples
    --------
    >>> plan_copies(np.array([[1, 0], [1, 1], [1, 0]], np.uint8), min_count=4)
    array([0, 1, 1, 1])
    """
    if not 1 <= min_count <= MAX_COUNT:
        raise InputError(
            f"min_count must be from 1 to {MAX_COUNT}. Received: min_count={min_count}. Pass another number."
        )
    if order not in get_args(Order):
        raise InputError(f"order must be index or rarest. Received: order={order!r}. Choose one of them.")
    counts = labels.sum(axis=0, dtype=np.int64)
    by_count = np.argsort(counts, kind="stable") if order == "rarest" else np.arange(len(counts))
    parents = [np.empty(0, np.int64)]
    for k in by_count:
        carriers = labels[:, k] > 0
        rows = np.flatnonzero(carriers if eligible is None else carriers & eligible)
        if len(rows) and counts[k] < min_count:
            # Each copy adds one to the class itself, so the number of copies is known.
            chosen = np.resize(rows, min_count - counts[k])
            counts += labels[chosen].sum(axis=0, dtype=np.int64)
            parents.append(chosen)
        if sum(map(len, parents)) > MAX_COPIES:
            raise InputError(
                f"min_count must need at most {MAX_COPIES} copies. Received: min_count={min_count}, which needs more. "
                "Pass a smaller number."
            )
    return np.concatenate(parents)
