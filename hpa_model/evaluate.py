"""Scores of a run, each with how it was obtained."""

import json
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_model.config import read_run
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.thresholds import predict_across_folds, search_thresholds

OUT_OF_FOLD_FILE = "out_of_fold.npz"
THRESHOLDS_FILE = "thresholds.json"
SCORES_FILE = "scores.json"


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


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """The score of one class over the out-of-fold rows.

    Attributes
    ----------
    name : str
    support : int
        Samples that show the class.
    threshold : float
        Fitted on all out-of-fold rows; 1 means never predicted.
    f1_honest : float
        With thresholds fitted on the other folds' rows.
    f1_same_rows : float
        With `threshold`, on the rows it was fitted on.
    """

    name: str
    support: int
    threshold: float
    f1_honest: float
    f1_same_rows: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Macro-F1 of a run's out-of-fold rows, three ways, over all classes.

    The epoch of each fold's model was chosen by the loss on the very fold that is scored: a small favour that all three
    share.

    Attributes
    ----------
    n_samples : int
    macro_f1_half : float
        With the threshold 0.5 for every class.
    macro_f1_same_rows : float
        With thresholds fitted on the rows that are scored: the paper's way, optimistic.
    macro_f1_honest : float
        With thresholds fitted on the other folds' rows.
    macro_f1_guessing : float
        What guessing each class at random, as often as it occurs, is expected to score: the mean of the frequencies.
    classes : tuple of ClassScore
    legacy_leak : bool
        Whether copies of samples that validate were trained on, so that all three flatter.
    """

    n_samples: int
    macro_f1_half: float
    macro_f1_same_rows: float
    macro_f1_honest: float
    macro_f1_guessing: float
    classes: tuple[ClassScore, ...]
    legacy_leak: bool = False

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes without a positive sample: they are never predicted, and count as 0."""
        return tuple(score.name for score in self.classes if score.support == 0)


def write_out_of_fold(run: Path, rows: OutOfFold) -> None:
    """Write out-of-fold rows into a run folder."""
    np.savez_compressed(
        run / OUT_OF_FOLD_FILE, ids=np.array(rows.ids, str), labels=rows.labels, probs=rows.probs, folds=rows.folds
    )


def read_out_of_fold(run: Path) -> OutOfFold:
    """Read the out-of-fold rows of a run folder; InputError if it has none."""
    path = run / OUT_OF_FOLD_FILE
    try:
        with np.load(path, allow_pickle=False) as file:
            rows = OutOfFold(ids=file["ids"].tolist(), labels=file["labels"], probs=file["probs"], folds=file["folds"])
        _check_rows(rows)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"A run must have its out-of-fold probabilities. Received: {path}: {error}. Let `hpa train` finish."
        ) from error
    return rows


def _check_rows(rows: OutOfFold) -> None:
    """Raise ValueError if rows cannot be what a training wrote."""
    shape = rows.labels.shape
    if len(shape) != 2 or rows.probs.shape != shape or rows.folds.shape != shape[:1] or len(rows.ids) != shape[0]:
        raise ValueError("arrays of shapes that do not agree")
    if not shape[0] or len(np.unique(rows.folds)) < 2:
        raise ValueError("less than two folds")
    if not np.isin(rows.labels, (0, 1)).all() or not ((rows.probs >= 0) & (rows.probs <= 1)).all():
        raise ValueError("labels other than 0 and 1, or probabilities outside 0..1")


def score_run(run: Path) -> Scores:
    """Score the out-of-fold rows of a run; write its scores and the thresholds to predict with.

    Parameters
    ----------
    run : Path
        The run folder.

    Returns
    -------
    Scores

    Raises
    ------
    InputError
        If the folder is no finished run.
    """
    description = read_run(run)
    classes = description.classes
    rows = read_out_of_fold(run)
    if rows.labels.shape[1] != len(classes):
        raise InputError(
            f"A run must have a column for each of its {len(classes)} classes. Received: {rows.labels.shape[1]} in "
            f"{run / OUT_OF_FOLD_FILE}. Train again."
        )
    scores = replace(score_rows(rows, classes), legacy_leak=description.config.legacy_leak)
    thresholds = {score.name: score.threshold for score in scores.classes}
    (run / THRESHOLDS_FILE).write_text(json.dumps(thresholds, indent=2) + "\n")
    (run / SCORES_FILE).write_text(json.dumps(asdict(scores), indent=2) + "\n")
    return scores


def score_rows(rows: OutOfFold, classes: tuple[str, ...]) -> Scores:
    """Score out-of-fold rows three ways, and per class."""
    thresholds = search_thresholds(rows.labels, rows.probs)
    f1_half = f1_per_class(rows.labels, predict_classes(rows.probs, 0.5))
    f1_same = f1_per_class(rows.labels, predict_classes(rows.probs, thresholds))
    f1_honest = f1_per_class(rows.labels, predict_across_folds(rows.labels, rows.probs, rows.folds))
    support = rows.labels.sum(axis=0, dtype=np.int64)
    return Scores(
        n_samples=len(rows.labels),
        macro_f1_half=float(f1_half.mean()),
        macro_f1_same_rows=float(f1_same.mean()),
        macro_f1_honest=float(f1_honest.mean()),
        macro_f1_guessing=float((support / len(rows.labels)).mean()),
        classes=tuple(
            ClassScore(
                name=name,
                support=int(support[k]),
                threshold=float(thresholds[k]),
                f1_honest=float(f1_honest[k]),
                f1_same_rows=float(f1_same[k]),
            )
            for k, name in enumerate(classes)
        ),
    )


def read_thresholds(run: Path, classes: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Read the thresholds of a run, float64 (K,), in the order of `classes`."""
    path = run / THRESHOLDS_FILE
    try:
        told = json.loads(path.read_text())
        thresholds = np.array([float(told[name]) for name in classes])
        if not ((thresholds >= 0) & (thresholds <= 1)).all():
            raise ValueError("a threshold outside 0..1")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"A run must have a threshold for each class. Received: {path}: {error}. Run `hpa evaluate {run}`."
        ) from error
    return thresholds
