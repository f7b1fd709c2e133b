"""The submission: predictions as a CSV file."""

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
    """Turn probabilities into the predictions of a submission.

    Parameters
    ----------
    probs : array of float, shape (N, K)
        In [0, 1].
    thresholds : array of float, shape (K,)
        In [0, 1].
    allow_empty : bool
        Leave a row empty when no class exceeds its threshold. Otherwise it gets the class that comes nearest, of those
        that are ever predicted: every sample of the data set shows at least one.

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
    """Read the ids of a sample submission, in its order; InputError if it is no table with ``Id`` and ``Predicted``."""
    ids = [row[0] for row in read_columns(path, ("Id", "Predicted"))]
    repeated = first_duplicate(ids)
    if repeated is not None or not ids:
        told = f"{repeated!r} twice" if ids else "no row"
        raise InputError(f"A sample submission must list each id once. Received: {told} in {path}. Fetch it again.")
    return ids


def write_submission(path: Path, order: Sequence[str], predictions: Mapping[str, npt.NDArray[np.uint8]]) -> None:
    """Write a submission.

    Parameters
    ----------
    path : Path
        The CSV file to make, with the columns ``Id`` and ``Predicted``.
    order : sequence of str
        The ids, one row each.
    predictions : mapping of str to array of uint8, shape (K,)
        Of each id; an id without any gets an empty row.
    """
    rows = [predictions.get(name) for name in order]
    targets = ["" if row is None else decode_labels(row[None])[0] for row in rows]
    write_table(path, ("Id", "Predicted"), zip(order, targets, strict=True))


def check_submission(path: Path, order: Sequence[str], n_classes: int) -> int:
    """Hold a submission against what Kaggle asks of it.

    Parameters
    ----------
    path : Path
        A CSV file.
    order : sequence of str
        The ids of the sample submission, in its order.
    n_classes : int
        K.

    Returns
    -------
    int
        Rows without a class, which is allowed.

    Raises
    ------
    InputError
        If an id is missing, foreign, repeated or out of order, or a class is no number from 0 to K - 1 or named twice.
        It names the first row at fault.
    """
    rows = read_columns(path, ("Id", "Predicted"))
    fault = None
    if len(rows) != len(order):
        fault = f"{len(rows)} rows"
    for number, (row, expected) in enumerate(zip(rows, order, strict=False), start=2):
        words = row[1].split()
        if row[0] != expected:
            fault = f"id {row[0]!r} in line {number}, in place of {expected!r}"
        elif not all(word.isascii() and word.isdigit() and int(word) < n_classes for word in words):
            fault = f"classes {row[1]!r} in line {number}"
        elif len(set(map(int, words))) < len(words):
            fault = f"a class twice, {row[1]!r}, in line {number}"
        if fault:
            break
    if fault:
        raise InputError(
            f"A submission must have the {len(order)} ids of the sample submission in its order, with classes 0 to "
            f"{n_classes - 1}. Received: {fault} of {path}. Predict again."
        )
    return sum(not row[1].strip() for row in rows)
