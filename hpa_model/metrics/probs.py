"""What every probability must be: a number in [0, 1]."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class WrongRow:
    """The first row of an array that holds something else than probabilities."""

    row: int

    value: float
    """The first such value in it."""

    n_rows: int
    """How many rows hold such values."""

    def __str__(self) -> str:
        """Describe it: ``NaN``, ``infinity``, ``1.5``; after it, how many further rows are wrong."""
        value = "NaN" if np.isnan(self.value) else "infinity" if np.isinf(self.value) else f"{self.value:g}"
        others = f", and {self.n_rows - 1} other samples" if self.n_rows > 1 else ""
        return f"{value} where a probability from 0 to 1 must be{others}"


def find_wrong_row(probs: npt.NDArray[np.floating]) -> WrongRow | None:
    """Find values that are no probabilities: NaN, infinite, below 0 or above 1.

    Parameters
    ----------
    probs : array of float, shape (N, K)

    Returns
    -------
    WrongRow or None
        None if all are in [0, 1].

    Examples
    --------
    >>> find_wrong_row(np.array([[0.0, 1.0], [0.5, np.nan], [2.0, 0.0]]))
    WrongRow(row=1, value=nan, n_rows=2)
    """
    is_right = (probs >= 0) & (probs <= 1)  # false for NaN
    if is_right.all():
        return None
    wrong = np.flatnonzero(~is_right.all(axis=1))
    row = int(wrong[0])
    return WrongRow(row=row, value=float(probs[row][~is_right[row]][0]), n_rows=len(wrong))
