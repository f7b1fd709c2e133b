"""Class counts and correlations, of a label table or of the labels of a part."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.augment.options import Order
from hpa_data.augment.oversample import plan_copies
from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.errors import InputError
from hpa_data.tables import TableOptions, read_label_table

# Classes that a figure or table shows: more could not be read, and their correlations would be a million numbers.
MAX_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class LabelStatistics:
    """How often each class occurs, and with which others."""

    classes: tuple[str, ...]
    """Names, length K."""
    counts: tuple[int, ...]
    """Originals of each class, length K."""
    copies: tuple[int, ...]
    """Augmented copies of each class, length K."""
    labels_per_sample: tuple[int, ...]
    """At index n, the number of originals with n classes; the last is not 0."""
    correlated: tuple[int, ...]
    """Indices of the classes in `correlation`; see `choose_classes`."""
    correlation: tuple[tuple[float | None, ...], ...]
    """The result of `correlate_classes` for the originals, with None for NaN, which JSON does not have."""
    n_samples: int
    """Originals."""
    n_copies: int


def label_statistics(
    labels: npt.NDArray[np.uint8],
    copies: npt.NDArray[np.uint8] | None = None,
    *,
    classes: Sequence[str] = HPA_2018.classes,
) -> LabelStatistics:
    """Count the samples of each class, and correlate the classes.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot, of the originals.
    copies : array of uint8, shape (M, K), optional
        Multi-hot, of augmented copies.
    classes : sequence of str, length K
        Names.

    Raises
    ------
    InputError
        If there is no original, or the labels do not have one column per class.

    Examples
    --------
    >>> labels = np.array([[1, 0], [1, 1], [0, 1], [1, 0]], np.uint8)
    >>> statistics = label_statistics(labels, copies=labels[2:3], classes=["Nucleoli", "Cytosol"])
    >>> statistics.counts, statistics.copies, statistics.labels_per_sample
    ((3, 2), (0, 1), (0, 3, 1))
    """
    if copies is None:
        copies = np.zeros((0, len(classes)), np.uint8)
    for name, rows in (("labels", labels), ("copies", copies)):
        if rows.ndim != 2 or rows.shape[1] != len(classes):
            raise InputError(
                f"{name} must have one column per class, {len(classes)}. Received: {name} of shape {rows.shape}. Pass "
                "the names of its classes."
            )
    if not len(labels):
        raise InputError("labels must have at least one row. Received: none. Pass another table or part.")
    counts: list[int] = labels.sum(axis=0, dtype=np.int64).tolist()
    correlated = choose_classes(counts)
    correlation = correlate_classes(labels[:, correlated])
    return LabelStatistics(
        classes=tuple(classes),
        counts=tuple(counts),
        copies=tuple(copies.sum(axis=0, dtype=np.int64).tolist()),
        labels_per_sample=tuple(np.bincount(labels.sum(axis=1, dtype=np.int64)).tolist()),
        correlated=tuple(correlated),
        correlation=tuple(tuple(None if math.isnan(value) else value for value in row) for row in correlation.tolist()),
        n_samples=len(labels),
        n_copies=len(copies),
    )


def choose_classes(counts: Sequence[int]) -> list[int]:
    """Choose the classes that a figure or table shows.

    Parameters
    ----------
    counts : sequence of int, length K
        Samples of each class.

    Returns
    -------
    list of int
        Indices, ascending: all of up to 40 classes; of more, those that occur, and of more than 40 that do, the 20 most
        frequent and the 20 rarest.

    Examples
    --------
    >>> choose_classes([3, 0, 5])
    [0, 1, 2]
    >>> len(choose_classes([0] * 1000 + [7, 9])), len(choose_classes(range(1, 1109)))
    (2, 40)
    """
    if len(counts) <= MAX_SHOWN:
        return list(range(len(counts)))
    occurring = sorted((k for k, count in enumerate(counts) if count), key=lambda k: -counts[k])
    if not occurring:
        return list(range(MAX_SHOWN))
    if len(occurring) > MAX_SHOWN:
        occurring = occurring[: MAX_SHOWN // 2] + occurring[-MAX_SHOWN // 2 :]
    return sorted(occurring)


def explain_choice(counts: Sequence[int]) -> str:
    """Say which classes `choose_classes` chooses, in one sentence; empty if all."""
    if len(counts) <= MAX_SHOWN:
        return ""
    n_occurring = sum(map(bool, counts))
    if n_occurring > MAX_SHOWN:
        return (
            f"Of {len(counts):,} classes, {n_occurring:,} occur; shown are the {MAX_SHOWN // 2} most frequent and the "
            f"{MAX_SHOWN // 2} rarest of them."
        )
    shown = f"the {n_occurring} that occur" if n_occurring else f"the first {MAX_SHOWN}, as none occurs"
    return f"Of {len(counts):,} classes, shown are {shown}."


def correlate_classes(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Compute the Pearson correlation of classes; for labels of 0 and 1 it is the phi coefficient.

    Parameters
    ----------
    labels : array of uint8, shape (N, K)
        Multi-hot, N > 0 and K > 0.

    Returns
    -------
    array of float64, shape (K, K)
        Symmetric up to rounding, in [-1, 1], with ones on the diagonal. A class of no sample, or of all, has no
        correlation: its row and its column are NaN, the diagonal included.

    Examples
    --------
    >>> correlate_classes(np.array([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 1]], np.uint8))
    array([[ 1., -1., nan],
           [-1.,  1., nan],
           [nan, nan, nan]])
    """
    n_classes = labels.shape[1]
    if len(labels) == 1:  # without a spread; NumPy would warn
        return np.full((n_classes, n_classes), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 for a class without a spread
        correlation = np.corrcoef(labels, rowvar=False, dtype=np.float64).reshape(n_classes, n_classes)
    is_defined = ~np.isnan(np.diagonal(correlation))
    np.fill_diagonal(correlation, np.where(is_defined, 1, np.nan))  # NumPy rounds some of them to less than 1
    return correlation


def measure_table(
    path: Path,
    *,
    min_count: int | None = None,
    order: Order = "index",
    dataset: Dataset = HPA_2018,
    options: TableOptions | None = None,
) -> LabelStatistics:
    """Measure a label table, without images.

    Parameters
    ----------
    path : Path
        See `tables.read_label_table`.
    min_count, order
        Also count the copies that `augment.plan_copies` would plan; by default none.
    dataset, options
        See `tables.read_label_table`.

    Raises
    ------
    InputError
        If it is not a label table, or has no rows.
    """
    labels = read_label_table(path, dataset, options).labels
    if not len(labels):
        raise InputError(f"Cannot measure {path}: it has no rows. Pass another table.")
    copies = None if min_count is None else labels[plan_copies(labels, min_count, order)]
    return label_statistics(labels, copies, classes=dataset.classes)
