"""Predictions of a run for a part or a folder, written as a submission."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import calibration
from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.predict import predict_probs, predict_submission
from hpa_model.predict.chosen import choose_models
from hpa_model.predict.submission import read_sample_submission
from hpa_model.runs.decision import fit_calibration, fit_decision, read_decision
from hpa_model.runs.folder import read_run
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.thresholds import apply_calibrations
from tests.builders import Hpa, assert_refused, convert


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_submission_is_in_the_order_of_the_sample_submission(
    run: Path, store: Store, kaggle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "submission.csv"
    done = predict_submission(run, store.path, out, sample_submission=kaggle / "sample_submission.csv")
    rows = read_rows(out)
    assert rows[0] == ["Id", "Predicted"]
    assert [row[0] for row in rows[1:]] == ["new-2", "new-0", "new-1"] == read_sample_submission(out)
    assert (done.n_rows, done.failed) == (3, ())
    for _, predicted in rows[1:]:
        numbers = [int(word) for word in predicted.split()]
        assert numbers
        assert numbers == sorted(set(numbers))
        assert set(numbers) <= {0, 1, 2, 3}


def test_a_prediction_is_the_mean_over_the_folds(run: Path, store: Store, tmp_path: Path) -> None:
    with store.reader(["test"]) as reader:
        images = reader.read([0, 1, 2])
    models = [load_model(run / f"fold{fold}" / "best.keras") for fold in range(2)]
    decision = read_decision(run, read_run(run).classes, 2)
    probs = [decision.scale(np.asarray(model(images, training=False)), fold) for fold, model in enumerate(models)]
    expected = decision.predict(np.mean(probs, axis=0))
    predict_submission(run, store.path, tmp_path / "submission.csv")
    rows = read_rows(tmp_path / "submission.csv")[1:]
    assert [row[1] for row in rows] == [" ".join(map(str, np.flatnonzero(row))) for row in expected]


def test_calibrated_probabilities_are_the_mean_of_those_of_each_fold_and_change_no_class(
    run: Path, store: Store, tmp_path: Path
) -> None:
    decision = read_decision(run, read_run(run).classes, 2)
    assert decision.calibrations is not None
    assert any(each.method != "none" for each in decision.calibrations)
    with store.reader(["test"]) as reader:
        models = [load_model(run / f"fold{fold}" / "best.keras") for fold in range(2)]
        probs = [predict_probs([model], reader, np.arange(3), 2) for model in models]
    calibrated_probs = [
        apply_calibrations(decision.calibrations, decision.scale(each, k)) for k, each in enumerate(probs)
    ]
    submissions = []
    for calibrated in (True, False):
        out, file = tmp_path / f"{calibrated}.csv", tmp_path / f"{calibrated}.npz"
        predict_submission(run, store.path, out, probs=file, calibrated=calibrated)
        submissions.append(out.read_bytes())
        with np.load(file) as arrays:
            expected = calibrated_probs if calibrated else [decision.scale(each, k) for k, each in enumerate(probs)]
            assert arrays["probs"] == pytest.approx(np.mean(expected, axis=0), abs=1e-6)
    assert submissions[0] == submissions[1]


def test_class_maps_of_one_fold_are_fitted_to_its_rows(run: Path) -> None:
    rows = read_out_of_fold(run)
    chosen = choose_models(run, [1], calibrated=True).decision
    few = rows.select(rows.folds == 1)
    assert set(few.ids) == {name for name, fold in zip(rows.ids, rows.folds, strict=True) if fold == 1}
    assert chosen.calibrations == fit_calibration(few, fit_decision(few, n_folds=2)).calibrations
    assert chosen.calibrations != choose_models(run, calibrated=True).decision.calibrations


def test_a_run_that_was_scored_before_there_were_class_maps_is_refused(run: Path, tmp_path: Path, hpa: Hpa) -> None:
    older = Path(shutil.copytree(run, tmp_path / "older"))
    saved = json.loads((older / "thresholds.json").read_text())
    del saved["calibration"]
    (older / "thresholds.json").write_text(json.dumps(saved))
    (older / "seal.json").unlink()  # older still
    with pytest.raises(InputError, match=r"scored by a version before 0\.9\.0\. Run `hpa evaluate"):
        choose_models(older, calibrated=True)
    assert_refused(hpa("predict", run, "hpa.zarr", "--calibrated"), "it has no effect without --probs")


def test_the_benchmark_of_calibration_prints_each_way_to_average(
    run: Path, store: Store, kaggle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["calibration", run, store.path, kaggle / "train.csv", "--part", "train"]
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    calibration.main()
    assert capsys.readouterr().out.count("\n| ") == 5


def test_probabilities_are_averaged_over_the_eight_symmetries(run: Path, store: Store, tmp_path: Path) -> None:
    models = [load_model(run / f"fold{fold}" / "best.keras") for fold in range(2)]
    with store.reader(["test"]) as reader:
        images = reader.read([0, 1, 2])
        probs = predict_probs(models, reader, np.arange(3), 2, tta=True)
    views = [view for flipped in (images, images[:, ::-1]) for k in range(4) for view in [np.rot90(flipped, k, (1, 2))]]
    expected = np.mean([np.asarray(model(view, training=False)) for model in models for view in views], axis=0)
    assert probs == pytest.approx(expected, abs=1e-5)
    assert predict_submission(run, store.path, tmp_path / "a.csv", tta=True).n_rows == 3


def test_several_parts_are_predicted_in_their_order(run: Path, store: Store, tmp_path: Path) -> None:
    done = predict_submission(run, store.path, tmp_path / "a.csv", parts=["test", "train"])
    assert done.n_rows == 15
    ids = [row[0] for row in read_rows(tmp_path / "a.csv")[1:]]
    assert ids == store.part("test").ids + store.part("train").ids


def test_parts_with_the_same_id_are_not_predicted_together(run: Path, kaggle: Path, tmp_path: Path) -> None:
    for part in ("test", "again"):
        convert(kaggle / "test", tmp_path / "a.zarr", part=part)
    with pytest.raises(InputError, match="two parts have id 'new-0'"):
        predict_submission(run, tmp_path / "a.zarr", tmp_path / "a.csv", parts=["test", "again"])
    assert not (tmp_path / "a.csv").exists()


def test_a_folder_of_files_predicts_as_its_store_does(run: Path, store: Store, kaggle: Path, tmp_path: Path) -> None:
    predict_submission(run, store.path, tmp_path / "store.csv")
    predict_submission(run, kaggle / "test", tmp_path / "folder.csv")
    assert read_rows(tmp_path / "store.csv") == read_rows(tmp_path / "folder.csv")


def test_a_bad_file_costs_one_row_which_is_listed(run: Path, kaggle: Path, tmp_path: Path) -> None:
    shutil.copytree(kaggle / "test", tmp_path / "test")
    (tmp_path / "test" / "new-1_red.png").write_bytes(b"")
    convert(tmp_path / "test", tmp_path / "a.zarr", part="test")
    for source in (tmp_path / "test", tmp_path / "a.zarr"):
        done = predict_submission(run, source, tmp_path / "submission.csv")
        assert done.failed == ("new-1",)
        rows = dict(read_rows(tmp_path / "submission.csv")[1:])
        assert rows["new-1"] == ""
        assert rows["new-0"]
        assert rows["new-2"]


def test_an_id_without_a_sample_is_refused(run: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("Id,Predicted\nnew-0,0\nghost,0\n")
    with pytest.raises(InputError, match="lists 'ghost', which it does not have. Convert the whole"):
        predict_submission(run, store.path, tmp_path / "out.csv", sample_submission=tmp_path / "sample.csv")
    assert not (tmp_path / "out.csv").exists()


def test_the_nearest_id_is_named_beside_one_without_a_sample(run: Path, store: Store, tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_text("Id,Predicted\nNew-1,0\n")
    with pytest.raises(
        InputError, match="lists 'New-1', which it does not have. The nearest id that it has is 'new-1'"
    ):
        predict_submission(run, store.path, tmp_path / "out.csv", sample_submission=tmp_path / "sample.csv")
