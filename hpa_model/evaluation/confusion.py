"""What classes are confused with, against how often each class is predicted or missed anyway. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class ConfusionMap:
    """Which classes are predicted for the samples of each class."""

    names: tuple[str, ...]

    fractions: npt.NDArray[np.float64]
    """(K, K). On the diagonal, the recall of a class. Elsewhere, of the samples that show the class of the row and not
    that of the column, the fraction that the class of the column is predicted for. NaN without such a sample."""

    base: npt.NDArray[np.float64]
    """(K,). Of all samples that do not show a class, the fraction that it is predicted for."""


def map_confusion(
    labels: npt.NDArray[np.generic], predictions: npt.NDArray[np.generic], names: Sequence[str]
) -> ConfusionMap:
    """Count which classes are predicted for samples of which class.

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (N, K)
    names : sequence of str, length K

    Examples
    --------
    >>> labels, predictions = np.array([[1, 0], [1, 0], [0, 1]]), np.array([[1, 0], [0, 1], [0, 1]])
    >>> found = map_confusion(labels, predictions, ["Nucleoli", "Cytosol"])
    >>> found.fractions.tolist(), found.base.tolist()
    ([[0.5, 0.5], [0.0, 1.0]], [0.0, 0.5])
    """
    truth, predicted = np.asarray(labels, np.float64), np.asarray(predictions, np.float64)
    wrong = predicted * (1 - truth)
    without = truth.T @ (1 - truth)  # (K, K): samples with the row's class, without the column's
    support = truth.sum(axis=0)
    np.fill_diagonal(without, support)
    counts = truth.T @ wrong
    np.fill_diagonal(counts, (truth * predicted).sum(axis=0))
    return ConfusionMap(
        names=tuple(names),
        fractions=_divide(counts, without),
        base=_divide(wrong.sum(axis=0), len(truth) - support),
    )


def _divide(counts: npt.NDArray[np.float64], totals: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)


@dataclass(frozen=True, kw_only=True)
class Partner:
    """A class that another is confused with."""

    index: int
    count: int
    """Samples."""

    lift: float
    """How many times as often as in all samples where that error is possible."""


def rank_partners(
    chosen: npt.NDArray[np.bool_], errors: npt.NDArray[np.bool_], possible: npt.NDArray[np.bool_], n: int
) -> list[Partner]:
    """Rank the errors that come with chosen samples more often than they come anyway.

    A class that is predicted for everything would otherwise be named beside every class.

    Parameters
    ----------
    chosen : array of bool, shape (N,)
        The samples, such as those that miss one class.
    errors, possible : array of bool, shape (N, K)
        Whether each class has the error, and whether it could: only a class that a sample does not show can be
        predicted wrongly.
    n : int
        Partners to return, at most.

    Returns
    -------
    list of Partner
        Those with more errors than expected, the largest excess first.

    Examples
    --------
    >>> errors = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0], [1, 0]], bool)  # the first class is predicted always
    >>> rank_partners(np.array([1, 1, 0, 0, 0, 0], bool), errors, np.ones((6, 2), bool), 3)
    [Partner(index=1, count=2, lift=3.0)]
    """
    counts = errors[chosen].sum(axis=0)
    rates = np.nan_to_num(_divide(errors.sum(axis=0).astype(float), possible.sum(axis=0).astype(float)))
    expected = rates * possible[chosen].sum(axis=0)
    excess = counts - expected
    order = [k for k in np.argsort(-excess, kind="stable")[:n] if excess[k] > 1e-9]
    return [Partner(index=int(k), count=int(counts[k]), lift=float(counts[k] / expected[k])) for k in order]
