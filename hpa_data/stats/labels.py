"""Class counts and correlations of a label table or of the labels of a part."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.augment.options import Order
from hpa_data.augment.oversample import plan_copies
from hpa_data.dataset import CLASSES
from hpa_data.errors import InputError
from hpa_data.tables import read_label_table


@dataclass(frozen=True, kw_only=True)
class LabelStatistics:
    """How often each class occurs, and with which others.

    Attributes
    ----------
    classes : tuple of str, length K
        Names.
    counts : tuple of int, length K
        Originals that show each class.
    copies : tuple of int, length K
        Augmented copies that show it; zeros without any.
    labels_per_sample : tuple of int
        At index n, the originals with n classes; the last is not 0.
    correlation : tuple of tuple of float or None, shape (K, K)
        As `correlate_classes` has it, over the originals; None in place of NaN, which JSON does not know.
    n_samples, n_copies : int
        Originals and copies.
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    copies: tuple[int, ...]
    labels_per_sample: tuple[int, ...]
    correlation: tuple[tuple[float | None, ...], ...]
    n_samples: int
    n_copies: int


def label_statistics(
    labels: npt.NDArray[np.uint8], copies: npt.NDArray[np.uint8] | None = None, *, classes: Sequence[str] = CLASSES
) -> LabelStatistics:
    """Count classes, and how they occur together.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot, of the originals.
    copies : array of uint8, shape (M, K), optional
        Multi-hot, of augmented copies.
    classes : sequence of str, length K
        Names.

    Returns
    -------
    LabelStatistics

    Raises
    ------
    InputError
        If there is no original, or a row has not one column a class.

    Examples
    --------
    >>> labels = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], np.uint8)
    >>> told = label_statistics(labels, copies=labels[2:3], classes=["Nucleoli", "Cytosol"])
    >>> told.counts, told.copies, told.labels_per_sample
    ((3, 2), (0, 1), (0, 3, 1))
    """
    if copies is None:
        copies = np.zeros((0, len(classes)), np.uint8)
    for name, rows in (("labels", labels), ("copies", copies)):
        if rows.ndim != 2 or rows.shape[1] != len(classes):
            raise InputError(
                f"{name} must have a column for each of {len(classes)} classes. Received: {name} of shape "
                f"{rows.shape}. Pass the names of its classes."
            )
    if not len(labels):
        raise InputError("labels must have at least one sample. Received: none. Pass another table or part.")
    correlation = correlate_classes(labels)
    return LabelStatistics(
        classes=tuple(classes),
        counts=tuple(labels.sum(axis=0, dtype=np.int64).tolist()),
        copies=tuple(copies.sum(axis=0, dtype=np.int64).tolist()),
        labels_per_sample=tuple(np.bincount(labels.sum(axis=1, dtype=np.int64)).tolist()),
        correlation=tuple(tuple(None if math.isnan(value) else value for value in row) for row in correlation.tolist()),
        n_samples=len(labels),
        n_copies=len(copies),
    )


def correlate_classes(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Compute Pearson's correlation between classes; of rows of 0 and 1 it is the phi coefficient.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot, N > 0.

    Returns
    -------
    array of float64, shape (K, K)
        Symmetric, in [-1, 1], with ones on the diagonal. A class that no sample shows, or every one, has no
        correlation: its row, its column and its place on the diagonal are NaN.

    Examples
    --------
    >>> correlate_classes(np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 1]], np.uint8))
    array([[ 1., -1., nan],
           [-1.,  1., nan],
           [nan, nan, nan]])
    """
    n_samples = len(labels)
    rows = labels.astype(np.float64)  # products in float64 are those of BLAS, and exact up to 2**53
    together = rows.T @ rows  # (K, K)
    counts = np.diagonal(together)
    spread = np.sqrt(counts * (n_samples - counts))
    scale = np.outer(spread, spread)
    is_defined = scale > 0
    correlation = np.full(scale.shape, np.nan)
    np.divide(n_samples * together - np.outer(counts, counts), scale, out=correlation, where=is_defined)
    # Square roots are rounded: without this a class would correlate 1.0000000000000002 with its like.
    np.clip(correlation, -1, 1, out=correlation)
    np.fill_diagonal(correlation, np.where(np.diagonal(is_defined), 1, np.nan))
    return correlation


def measure_table(path: Path, *, min_count: int | None = None, order: Order = "index") -> LabelStatistics:
    """Measure a label table alone.

    Parameters
    ----------
    path : Path
        See `tables.read_label_table`.
    min_count, order
        Count the copies, too, that `augment.plan_copies` would make; by default none.

    Raises
    ------
    InputError
        If it cannot be read as a label table, or is empty.
    """
    labels = read_label_table(path).labels
    if not len(labels):
        raise InputError(f"A label table must have at least one row. Received: {path} without. Pass another table.")
    return label_statistics(labels, None if min_count is None else labels[plan_copies(labels, min_count, order)])
