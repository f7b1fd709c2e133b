"""Training and prediction, end to end on a few small pictures."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_model.config import TrainConfig, make_config, read_recipe
from hpa_model.evaluation.scores import score_run
from hpa_model.metrics import macro_f1
from hpa_model.predict import predict_probs, predict_submission
from hpa_model.runs.folder import EpochRecord, read_run
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold, read_thresholds
from hpa_model.submission import check_submission, predict_at_least_one, read_sample_submission
from hpa_model.training.train import train
from tests.builders import begin, convert

CONFIG = TrainConfig(folds=2, epochs=3, batch_size=4, image_size=76, bn_momentum=0.5, seed=7)


@pytest.fixture(scope="module")
def records() -> list[tuple[int, EpochRecord]]:
    return []


@pytest.fixture(scope="module")
def run(store: Store, records: list[tuple[int, EpochRecord]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a finished run; not to be changed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(store, CONFIG, out, on_epoch=lambda fold, record: records.append((fold, record)))
    return out


def test_a_run_folder_says_what_was_done(run: Path, store: Store) -> None:
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
        "thresholds.json",
    }


def test_every_epoch_of_every_fold_is_reported_and_recorded(run: Path, records: list[tuple[int, EpochRecord]]) -> None:
    assert [(fold, record.epoch) for fold, record in records] == [(f, e) for f in range(2) for e in (1, 2, 3)]
    for fold in range(2):
        with (run / f"fold{fold}" / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        told = [record for f, record in records if f == fold]
        assert [float(row["val_loss"]) for row in rows] == pytest.approx([r.val_loss for r in told], rel=1e-5)
        assert told[-1].loss < told[0].loss


def test_a_cache_changes_no_weight(run: Path, store: Store, tmp_path: Path) -> None:
    train(store, CONFIG, tmp_path / "run", cache_bytes=5 * 2**20)
    assert (read_out_of_fold(tmp_path / "run").probs == read_out_of_fold(run).probs).all()


def test_a_run_with_turned_images_is_another_one_and_can_be_predicted_with(
    run: Path, store: Store, kaggle: Path, tmp_path: Path
) -> None:
    train(store, dataclasses.replace(CONFIG, symmetries=True), tmp_path / "run")
    rows = read_out_of_fold(tmp_path / "run")
    assert np.isfinite(rows.probs).all()
    assert (rows.probs != read_out_of_fold(run).probs).any()
    assert predict_submission(tmp_path / "run", store.path, tmp_path / "a.csv").n_rows == 3


def test_out_of_fold_rows_come_from_the_model_that_has_not_seen_them(run: Path, store: Store) -> None:
    rows = read_out_of_fold(run)
    assert rows.ids == store.part("train").ids
    with store.reader() as reader:
        for fold in range(2):
            own = np.flatnonzero(rows.folds == fold)
            model = load_model(run / f"fold{fold}" / "best.keras")
            assert rows.probs[own] == pytest.approx(predict_probs([model], reader, own, 5), abs=1e-5)


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_loss(
    run: Path, store: Store, records: list[tuple[int, EpochRecord]]
) -> None:
    rows = read_out_of_fold(run)
    for fold in range(2):
        own = rows.folds == fold
        best = min((record for f, record in records if f == fold), key=lambda record: record.val_loss)
        assert macro_f1(rows.labels[own], rows.probs[own]) == pytest.approx(best.val_macro_f1)


def test_the_same_seed_gives_the_same_run(run: Path, store: Store, tmp_path: Path) -> None:
    train(store, CONFIG, tmp_path / "again")
    one, other = read_out_of_fold(run), read_out_of_fold(tmp_path / "again")
    assert (one.folds == other.folds).all()
    assert one.probs == pytest.approx(other.probs, abs=1e-4)  # sums over threads may round differently


def test_thresholds_and_scores_follow_from_the_out_of_fold_rows(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "scores.json").unlink()
    scores = score_run(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "scores.json").read_text())["n_samples"] == 12
    rows = read_out_of_fold(run)
    thresholds = read_thresholds(run, read_run(run).classes)
    assert scores.macro_f1_in_sample == pytest.approx(macro_f1(rows.labels, rows.probs, thresholds))
    assert len(scores.absent) == 24
    assert (thresholds[4:] == 1).all()


def read_rows(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_a_submission_is_in_the_order_of_the_sample_submission(
    run: Path, store: Store, kaggle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "made" / "submission.csv"
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
    probs = np.mean([np.asarray(model(images, training=False)) for model in models], axis=0)
    expected = predict_at_least_one(probs, read_thresholds(run, read_run(run).classes))
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,0\nb,1 27\n", ""),
        ("a,\nb,3\n", ""),
        ("a,0\n", "the 2 ids .* Received: 1 rows of"),
        ("b,0\na,1\n", "id 'b' in line 2, in place of 'a'"),
        ("a,0\na,1\n", "id 'a' in line 3, in place of 'b'"),
        ("a,0\nb,28\n", "classes '28' in line 3"),
        ("a,0\nb,-1\n", "classes '-1' in line 3"),
        ("a,0\nb,1.0\n", "classes '1.0' in line 3"),
        ("a,0\nb,3 3\n", "a class twice, '3 3', in line 3"),
    ],
)
def test_a_submission_is_held_against_the_sample_submission(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text("Id,Predicted\n" + content)
    if message:
        with pytest.raises(InputError, match=message):
            check_submission(tmp_path / "a.csv", ["a", "b"], 28)
    else:
        assert check_submission(tmp_path / "a.csv", ["a", "b"], 28) == content.count(",\n")


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
    with pytest.raises(InputError, match="'ghost', which .* lacks"):
        predict_submission(run, store.path, tmp_path / "out.csv", sample_submission=tmp_path / "sample.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Id,Predicted\na,0\na,0\n", "'a' twice"),
        ("Id,Predicted\n", "no row"),
        ("Id,Target\na,0\n", "without Predicted"),
    ],
)
def test_a_sample_submission_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "sample.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_sample_submission(tmp_path / "sample.csv")


def test_rows_stay_empty_only_if_asked() -> None:
    probs, thresholds = np.array([[0.1, 0.45, 0.2]]), np.array([0.2, 0.5, 1.0])
    assert predict_at_least_one(probs, thresholds).tolist() == [[0, 1, 0]]
    assert predict_at_least_one(probs, thresholds, allow_empty=True).tolist() == [[0, 0, 0]]


def test_a_class_that_is_never_predicted_does_not_fill_an_empty_row_either() -> None:
    probs, thresholds = np.array([[0.01, 0.99]]), np.array([0.4, 1.0])
    assert predict_at_least_one(probs, thresholds).tolist() == [[1, 0]]


def test_a_run_that_exists_is_refused_unless_overwritten(run: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"same settings.*epochs \(3 there, 4 here\), seed \(7 there.*--overwrite"):
        train(store, dataclasses.replace(CONFIG, epochs=4, seed=8), run)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    (tmp_path / "thesis" / "config.json").write_text('{"mine": 1}')
    with pytest.raises(InputError, match=r"Cannot read .*config\.json: "):
        train(store, CONFIG, tmp_path / "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def test_what_cannot_be_trained_on_is_refused_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    begin(tmp_path / "a.zarr", "ab", labels=np.ones((2, 28), np.uint8))
    for source, config, message in (
        (store, TrainConfig(parts=("test",)), "must have labels"),
        (store, TrainConfig(model="gepnet"), "model must be one of gapnet"),
        (store, TrainConfig(image_size=64), "at least 76"),
        (store, TrainConfig(folds=13), "from 2 to the number of samples, 12"),
        (open_store(tmp_path / "a.zarr"), TrainConfig(), "2 samples still to be made"),
    ):
        with pytest.raises(InputError, match=message):
            train(source, config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "must be one of model, .* Received: 'epoch'"),
        ({"epochs": "3"}, "epochs: expected `int`, got `(str|bool)`"),
        ({"epochs": True}, "epochs: expected `int`, got `(str|bool)`"),
        ({"epochs": 0}, "epochs must be from 1 to"),
        ({"clip_norm": float("inf")}, "clip_norm must be from 0 to 1000000000"),
        ({"fold_method": "random"}, "must be one of stratified, contiguous"),
        ({"learning_rate": -1}, "between 0 and 1"),
        ({"bn_momentum": 1.0}, "at least 0 and below 1"),
        ({"learning_rate": float("nan")}, "between 0 and 1"),
        ({"parts": []}, "parts must be different names"),
        ({"seed": 2**32}, "to 4294967295"),
        ({"parts": ["train", "train"]}, "Name each part once"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_config(settings)


def test_a_recipe_holds_the_differences_from_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('parts = ["train", "external"]\nepochs = 4\nlearning_rate = 1e-2\n')
    config = make_config(read_recipe(tmp_path / "a.toml"))
    assert config == TrainConfig(parts=("train", "external"), epochs=4, learning_rate=0.01)
    (tmp_path / "a.toml").write_text("epochs =")
    with pytest.raises(InputError, match=r"Cannot read recipe .*a\.toml"):
        read_recipe(tmp_path / "a.toml")


def test_a_run_folder_that_is_none_or_damaged_is_refused(run: Path, store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read run .* has no config.json"):
        read_run(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "fold1" / "best.keras").write_bytes(b"PK\x03\x04 no model")
    with pytest.raises(InputError, match=r"model must be whole\. Received: .*fold1"):
        predict_submission(tmp_path / "run", store.path, tmp_path / "out.csv")
    (tmp_path / "run" / "thresholds.json").write_text((run / "thresholds.json").read_text().replace("1.0", "NaN"))
    with pytest.raises(InputError, match=r"a threshold outside 0\.\.1"):
        predict_submission(tmp_path / "run", store.path, tmp_path / "out.csv")
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="missing required field `config`"):
        read_run(tmp_path / "run")
    (tmp_path / "run" / "out_of_fold.npz").write_bytes((run / "out_of_fold.npz").read_bytes()[:300])
    (tmp_path / "run" / "config.json").write_text((run / "config.json").read_text())
    with pytest.raises(InputError, match="must have its out-of-fold probabilities"):
        score_run(tmp_path / "run")


def test_every_recipe_of_the_project_can_be_used() -> None:
    recipes = sorted((Path(__file__).parents[3] / "recipes").glob("*.toml"))
    assert recipes
    for path in recipes:
        make_config(read_recipe(path))
