"""Out-of-fold probabilities and thresholds of a run."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.atomic import open_atomic
from hpa_model.runs.folder import CORRUPTION_ERRORS, OUT_OF_FOLD_FILE, THRESHOLDS_FILE, read_arrays


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """What each sample was given by the model that has not seen it.

    Attributes
    ----------
    ids : list of str, length N
    labels : array of uint8, shape (N, K)
    probs : array of float32, shape (N, K)
    folds : array of int64, shape (N,)
        The fold in which a sample validates.
    """

    ids: list[str]
    labels: npt.NDArray[np.uint8]
    probs: npt.NDArray[np.float32]
    folds: npt.NDArray[np.int64]


def write_out_of_fold(run: Path, rows: OutOfFold) -> None:
    """Write out-of-fold rows into a run folder."""
    arrays = {"ids": np.array(rows.ids, str), "labels": rows.labels, "probs": rows.probs, "folds": rows.folds}
    with open_atomic(run / OUT_OF_FOLD_FILE) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_out_of_fold(run: Path) -> OutOfFold:
    """Read the out-of-fold rows of a run folder; InputError if it has none."""
    path = run / OUT_OF_FOLD_FILE
    _check_finished(run, path)
    try:
        arrays = read_arrays(path)
        rows = OutOfFold(
            ids=arrays["ids"].tolist(), labels=arrays["labels"], probs=arrays["probs"], folds=arrays["folds"]
        )
        _check_rows(rows)
    except CORRUPTION_ERRORS as error:
        raise InputError(
            f"A run must have its out-of-fold probabilities. Received: {path}: {error}. Remove it and run `hpa train` "
            "again as before."
        ) from error
    return rows


def _check_finished(run: Path, path: Path) -> None:
    """Refuse a run without a file that is written at its end."""
    if not path.exists():
        raise InputError(
            f"A run must be finished. Received: {run}, without {path.name}. Run the same `hpa train` again: it goes on."
        )


def _check_rows(rows: OutOfFold) -> None:
    """Raise ValueError if rows cannot be what a training wrote."""
    shape = rows.labels.shape
    kinds = rows.labels.dtype.kind, rows.probs.dtype.kind, rows.folds.dtype.kind
    if kinds != ("u", "f", "i"):
        raise ValueError("arrays of other types")
    if len(shape) != 2 or rows.probs.shape != shape or rows.folds.shape != shape[:1] or len(rows.ids) != shape[0]:
        raise ValueError("arrays of shapes that do not agree")
    if not shape[0] or len(np.unique(rows.folds)) < 2:
        raise ValueError("less than two folds")
    if not np.isin(rows.labels, (0, 1)).all() or not ((rows.probs >= 0) & (rows.probs <= 1)).all():
        raise ValueError("labels other than 0 and 1, or probabilities outside 0..1")
    if len(set(rows.ids)) < len(rows.ids):
        raise ValueError("an id twice")


def read_thresholds(run: Path, classes: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Read the thresholds of a run, float64 (K,), in the order of `classes`."""
    path = run / THRESHOLDS_FILE
    _check_finished(run, path)
    try:
        told = json.loads(path.read_text())
        thresholds = np.array([float(told[name]) for name in classes])
        if not ((thresholds >= 0) & (thresholds <= 1)).all():
            raise ValueError("a threshold outside 0..1")
    except CORRUPTION_ERRORS as error:
        raise InputError(
            f"A run must have a threshold for each class. Received: {path}: {error}. Run `hpa evaluate {run}`."
        ) from error
    return thresholds
