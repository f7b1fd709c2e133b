"""Scoring a run: its out-of-fold rows, once for each way to obtain thresholds."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.atomic import write_atomic
from hpa_model.evaluation.confusion import Partner, rank_partners
from hpa_model.evaluation.records import HEADLINE, ClassScore, Confusion, FoldScore, Scores
from hpa_model.metrics import confusion_counts, f1_per_class, predict_classes
from hpa_model.metrics.intervals import bootstrap_macro_f1, find_interval
from hpa_model.metrics.ranking import Ranking, mean_of_known, rank_samples
from hpa_model.runs.decision import Decision, write_decision
from hpa_model.runs.decision import fit_decision as fit_decision  # noqa: PLC0414 - callers look for it here, too
from hpa_model.runs.folder import OUT_OF_FOLD_FILE, SCORES_FILE, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.thresholds import (
    predict_cross_fitted,
    predict_within_folds,
    search_thresholds,
)
from hpa_model.thresholds.no_skill import measure_no_skill

# Number of classes that are reported as the worst, and of classes that each is confused with.
N_WORST, N_CONFUSED = 5, 3


def score_run(run: Path) -> Scores:
    """Score the out-of-fold rows of a run; write its scores, and the thresholds and temperatures to predict with.

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
    scores = replace(
        score_rows(rows, classes),
        legacy_leak=description.config.legacy_leak,
        leak_check=description.known_leak_check,
    )
    write_decision(run, fit_decision(rows, n_folds=description.config.folds), classes)
    write_atomic(run / SCORES_FILE, (json.dumps(asdict(scores), indent=2) + "\n").encode())
    return scores


def predict_rows(rows: OutOfFold, decision: Decision) -> dict[str, npt.NDArray[np.uint8]]:
    """Predict the rows, uint8 (N, K), once for each of `THRESHOLDINGS`, by its name."""
    return _predict(rows.labels, rows.probs, decision.calibrate(rows.probs, rows.folds), rows.folds, fill=decision.fill)


def predict_headline(rows: OutOfFold) -> npt.NDArray[np.uint8]:
    """Predict the rows as the headline scores them, uint8 (N, K)."""
    return predict_rows(rows, fit_decision(rows, n_folds=int(rows.folds.max()) + 1))[HEADLINE.name]


def _predict(
    labels: npt.NDArray[np.uint8],
    probs: npt.NDArray[np.floating],
    calibrated: npt.NDArray[np.float64],
    folds: npt.NDArray[np.int64],
    *,
    fill: bool,
) -> dict[str, npt.NDArray[np.uint8]]:
    return {
        "within_fold": predict_within_folds(labels, calibrated, folds, fill=fill),
        "cross_fitted": predict_cross_fitted(labels, calibrated, folds, fill=fill),
        "in_sample": predict_classes(calibrated, search_thresholds(labels, calibrated)),
        "at_half": predict_classes(probs, 0.5),
    }


def score_rows(rows: OutOfFold, classes: tuple[str, ...]) -> Scores:
    """Score out-of-fold rows, in total, per class and per fold, and find what the worst classes are confused with."""
    labels, probs, folds = rows.labels, rows.probs, rows.folds
    decision = fit_decision(rows, n_folds=int(folds.max()) + 1)
    calibrated = decision.calibrate(probs, folds)
    predictions = predict_rows(rows, decision)
    f1 = {name: f1_per_class(labels, predicted) for name, predicted in predictions.items()}
    headline = predictions[HEADLINE.name]
    counts = confusion_counts(labels, headline)
    worst = [k for k in np.argsort(f1[HEADLINE.name], kind="stable") if counts.support[k]][:N_WORST]
    ranking = rank_samples(calibrated)
    precisions, areas = ranking.average_precision(labels), ranking.roc_auc(labels)
    in_folds = {int(fold): folds == fold for fold in np.unique(folds)}
    rankings = {fold: rank_samples(probs[in_fold]) for fold, in_fold in in_folds.items()}

    def score(shuffled: npt.NDArray[np.uint8]) -> dict[str, float]:
        predicted = _predict(shuffled, probs, calibrated, folds, fill=decision.fill)
        values = _score_all(shuffled, predicted, ranking)
        for fold, in_fold in in_folds.items():
            of_fold = _score_fold(shuffled[in_fold], probs[in_fold], _select(predicted, in_fold), rankings[fold])
            values |= {f"{fold}/{name}": value for name, value in of_fold.items()}
        return values

    no_skill = measure_no_skill(score, labels, folds)
    return Scores(
        n_samples=len(labels),
        **_known(_score_all(labels, predictions, ranking)),
        macro_f1_chance=float((counts.support / len(labels)).mean()),
        macro_f1_without_fill=_score_without_fill(rows, calibrated),
        fill=decision.fill,
        temperatures=tuple(decision.temperatures.tolist()),
        intervals={
            f"macro_f1_{name}": find_interval(bootstrap_macro_f1(labels, predicted, rows.groups))
            for name, predicted in predictions.items()
        },
        no_skill={name: value for name, value in no_skill.items() if "/" not in name},
        classes=tuple(
            ClassScore(
                name=name,
                support=int(counts.support[k]),
                threshold=float(decision.thresholds[k]),
                precision=float(counts.precision[k]),
                recall=float(counts.recall[k]),
                **_name("f1", {kind: values[k] for kind, values in f1.items()}),
                **_known({"average_precision": precisions[k], "roc_auc": areas[k]}),
            )
            for k, name in enumerate(classes)
        ),
        folds=tuple(
            FoldScore(
                fold=fold,
                n_samples=int(in_fold.sum()),
                **_known(_score_fold(labels[in_fold], probs[in_fold], _select(predictions, in_fold), rankings[fold])),
                no_skill={
                    name.removeprefix(f"{fold}/"): value
                    for name, value in no_skill.items()
                    if name.startswith(f"{fold}/")
                },
            )
            for fold, in_fold in in_folds.items()
        ),
        confusions=tuple(find_confusion(labels, headline, k, classes) for k in worst),
    )


