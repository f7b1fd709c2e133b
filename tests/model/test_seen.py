"""A prediction says which of its samples the models were trained on."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from hpa_data.augment.execute import augment_store
from hpa_data.augment.plan import plan_augmentation
from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_model.predict import predict_submission
from hpa_model.runs.folder import read_run
from hpa_model.runs.out_of_fold import read_out_of_fold
from tests.builders import Hpa, assert_refused, convert, draw_image, write_sample, write_table

SAME = "Warning: the models were trained on samples to predict, "
EQUAL = "Warning: images to predict are those of samples that the models were trained on, under other ids, "
NAMED = "Warning: ids are those of samples that the models were trained on, whose images are others or cannot be "


def tell(run: Path, source: Path, tmp_path: Path, **arguments: object) -> list[str]:
    """Predict; return the warnings, but those about the number of classes, which short trainings cause."""
    done = predict_submission(run, source, tmp_path / "out.csv", **arguments)  # type: ignore[arg-type]
    return [str(notice) for notice in done.notices if "classes a row" not in notice.what]


def write_renamed(folder: Path, n_samples: int = 3) -> Path:
    """Write the first samples of the run under other ids, and one that it does not have."""
    for index in range(n_samples):
        write_sample(folder, f"copy-{index}", draw_image(index))
    write_sample(folder, "unknown", draw_image(300))
    return folder


def test_samples_of_a_part_that_the_run_was_trained_on_are_told(run: Path, store: Store, tmp_path: Path) -> None:
    (told,) = tell(run, store.path, tmp_path, parts=["test", "train"])
    assert told == (
        f"{SAME}12 samples, for example sample-11. To know how well they are predicted, run `hpa evaluate {run}`: it "
        "scores each of them by the model that was not trained on it."
    )
    assert tell(run, store.path, tmp_path) == []


def test_samples_that_the_model_of_a_fold_was_not_trained_on_are_not_told(
    run: Path, store: Store, tmp_path: Path
) -> None:
    n_other = int((read_out_of_fold(run).folds != 0).sum())
    (told,) = tell(run, store.path, tmp_path, parts=["train"], folds=[0])
    assert told.startswith(f"{SAME}{n_other} samples, ")


def test_the_files_of_training_samples_are_told(run: Path, kaggle: Path, tmp_path: Path) -> None:
    (told,) = tell(run, kaggle / "train", tmp_path)
    assert told.startswith(f"{SAME}12 samples, for example sample-00.")
    assert tell(run, kaggle / "test", tmp_path) == []


def test_only_the_samples_that_are_asked_for_count(run: Path, store: Store, kaggle: Path, tmp_path: Path) -> None:
    wanted = write_table(tmp_path / "wanted.csv", {"sample-03": "0", "sample-04": "0"}, target="Predicted")
    for source, parts in ((store.path, ["train"]), (kaggle / "train", ["test"])):
        (told,) = tell(run, source, tmp_path, parts=parts, sample_submission=wanted)
        assert told.startswith(f"{SAME}2 samples, for example sample-0")


def test_images_of_training_samples_under_other_ids_are_told_from_files_and_from_a_store(
    run: Path, tmp_path: Path
) -> None:
    files = write_renamed(tmp_path / "in")
    convert(files, tmp_path / "a.zarr", part="test")
    for source in (files, tmp_path / "a.zarr"):
        (told,) = tell(run, source, tmp_path)
        assert told == (
            f"{EQUAL}3 samples, for example copy-0, which is sample-00 of part train. Leave them out where predictions "
            "are scored."
        )


def test_ids_of_training_samples_with_other_images_are_told(run: Path, kaggle: Path, tmp_path: Path) -> None:
    write_sample(tmp_path / "in", "sample-07", draw_image(400))
    (told,) = tell(run, tmp_path / "in", tmp_path)
    assert told.startswith(f"{NAMED}compared, 1 sample, for example sample-07. If they are the same samples, run `hpa ")
    # Without the store, nothing is known of the images.
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    dataclasses.replace(read_run(run), store=str(tmp_path / "gone.zarr")).write(moved)
    (told,) = tell(moved, kaggle / "train", tmp_path)
    assert told.startswith(f"{NAMED}compared, 12 samples")
    assert tell(moved, write_renamed(tmp_path / "renamed"), tmp_path) == []


def test_copies_of_training_samples_are_told(run: Path, store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.path, tmp_path / "a.zarr")
    augment_store(plan_augmentation(open_store(tmp_path / "a.zarr"), min_count=5))
    (told,) = tell(run, tmp_path / "a.zarr", tmp_path, parts=["augmented"])
    assert told.startswith(f"{SAME}{len(open_store(tmp_path / 'a.zarr').part('augmented').ids)} samples, ")


def test_black_images_are_not_taken_for_each_other(store: Store, run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sample(tmp_path / "in", name, draw_image(0) * 0)
    assert not [line for line in tell(run, tmp_path / "in", tmp_path) if line.startswith((SAME, EQUAL, NAMED))]


def test_a_strict_prediction_of_seen_samples_is_refused_before_it_begins(
    run: Path, store: Store, tmp_path: Path, hpa: Hpa
) -> None:
    with pytest.raises(InputError, match="with --strict: the models were trained on samples to predict, 12 samples"):
        predict_submission(run, store.path, tmp_path / "a.csv", parts=["train"], strict=True)
    words = ("predict", run, store.path, "--part", "train", "--out", tmp_path / "a.csv")
    assert_refused(hpa(*words, "--strict"), "the models were trained on samples to predict")
    assert not (tmp_path / "a.csv").exists()
    assert f"{SAME}12 samples" in hpa(*words).out
