"""Samples for which no class is predicted, in data of which every sample shows one. NumPy only."""

import numpy as np
import numpy.typing as npt


def fill_empty_rows(
    predictions: npt.NDArray[np.uint8], probs: npt.NDArray[np.floating], allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Predict the most probable class of each sample for which none is predicted.

    Parameters
    ----------
    predictions : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        In [0, 1].
    allowed : array of bool, shape (K,) or (N, K)
        Classes that may be filled in, of all samples or of each: those that are ever predicted.

    Returns
    -------
    array of uint8, shape (N, K)

    Examples
    --------
    >>> predictions = np.array([[0, 0, 0], [1, 0, 0]], np.uint8)
    >>> probs = np.array([[0.1, 0.3, 0.4], [0.9, 0.3, 0.2]])
    >>> fill_empty_rows(predictions, probs, np.array([True, True, False]))
    array([[0, 1, 0],
           [1, 0, 0]], dtype=uint8)
    """
    filled = np.array(predictions, np.uint8)
    empty = np.flatnonzero(~filled.any(axis=1))
    may_be = np.broadcast_to(allowed, filled.shape)[empty]
    empty, may_be = empty[may_be.any(axis=1)], may_be[may_be.any(axis=1)]
    filled[empty, np.where(may_be, probs[empty], -1).argmax(axis=1)] = 1
    return filled
