"""Scoring a run: its out-of-fold rows, once for each way to obtain thresholds."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.atomic import remove_abandoned, write_atomic
from hpa_model.evaluation.confusion import Partner, rank_partners
from hpa_model.evaluation.records import HEADLINE, ClassScore, Confusion, FoldScore, Scores
from hpa_model.evaluation.resample import find_intervals
from hpa_model.evaluation.scorer import Scorer
from hpa_model.metrics import confusion_counts, f1_per_class
from hpa_model.metrics.calibration import measure_calibration
from hpa_model.metrics.ranking import rank_samples
from hpa_model.runs.decision import Decision, calibrate_rows, fit_calibration, write_decision
from hpa_model.runs.decision import fit_decision as fit_decision  # noqa: PLC0414 - callers look for it here, too
from hpa_model.runs.folder import OUT_OF_FOLD_FILE, SCORES_FILE, THRESHOLDS_FILE, read_run
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.runs.seal import seal_files, unseal_files
from hpa_model.thresholds.no_skill import choose_draws, measure_no_skill

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
    unseal_files(run, [THRESHOLDS_FILE, SCORES_FILE])
    decision = fit_decision(rows, n_folds=description.config.folds)
    write_decision(run, fit_calibration(rows, decision), classes)
    write_atomic(run / SCORES_FILE, (json.dumps(asdict(scores), indent=2) + "\n").encode())
    seal_files(run, [THRESHOLDS_FILE, SCORES_FILE])
    remove_abandoned(run)
    return scores


def predict_rows(rows: OutOfFold, decision: Decision) -> dict[str, npt.NDArray[np.uint8]]:
    """Predict the rows, uint8 (N, K), once for each of `THRESHOLDINGS`, by its name."""
    return Scorer(rows, decision).predict()


def predict_headline(rows: OutOfFold) -> npt.NDArray[np.uint8]:
    """Predict the rows as the headline scores them, uint8 (N, K)."""
    return predict_rows(rows, fit_decision(rows, n_folds=int(rows.folds.max()) + 1))[HEADLINE.name]


def score_rows(rows: OutOfFold, classes: tuple[str, ...]) -> Scores:
    """Score out-of-fold rows, in total, per class and per fold, and find what the worst classes are confused with."""
    labels, folds = rows.labels, rows.folds
    decision = fit_decision(rows, n_folds=int(folds.max()) + 1)
    scorer = Scorer(rows, decision)
    predictions, values = scorer.predict(), scorer.score()
    no_skill = measure_no_skill(scorer.score, folds, n_draws=choose_draws(labels.size))
    headline = predictions[HEADLINE.name]
    counts = confusion_counts(labels, headline)
    before, of_classes = measure_calibration(labels, decision.scale(rows.probs, folds), rows.groups)
    after, calibrated_of_classes = measure_calibration(labels, calibrate_rows(rows, decision), rows.groups)
    worst = [k for k in np.argsort(counts.f1, kind="stable") if counts.support[k]][:N_WORST]

    def of_fold(fold: int) -> dict[str, Any]:
        found = {name.removeprefix(f"{fold}/"): name for name in values if name.startswith(f"{fold}/")}
        bands = {field: no_skill[name] for field, name in found.items() if name in no_skill}
        return _known({field: values[name] for field, name in found.items()}) | {"no_skill": bands}

    return Scores(
        n_samples=len(labels),
        **_known({name: value for name, value in values.items() if "/" not in name}),
        macro_f1_chance=float((counts.support / len(labels)).mean()),
        macro_f1_without_fill=float(f1_per_class(labels, scorer.predict(fill=False)[HEADLINE.name]).mean()),
        fill=decision.fill,
        temperatures=tuple(decision.temperatures.tolist()),
        intervals=find_intervals(rows, decision.scale(rows.probs, folds), predictions, fill=decision.fill),
        no_skill={name: value for name, value in no_skill.items() if "/" not in name},
        no_better_than_no_skill=tuple(
            name for name, band in no_skill.items() if "/" not in name and not band.beaten_by(values[name])
        ),
        calibration_error=before,
        calibrated_error=after,
        classes=tuple(
            replace(score, calibration_error=error, calibrated_error=calibrated)
            for score, error, calibrated in zip(
                _score_classes(rows, decision, predictions, classes), of_classes, calibrated_of_classes, strict=True
            )
        ),
        folds=tuple(
            FoldScore(fold=int(fold), n_samples=int((folds == fold).sum()), **of_fold(fold))
            for fold in np.unique(folds)
        ),
        confusions=tuple(find_confusion(labels, headline, k, classes) for k in worst),
    )


def _score_classes(
    rows: OutOfFold, decision: Decision, predictions: dict[str, npt.NDArray[np.uint8]], classes: tuple[str, ...]
) -> tuple[ClassScore, ...]:
    """Score each class over all rows."""
    counts = {name: confusion_counts(rows.labels, predicted) for name, predicted in predictions.items()}
    f1 = {name: each.f1 for name, each in counts.items()}
    headline = counts[HEADLINE.name]
    ranking = rank_samples(decision.scale(rows.probs, rows.folds))
    precisions, areas = ranking.average_precision(rows.labels), ranking.roc_auc(rows.labels)
    return tuple(
        ClassScore(
            name=name,
            support=int(headline.support[k]),
            threshold=float(decision.thresholds[k]),
            precision=float(headline.precision[k]),
            recall=float(headline.recall[k]),
            **_known({f"f1_{kind}": values[k] for kind, values in f1.items()}),
            **_known({"average_precision": precisions[k], "roc_auc": areas[k]}),
        )
        for k, name in enumerate(classes)
    )


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