def _score_all(
    labels: npt.NDArray[np.uint8], predictions: dict[str, npt.NDArray[np.uint8]], ranking: Ranking
) -> dict[str, float]:
    """Compute the scores of rows by the names of their fields."""
    f1 = {name: f1_per_class(labels, predicted).mean() for name, predicted in predictions.items()}
    return _name("macro_f1", f1) | {
        "macro_average_precision": mean_of_known(ranking.average_precision(labels)),
        "macro_roc_auc": mean_of_known(ranking.roc_auc(labels)),
    }


def _score_fold(
    labels: npt.NDArray[np.uint8],
    probs: npt.NDArray[np.floating],
    predictions: dict[str, npt.NDArray[np.uint8]],
    ranking: Ranking,
) -> dict[str, float]:
    """Compute the scores of the rows of one fold; "in sample" is of the fold alone, as the paper scored its folds."""
    alone = {"in_sample": predict_classes(probs, search_thresholds(labels, probs))}
    return _score_all(labels, predictions | alone, ranking)


def _score_without_fill(rows: OutOfFold, calibrated: npt.NDArray[np.float64]) -> float:
    predicted = _predict(rows.labels, rows.probs, calibrated, rows.folds, fill=False)[HEADLINE.name]
    return float(f1_per_class(rows.labels, predicted).mean())


def _select(
    predictions: dict[str, npt.NDArray[np.uint8]], rows: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.uint8]]:
    return {name: predicted[rows] for name, predicted in predictions.items()}


def _name(metric: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the scores by thresholding under the names of the fields that hold them."""
    return {f"{metric}_{name}": float(value) for name, value in values.items()}


def _known(values: dict[str, float]) -> dict[str, Any]:
    """Return values with None, which JSON has, in place of NaN."""
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def find_confusion(
    labels: npt.NDArray[np.uint8], predictions: npt.NDArray[np.uint8], k: int, classes: tuple[str, ...]
) -> Confusion:
    """Find what a class is confused with, more often than what is predicted, or missed, for any sample.

    Parameters
    ----------
    labels, predictions : array of 0 and 1, shape (N, K)
    k : int
        Index of the class.
    classes : tuple of str, length K
    """
    truth, predicted = labels.astype(bool), predictions.astype(bool)
    missed, wrong = truth[:, k] & ~predicted[:, k], predicted[:, k] & ~truth[:, k]
    false_positives, false_negatives = predicted & ~truth, truth & ~predicted
    not_shown = np.broadcast_to(~truth[:, [k]], truth.shape)  # the samples that it can wrongly be predicted for

    def name(partners: list[Partner]) -> tuple[tuple[str, int], ...]:
        return tuple((classes[partner.index], partner.count) for partner in partners)

    return Confusion(
        name=classes[k],
        n_false_negatives=int(missed.sum()),
        predicted_instead=name(rank_partners(missed, false_positives, ~truth, N_CONFUSED)),
        n_false_positives=int(wrong.sum()),
        was_actually=name(rank_partners(wrong, false_negatives, not_shown, N_CONFUSED)),
    )
