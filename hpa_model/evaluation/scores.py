"""Scores of a run, and how the thresholds of each were obtained."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.stats.labels import choose_classes, explain_choice
from hpa_data.system.atomic import write_atomic
from hpa_model.metrics import confusion_counts, f1_per_class, predict_classes
from hpa_model.runs.folder import OUT_OF_FOLD_FILE, SCORES_FILE, THRESHOLDS_FILE, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.thresholds import predict_cross_fitted, search_thresholds

# Number of classes that are reported as the worst, and of classes that each is confused with.
N_WORST, N_CONFUSED = 5, 3


@dataclass(frozen=True, kw_only=True)
class Thresholding:
    """A way to obtain thresholds, and how scores with them are labeled wherever they are shown."""

    name: str
    """Fields of scores are called after it: `Scores.macro_f1_NAME`, `FoldScore.macro_f1_NAME`, `ClassScore.f1_NAME`."""

    label: str
    """A few letters, for the head of a column."""

    description: str


THRESHOLDINGS = (
    Thresholding(name="cross_fitted", label="honest", description="honest: thresholds fitted on the other folds"),
    Thresholding(
        name="in_sample",
        label="same rows",
        description="optimistic: thresholds fitted on the rows they are scored on, as in the paper",
    ),
    Thresholding(name="at_half", label="0.5", description="threshold 0.5 for every class"),
)


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """The score of one class over the out-of-fold rows."""

    name: str
    support: int
    """Samples that show the class."""

    threshold: float
    """The one to predict with, fitted on all out-of-fold rows; 1 means never predicted."""

    precision: float
    """With thresholds fitted on the other folds; so is `recall`."""

    recall: float
    f1_cross_fitted: float
    f1_in_sample: float
    f1_at_half: float


@dataclass(frozen=True, kw_only=True)
class FoldScore:
    """Macro-F1 of the validation rows of one fold, by the model that was not trained on them."""

    fold: int
    n_samples: int
    macro_f1_cross_fitted: float
    macro_f1_in_sample: float
    """With thresholds fitted on the rows of this fold alone, as the paper scored its folds."""

    macro_f1_at_half: float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What a class is confused with, at cross-fitted thresholds."""

    name: str
    n_false_negatives: int
    predicted_instead: tuple[tuple[str, int], ...]
    """Of the false negatives: classes that were wrongly predicted, with how often, the most frequent first."""

    n_false_positives: int
    was_actually: tuple[tuple[str, int], ...]
    """Of the false positives: classes that the samples show and that were missed, with how often."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Macro-F1 of the out-of-fold rows of a run, over all classes, once for each of `THRESHOLDINGS`.

    The epoch of each fold's model was chosen by the loss on the same fold that is scored: a small bias in favor of all
    of them.
    """

    n_samples: int
    macro_f1_cross_fitted: float
    macro_f1_in_sample: float
    macro_f1_at_half: float
    macro_f1_chance: float
    """Expected of predicting each class at random, as often as it occurs: the mean of the class frequencies."""

    classes: tuple[ClassScore, ...]
    folds: tuple[FoldScore, ...] = ()
    confusions: tuple[Confusion, ...] = ()
    """Of the classes with the lowest cross-fitted F1, among those with a sample."""

    legacy_leak: bool = False
    """Whether copies of validation samples were trained on, which inflates all scores."""

    @property
    def shown(self) -> list[int]:
        """Indices of the classes that figures and tables show, see `choose_classes`."""
        return choose_classes([score.support for score in self.classes])

    @property
    def choice(self) -> str:
        """Which classes are shown, in one sentence; empty if all."""
        return explain_choice([score.support for score in self.classes])

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

    Raises
    ------
    InputError
        If the run is not finished, or damaged.
    """
    description = read_run(run)
    classes = description.classes
    rows = read_out_of_fold(run)
    if rows.labels.shape[1] != len(classes):
        raise InputError(
            f"Cannot score run {run}: {OUT_OF_FOLD_FILE} has {rows.labels.shape[1]} columns for {len(classes)} "
            "classes. Train again."
        )
    scores = replace(score_rows(rows, classes), legacy_leak=description.config.legacy_leak)
    thresholds = {score.name: score.threshold for score in scores.classes}
    write_atomic(run / THRESHOLDS_FILE, (json.dumps(thresholds, indent=2) + "\n").encode())
    write_atomic(run / SCORES_FILE, (json.dumps(asdict(scores), indent=2) + "\n").encode())
    return scores


def score_rows(rows: OutOfFold, classes: tuple[str, ...]) -> Scores:
    """Score out-of-fold rows, in total, per class and per fold, and find what the worst classes are confused with."""
    labels, probs = rows.labels, rows.probs
    thresholds = search_thresholds(labels, probs)
    cross_fitted = predict_cross_fitted(labels, probs, rows.folds)
    predictions = {
        "cross_fitted": cross_fitted,
        "in_sample": predict_classes(probs, thresholds),
        "at_half": predict_classes(probs, 0.5),
    }
    f1 = {name: f1_per_class(labels, predicted) for name, predicted in predictions.items()}
    counts = confusion_counts(labels, cross_fitted)
    worst = [k for k in np.argsort(f1["cross_fitted"], kind="stable") if counts.support[k]][:N_WORST]
    return Scores(
        n_samples=len(labels),
        **_name("macro_f1", {name: values.mean() for name, values in f1.items()}),
        macro_f1_chance=float((counts.support / len(labels)).mean()),
        classes=tuple(
            ClassScore(
                name=name,
                support=int(counts.support[k]),
                threshold=float(thresholds[k]),
                precision=float(counts.precision[k]),
                recall=float(counts.recall[k]),
                **_name("f1", {kind: values[k] for kind, values in f1.items()}),
            )
            for k, name in enumerate(classes)
        ),
        folds=tuple(_score_fold(rows, predictions, int(fold)) for fold in np.unique(rows.folds)),
        confusions=tuple(find_confusion(labels, cross_fitted, k, classes) for k in worst),
    )


def _score_fold(rows: OutOfFold, predictions: dict[str, npt.NDArray[np.uint8]], fold: int) -> FoldScore:
    in_fold = rows.folds == fold
    labels, probs = rows.labels[in_fold], rows.probs[in_fold]
    fold_predictions = {name: predicted[in_fold] for name, predicted in predictions.items()} | {
        "in_sample": predict_classes(probs, search_thresholds(labels, probs))
    }
    f1 = {name: f1_per_class(labels, predicted).mean() for name, predicted in fold_predictions.items()}
    return FoldScore(fold=fold, n_samples=len(labels), **_name("macro_f1", f1))


def _name(metric: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the scores by thresholding under the names of the fields that hold them."""
    return {f"{metric}_{name}": float(value) for name, value in values.items()}


def find_confusion(
    labels: npt.NDArray[np.uint8], predictions: npt.NDArray[np.uint8], k: int, classes: tuple[str, ...]
) -> Confusion:
    """Find what a class is confused with.

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (N, K)
    k : int
        Index of the class.
    classes : tuple of str, length K
    """
    truth, predicted = labels.astype(bool), predictions.astype(bool)
    missed, wrong = truth[:, k] & ~predicted[:, k], predicted[:, k] & ~truth[:, k]

    def most_frequent(counts: npt.NDArray[np.int64]) -> tuple[tuple[str, int], ...]:
        order = np.argsort(-counts, kind="stable")[:N_CONFUSED]
        return tuple((classes[other], int(counts[other])) for other in order if counts[other])

    return Confusion(
        name=classes[k],
        n_false_negatives=int(missed.sum()),
        predicted_instead=most_frequent((predicted & ~truth)[missed].sum(axis=0)),
        n_false_positives=int(wrong.sum()),
        was_actually=most_frequent((truth & ~predicted)[wrong].sum(axis=0)),
    )
