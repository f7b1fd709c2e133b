"""Scores of out-of-fold rows: per class, per fold, and what the worst classes are confused with."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support

from hpa_data.errors import InputError
from hpa_model.evaluation.records import THRESHOLDINGS, ClassScore, FoldScore, Scores
from hpa_model.evaluation.scores import find_confusion, predict_rows, score_rows, score_run
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.runs.decision import fit_decision, read_decision
from hpa_model.runs.out_of_fold import OutOfFold, write_out_of_fold
from hpa_model.thresholds import apply_temperatures, search_thresholds
from tests.builders import RUN_CLASSES, make_rows, make_run


def test_classes_are_scored_as_scikit_learn_does() -> None:
    rows = make_rows()
    scores = score_rows(rows, RUN_CLASSES)
    predicted = predict_rows(rows, fit_decision(rows, n_folds=3))["cross_fitted"]
    precision, recall, f1, support = precision_recall_fscore_support(rows.labels, predicted, zero_division=0)
    for k, score in enumerate(scores.classes):
        assert (score.precision, score.recall, score.f1_cross_fitted) == pytest.approx((precision[k], recall[k], f1[k]))
        assert score.support == support[k]
    assert scores.absent == ("Never $seen$",)


def test_each_fold_is_scored_on_its_own_rows() -> None:
    rows = make_rows()
    scores = score_rows(rows, RUN_CLASSES)
    assert [fold.n_samples for fold in scores.folds] == [30, 30, 30]
    for fold in scores.folds:
        in_fold = rows.folds == fold.fold
        labels, probs = rows.labels[in_fold], rows.probs[in_fold]
        best = f1_per_class(labels, predict_classes(probs, search_thresholds(labels, probs))).mean()
        assert fold.macro_f1_in_sample == pytest.approx(best)
        assert fold.macro_f1_at_half <= best
        assert fold.macro_f1_cross_fitted <= best


def test_confusions_name_what_a_class_is_confused_with() -> None:
    labels = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], np.uint8)
    predicted = np.array([[0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], np.uint8)
    confusion = find_confusion(labels, predicted, 0, ("a", "b", "c"))
    assert (confusion.n_false_negatives, confusion.predicted_instead) == (2, (("b", 2), ("c", 1)))
    assert (confusion.n_false_positives, confusion.was_actually) == (2, (("b", 1),))


def test_every_thresholding_has_a_field_in_each_kind_of_score() -> None:
    for kind, prefix in ((ClassScore, "f1"), (FoldScore, "macro_f1"), (Scores, "macro_f1")):
        names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
        assert {f"{prefix}_{each.name}" for each in THRESHOLDINGS} <= names


def test_the_mean_of_the_classes_is_the_score_of_the_run_which_writes_it_and_its_thresholds(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_rows())
    scores = score_run(run)
    for kind in THRESHOLDINGS:
        values = [getattr(score, f"f1_{kind.name}") for score in scores.classes]
        assert getattr(scores, f"macro_f1_{kind.name}") == pytest.approx(np.mean(values))
    written = json.loads((run / "scores.json").read_text())
    assert written["macro_f1_cross_fitted"] == scores.macro_f1_cross_fitted
    decision = read_decision(run, RUN_CLASSES, 3)
    assert decision.thresholds.tolist() == [score.threshold for score in scores.classes]
    assert decision.temperatures.tolist() == list(scores.temperatures)


def test_a_run_with_other_classes_than_its_rows_is_refused(tmp_path: Path) -> None:
    rows = make_rows()
    run = make_run(tmp_path / "run", rows)
    (run / "out_of_fold.npz").unlink()
    write_out_of_fold(
        run, OutOfFold(ids=rows.ids, labels=rows.labels[:, 1:], probs=rows.probs[:, 1:], folds=rows.folds)
    )
    with pytest.raises(InputError, match="has 3 columns for 4 classes. Train again."):
        score_run(run)


def test_a_model_that_is_surer_than_the_others_does_not_change_the_scores_of_their_folds() -> None:
    rows = make_rows(600)
    surer = np.where((rows.folds == 0)[:, None], apply_temperatures(rows.probs, 0.3), rows.probs)
    before, after = (score_rows(each, RUN_CLASSES) for each in (rows, replace(rows, probs=surer.astype(np.float32))))
    for one, other in zip(before.folds, after.folds, strict=True):  # fold 0 among them: only its scale is another
        assert other.macro_f1_cross_fitted == pytest.approx(one.macro_f1_cross_fitted, abs=0.01)
        assert other.macro_f1_within_fold == pytest.approx(one.macro_f1_within_fold, abs=0.01)
    assert after.temperatures[0] / after.temperatures[1] == pytest.approx(
        before.temperatures[0] / before.temperatures[1] / 0.3, rel=0.02
    )


def test_models_that_are_equally_sure_are_left_as_they_are() -> None:
    rows = make_rows(600)
    decision = fit_decision(replace(rows, folds=np.zeros_like(rows.folds)), n_folds=3)
    assert decision.temperatures.tolist() == [1, 1, 1]


def test_rows_are_predicted_as_they_are_scored() -> None:
    rng = np.random.default_rng(0)
    labels = np.eye(6, dtype=np.uint8)[rng.integers(0, 6, 300)]  # each shows a class, so that empty rows are filled
    probs = (0.5 * labels + 0.4 * rng.random(labels.shape)).astype(np.float32)
    probs[:20] *= 0.1  # too low for any threshold
    rows = OutOfFold(ids=[str(row) for row in range(300)], labels=labels, probs=probs, folds=np.arange(300) % 3)
    decision = fit_decision(rows, n_folds=3)
    scored = predict_rows(rows, decision)
    assert decision.fill
    assert all(scored[name].any(axis=1).all() for name in ("cross_fitted", "within_fold"))
    predicted = decision.predict(decision.scale(rows.probs, rows.folds))
    empty = ~scored["in_sample"].any(axis=1)
    assert empty.any()
    assert (predicted[~empty] == scored["in_sample"][~empty]).all()  # the thresholds that predictions use
    best = decision.scale(rows.probs, rows.folds)[empty][:, decision.thresholds < 1].argmax(axis=1)
    assert (predicted[empty][:, decision.thresholds < 1].argmax(axis=1) == best).all()
