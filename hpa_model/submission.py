"""Submissions to Kaggle: predictions as a CSV file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import decode_labels
from hpa_data.errors import InputError
from hpa_data.tables import first_duplicate, read_columns, write_table
from hpa_model.metrics import predict_classes
from hpa_model.thresholds import NEVER


def predict_at_least_one(
    probs: npt.NDArray[np.floating], thresholds: npt.NDArray[np.floating], *, allow_empty: bool = False
) -> npt.NDArray[np.uint8]:
    """Predict each class whose probability exceeds its threshold, and at least one class per sample.

    Parameters
    ----------
    probs : array of float, shape (N, K)
        In [0, 1].
    thresholds : array of float, shape (K,)
        In [0, 1].
    allow_empty : bool
        Allow samples without a class. Otherwise such a sample gets the class that is closest to its threshold, of those
        with a threshold below 1: every sample of the data set shows at least one class.

    Returns
    -------
    array of uint8, shape (N, K)

    Examples
    --------
    >>> predict_at_least_one(np.array([[0.2, 0.4], [0.6, 0.4]]), np.array([0.5, 0.5]))
    array([[0, 1],
           [1, 0]], dtype=uint8)
    """
    predictions = predict_classes(probs, thresholds)
    if not allow_empty:
        empty = np.flatnonzero(predictions.sum(axis=1) == 0)
        margins = np.where(thresholds < NEVER, probs[empty] - thresholds, -np.inf)
        predictions[empty, margins.argmax(axis=1)] = 1
    return predictions


def read_sample_submission(path: Path) -> list[str]:
    """Read the ids of a sample submission, in order; InputError unless it is a table with ``Id`` and ``Predicted``."""
    ids = [row[0] for row in read_columns(path, ("Id", "Predicted"))]
    repeated = first_duplicate(ids)
    if repeated is not None or not ids:
        found = f"it has {repeated!r} twice" if ids else "it has no rows"
        raise InputError(f"Cannot read sample submission {path}: {found}. Download it again.")
    return ids


def write_submission(path: Path, order: Sequence[str], predictions: Mapping[str, npt.NDArray[np.uint8]]) -> None:
    """Write a submission.

    Parameters
    ----------
    path : Path
        The CSV file to write, with the columns ``Id`` and ``Predicted``.
    order : sequence of str
        The ids, one per row.
    predictions : mapping of str to array of uint8, shape (K,)
        By id; an id that is not in it gets an empty row.
    """
    rows = [predictions.get(name) for name in order]
    targets = ["" if row is None else decode_labels(row[None])[0] for row in rows]
    write_table(path, ("Id", "Predicted"), zip(order, targets, strict=True))


def check_submission(path: Path, order: Sequence[str], n_classes: int) -> None:
    """Check a submission as Kaggle does. Rows without a class are allowed.

    Parameters
    ----------
    path : Path
        A CSV file.
    order : sequence of str
        The ids of the sample submission, in order.
    n_classes : int
        K.

    Raises
    ------
    InputError
        If an id is missing, unexpected, repeated or out of order, or a class is not a number from 0 to K - 1 or is
        repeated. It names the first wrong line.
    """
    rows = read_columns(path, ("Id", "Predicted"))
    error = f"it has {len(rows)} rows, not {len(order)}" if len(rows) != len(order) else ""
    for line, (row, expected) in enumerate(zip(rows, order, strict=False), start=2):
        words = row[1].split()
        if row[0] != expected:
            error = f"line {line} has id {row[0]!r}, not {expected!r}"
        elif not all(word.isascii() and word.isdigit() and int(word) < n_classes for word in words):
            error = f"line {line} has classes {row[1]!r}, not numbers from 0 to {n_classes - 1}"
        elif len(set(map(int, words))) < len(words):
            error = f"line {line} repeats a class: {row[1]!r}"
        if error:
            break
    if error:
        raise InputError(f"Cannot submit {path}: {error}. Predict again.")
