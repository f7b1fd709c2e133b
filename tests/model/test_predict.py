"""Predictions of a run for a part or a folder, written as a submission."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.predict import predict_probs, predict_submission
from hpa_model.predict.submission import read_sample_submission
from hpa_model.runs.decision import read_decision
from hpa_model.runs.folder import read_run
from hpa_model.runs.models import load_model
from tests.builders import convert


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
    probs = [decision.calibrate(np.asarray(model(images, training=False)), fold) for fold, model in enumerate(models)]
    expected = decision.predict(np.mean(probs, axis=0))
    predict_submission(run, store.path, tmp_path / "submission.csv")
    rows = read_rows(tmp_path / "submission.csv")[1:]
    assert [row[1] for row in rows] == [" ".join(map(str, np.flatnonzero(row))) for row in expected]


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
