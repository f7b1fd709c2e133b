"""Whole trainings, on few and small images."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.store.store import Store
from hpa_model.config import TrainConfig
from hpa_model.evaluation.scores import score_run
from hpa_model.metrics import macro_f1
from hpa_model.predict import predict_probs, predict_submission
from hpa_model.runs.decision import read_decision
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import EpochRecord
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.train import train

CONFIG = TrainConfig(
    model="tiny", folds=2, epochs=3, batch_size=4, image_size=32, bn_momentum=0.5, learning_rate=0.01, seed=7
)


@pytest.fixture(scope="module")
def records() -> list[tuple[int, EpochRecord]]:
    return []


@pytest.fixture(scope="module")
def run(store: Store, records: list[tuple[int, EpochRecord]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(store, CONFIG, out, on_epoch=lambda fold, record, is_best: records.append((fold, record)))
    return out


def test_a_run_folder_describes_the_training(run: Path, store: Store) -> None:
    description = read_run(run)
    assert description.config == CONFIG
    assert description.fingerprints == {"train": store.part("train").manifest.fingerprint}
    assert description.image_shape == (512, 512, 4)
    assert description.versions["keras"] == keras.__version__
    assert {path.name for path in run.iterdir()} == {
        "config.json",
        "fold0",
        "fold1",
        "folds.csv",
        "out_of_fold.npz",
        "scores.json",
        "seal.json",
        "thresholds.json",
    }


def test_every_epoch_of_every_fold_is_reported_and_recorded(run: Path, records: list[tuple[int, EpochRecord]]) -> None:
    assert [(fold, record.epoch) for fold, record in records] == [(f, e) for f in range(2) for e in (1, 2, 3)]
    for fold in range(2):
        with (run / f"fold{fold}" / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        reported = [record for f, record in records if f == fold]
        assert [float(row["val_loss"]) for row in rows] == pytest.approx([r.val_loss for r in reported], rel=1e-5)
        assert reported[-1].loss < reported[0].loss


def test_a_cache_changes_no_weight(run: Path, store: Store, tmp_path: Path) -> None:
    train(store, CONFIG, tmp_path / "run", cache_bytes=5 * 2**20)
    assert (read_out_of_fold(tmp_path / "run").probs == read_out_of_fold(run).probs).all()


def test_a_run_with_symmetries_differs_and_can_predict(run: Path, store: Store, kaggle: Path, tmp_path: Path) -> None:
    train(store, dataclasses.replace(CONFIG, symmetries=True), tmp_path / "run")
    rows = read_out_of_fold(tmp_path / "run")
    assert np.isfinite(rows.probs).all()
    assert (rows.probs != read_out_of_fold(run).probs).any()
    assert predict_submission(tmp_path / "run", store.path, tmp_path / "a.csv").n_rows == 3


def test_out_of_fold_predictions_are_of_the_model_that_was_not_trained_on_the_sample(run: Path, store: Store) -> None:
    rows = read_out_of_fold(run)
    assert rows.ids == store.part("train").ids
    with store.reader() as reader:
        for fold in range(2):
            in_fold = np.flatnonzero(rows.folds == fold)
            model = load_model(run / f"fold{fold}" / "best.keras")
            assert rows.probs[in_fold] == pytest.approx(predict_probs([model], reader, in_fold, 5), abs=1e-5)


def test_the_best_model_is_the_one_with_the_lowest_validation_loss(
    run: Path, store: Store, records: list[tuple[int, EpochRecord]]
) -> None:
    rows = read_out_of_fold(run)
    for fold in range(2):
        in_fold = rows.folds == fold
        best = min((record for f, record in records if f == fold), key=lambda record: record.val_loss)
        assert macro_f1(rows.labels[in_fold], rows.probs[in_fold]) == pytest.approx(best.val_macro_f1)


def test_the_same_seed_gives_the_same_run(run: Path, store: Store, tmp_path: Path) -> None:
    train(store, CONFIG, tmp_path / "again")
    one, other = read_out_of_fold(run), read_out_of_fold(tmp_path / "again")
    assert (one.folds == other.folds).all()
    assert one.probs == pytest.approx(other.probs, abs=1e-4)  # sums over threads may round differently


def test_thresholds_and_scores_are_functions_of_the_out_of_fold_predictions(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "scores.json").unlink()
    scores = score_run(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["n_samples"] == 12
    rows = read_out_of_fold(run)
    decision = read_decision(run, read_run(run).classes, 2)
    scaled, thresholds = decision.scale(rows.probs, rows.folds), decision.thresholds
    assert scores.macro_f1_in_sample == pytest.approx(macro_f1(rows.labels, scaled, thresholds))
    assert len(scores.absent) == 24
    assert (thresholds[4:] == 1).all()
