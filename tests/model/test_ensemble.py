"""Predictions of the models of some folds, of fine-tuned runs, and with far more classes than the training data."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from hpa_data.store.store import Store
from hpa_model.predict import predict_submission
from hpa_model.predict.chosen import choose_models, notice_count
from hpa_model.runs.decision import fit_decision
from hpa_model.runs.folder import read_run
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold, write_out_of_fold
from hpa_model.thresholds import apply_temperatures
from tests.builders import Hpa, assert_refused


def of_folds(rows: OutOfFold, *folds: int) -> OutOfFold:
    chosen = np.isin(rows.folds, folds)
    return dataclasses.replace(rows, labels=rows.labels[chosen], probs=rows.probs[chosen], folds=rows.folds[chosen])


def make_rows(labels_per_sample: int, n_samples: int = 20) -> OutOfFold:
    labels = np.zeros((n_samples, 28), np.uint8)
    labels[:, :labels_per_sample] = 1
    ids = [str(row) for row in range(n_samples)]
    return OutOfFold(ids=ids, labels=labels, probs=labels.astype(np.float32), folds=np.arange(n_samples) % 2)


def test_one_fold_is_predicted_with_by_its_model_and_the_thresholds_of_its_rows(
    run: Path, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "probs.npz"
    predict_submission(run, store.path, tmp_path / "one.csv", folds=[1], probs=out)
    decision = fit_decision(of_folds(read_out_of_fold(run), 1), n_folds=2)
    with store.reader(["test"]) as reader:
        raw = load_model(run / "fold1" / "best.keras").predict_on_batch(reader.read([0, 1, 2]))
    expected = apply_temperatures(raw, decision.temperatures[1])
    with np.load(out) as file:
        assert file["probs"] == pytest.approx(expected, abs=1e-5)
    models = choose_models(run, [1])
    assert (models.decision.thresholds == decision.thresholds).all()
    assert models.temperatures.tolist() == [decision.temperatures[1]]


def test_all_folds_are_the_default_in_any_order(run: Path, store: Store, tmp_path: Path) -> None:
    predict_submission(run, store.path, tmp_path / "default.csv")
    predict_submission(run, store.path, tmp_path / "all.csv", folds=[1, 0, 1])
    assert (tmp_path / "default.csv").read_text() == (tmp_path / "all.csv").read_text()


def test_a_fold_that_the_run_does_not_have_is_refused(run: Path, store: Store, tmp_path: Path, hpa: Hpa) -> None:
    words = ("predict", run, store.path, "--out", tmp_path / "a.csv")
    assert_refused(hpa(*words, "--fold", 1, "--fold", 2), "fold must be from 0 to 1, as the run has 2. Received: 1, 2.")
    assert hpa(*words, "--fold", 1).out.startswith(f"{tmp_path / 'a.csv'}: 3 rows, ")
    assert_refused(hpa(*words, "--fold", -1), "fold must be from 0 to 1")


def test_classes_that_the_rows_of_the_folds_do_not_show_are_told(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    rows = read_out_of_fold(run)
    labels = rows.labels.copy()
    labels[rows.folds == 0, 3] = 0
    assert labels[:, 3].any()
    write_out_of_fold(tmp_path / "run", dataclasses.replace(rows, labels=labels))
    (told,) = choose_models(tmp_path / "run", [0]).notices
    assert str(told) == (
        "Warning: classes are never predicted, as no sample of fold 0 shows them, 1 class, for example Nucleoli "
        "fibrillar center. Pass further folds by --fold."
    )
    assert choose_models(tmp_path / "run", [0]).decision.thresholds[3] == 1
    assert choose_models(tmp_path / "run", [1]).notices == choose_models(tmp_path / "run").notices == ()


def test_empty_rows_stay_empty_where_training_data_of_any_fold_has_them(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    rows = read_out_of_fold(run)
    labels = rows.labels.copy()
    labels[np.flatnonzero(rows.folds == 0)[0]] = 0
    write_out_of_fold(tmp_path / "run", dataclasses.replace(rows, labels=labels))
    assert choose_models(run, [1]).decision.fill
    assert not choose_models(tmp_path / "run", [1]).decision.fill


def test_the_mean_of_fine_tuned_and_other_models_is_told_with_the_option_for_the_fine_tuned(
    run: Path, tmp_path: Path
) -> None:
    tuned = tmp_path / "tuned"
    shutil.copytree(run, tuned)
    description = read_run(run)
    dataclasses.replace(description, finetuned_from="base", finetuned_folds=(1,), base_models=("a", "b")).write(tuned)
    (told,) = choose_models(tuned).notices
    assert str(told) == (
        "Warning: the predictions are the mean of models that were fine-tuned, of fold 1, and of models that were not, "
        "2 models. Pass --fold 1 for the fine-tuned alone, as the paper did."
    )
    assert choose_models(tuned, [1]).notices == choose_models(tuned, [0]).notices == ()
    dataclasses.replace(description, finetuned_from="base", finetuned_folds=(0, 1), base_models=("a", "b")).write(tuned)
    assert choose_models(tuned).notices == ()


def test_far_more_or_fewer_classes_than_in_the_training_data_are_told() -> None:
    for n_predicted, n_trained, told in ((7, 1, True), (2, 1, False), (1, 2, False), (1, 3, True)):
        notices = [str(notice) for notice in notice_count(make_rows(n_predicted).labels, make_rows(n_trained))]
        start = f"Warning: {n_predicted}.0 classes a row are predicted, the training data has {n_trained}.0, 20 rows. "
        assert [line.startswith(start) for line in notices] == [True] * told
    assert notice_count(make_rows(0).labels, None) == []


def test_a_few_rows_may_have_more_classes_by_chance() -> None:
    assert notice_count(make_rows(7, 9).labels, make_rows(1)) == []
    assert len(notice_count(make_rows(7, 10).labels, make_rows(1))) == 1


def test_classes_a_row_stand_beside_those_of_the_training_data(
    run: Path, store: Store, tmp_path: Path, hpa: Hpa
) -> None:
    out = hpa("predict", run, store.path, "--out", tmp_path / "a.csv").out
    expected = read_out_of_fold(run).labels.sum(axis=1).mean()
    assert f" classes per row, the training data has {expected:.2f}\n" in out
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    (moved / "out_of_fold.npz").unlink()  # predictions need the thresholds alone
    assert "training data" not in hpa("predict", moved, store.path, "--out", tmp_path / "a.csv").out
    assert_refused(hpa("predict", moved, store.path, "--fold", 0), "Cannot use run")
