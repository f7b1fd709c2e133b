"""Scores of a run, each with how it was obtained."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.atomic import write_atomic
from hpa_model.metrics import confusion_counts, f1_per_class, macro_f1, predict_classes
from hpa_model.runs.folder import OUT_OF_FOLD_FILE, SCORES_FILE, THRESHOLDS_FILE, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.thresholds import predict_cross_fitted, search_thresholds

# Classes that are told of as the worst, and what each is confused with.
N_WORST, N_CONFUSED = 5, 3


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
    precision, recall, f1_cross_fitted : float
        With thresholds fitted on the other folds' rows.
    f1_in_sample : float
        With `threshold`, on the rows it was fitted on.
    f1_at_half : float
        With the threshold 0.5.
    """

    name: str
    support: int
    threshold: float
    precision: float
    recall: float
    f1_cross_fitted: float
    f1_in_sample: float
    f1_at_half: float


@dataclass(frozen=True, kw_only=True)
class FoldScore:
    """Macro-F1 of one fold's validation rows, by the model that has not seen them.

    Attributes
    ----------
    fold, n_samples : int
    macro_f1_at_half, macro_f1_in_sample, macro_f1_cross_fitted : float
        As in `Scores`; the same rows are this fold's, as the paper scored its folds.
    """

    fold: int
    n_samples: int
    macro_f1_at_half: float
    macro_f1_in_sample: float
    macro_f1_cross_fitted: float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What a class is confused with, at honest thresholds.

    Attributes
    ----------
    name : str
    n_false_negatives : int
        Samples that show the class, without a prediction of it.
    instead : tuple of (str, int)
        Classes that were wrongly predicted for these, the most frequent first, with how often.
    n_false_positives : int
        Samples that it was predicted for in vain.
    was_actually : tuple of (str, int)
        Classes that these show and that were missed, with how often.
    """

    name: str
    n_false_negatives: int
    predicted_instead: tuple[tuple[str, int], ...]
    n_false_positives: int
    was_actually: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Macro-F1 of a run's out-of-fold rows, three ways, over all classes.

    The epoch of each fold's model was chosen by the loss on the very fold that is scored: a small favour that all three
    share.

    Attributes
    ----------
    n_samples : int
    macro_f1_at_half : float
        With the threshold 0.5 for every class.
    macro_f1_in_sample : float
        With thresholds fitted on the rows that are scored: the paper's way, optimistic.
    macro_f1_cross_fitted : float
        With thresholds fitted on the other folds' rows.
    macro_f1_chance : float
        What guessing each class at random, as often as it occurs, is expected to score: the mean of the frequencies.
    classes : tuple of ClassScore
    folds : tuple of FoldScore
    confusions : tuple of Confusion
        Of the classes with the lowest honest F1, among those with a sample.
    legacy_leak : bool
        Whether copies of samples that validate were trained on, so that all three flatter.
    """

    n_samples: int
    macro_f1_at_half: float
    macro_f1_in_sample: float
    macro_f1_cross_fitted: float
    macro_f1_chance: float
    classes: tuple[ClassScore, ...]
    folds: tuple[FoldScore, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    legacy_leak: bool = False

    @property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes without a positive sample: they are never predicted, and count as 0."""
        return tuple(score.name for score in self.classes if score.support == 0)


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
    write_atomic(run / THRESHOLDS_FILE, (json.dumps(thresholds, indent=2) + "\n").encode())
    write_atomic(run / SCORES_FILE, (json.dumps(asdict(scores), indent=2) + "\n").encode())
    return scores


def score_rows(rows: OutOfFold, classes: tuple[str, ...]) -> Scores:
    """Score out-of-fold rows three ways, per class and per fold, and tell what the worst classes are confused with."""
    labels, probs = rows.labels, rows.probs
    thresholds = search_thresholds(labels, probs)
    honest = predict_cross_fitted(labels, probs, rows.folds)
    counts = confusion_counts(labels, honest)
    f1_at_half = f1_per_class(labels, predict_classes(probs, 0.5))
    f1_same = f1_per_class(labels, predict_classes(probs, thresholds))
    precision, recall, f1_cross_fitted = counts.precision, counts.recall, counts.f1
    folds = []
    for number in np.unique(rows.folds):
        own = rows.folds == number
        folds.append(
            FoldScore(
                fold=int(number),
                n_samples=int(own.sum()),
                macro_f1_at_half=macro_f1(labels[own], probs[own]),
                macro_f1_in_sample=macro_f1(labels[own], probs[own], search_thresholds(labels[own], probs[own])),
                macro_f1_cross_fitted=float(f1_per_class(labels[own], honest[own]).mean()),
            )
        )
    worst = [k for k in np.argsort(f1_cross_fitted, kind="stable") if counts.support[k]][:N_WORST]
    return Scores(
        n_samples=len(labels),
        macro_f1_at_half=float(f1_at_half.mean()),
        macro_f1_in_sample=float(f1_same.mean()),
        macro_f1_cross_fitted=float(f1_cross_fitted.mean()),
        macro_f1_chance=float((counts.support / len(labels)).mean()),
        classes=tuple(
            ClassScore(
                name=name,
                support=int(counts.support[k]),
                threshold=float(thresholds[k]),
                precision=float(precision[k]),
                recall=float(recall[k]),
                f1_cross_fitted=float(f1_cross_fitted[k]),
                f1_in_sample=float(f1_same[k]),
                f1_at_half=float(f1_at_half[k]),
            )
            for k, name in enumerate(classes)
        ),
        folds=tuple(folds),
        confusions=tuple(find_confusion(labels, honest, k, classes) for k in worst),
    )


def find_confusion(
    labels: npt.NDArray[np.uint8], predictions: npt.NDArray[np.uint8], k: int, classes: tuple[str, ...]
) -> Confusion:
    """Tell what a class is confused with.

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (N, K)
    k : int
        The class.
    classes : tuple of str, length K
    """
    truth, guess = labels.astype(bool), predictions.astype(bool)
    missed, false = truth[:, k] & ~guess[:, k], guess[:, k] & ~truth[:, k]
    instead = (guess & ~truth)[missed].sum(axis=0)
    was_actually = (truth & ~guess)[false].sum(axis=0)

    def name_most(counts: npt.NDArray[np.int64]) -> tuple[tuple[str, int], ...]:
        most = np.argsort(-counts, kind="stable")[:N_CONFUSED]
        return tuple((classes[other], int(counts[other])) for other in most if counts[other])

    return Confusion(
        name=classes[k],
        n_false_negatives=int(missed.sum()),
        predicted_instead=name_most(instead),
        n_false_positives=int(false.sum()),
        was_actually=name_most(was_actually),
    )
