"""Parts with the same ids, and parts without classes: told or refused before training, never after."""

import csv
import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2021
from hpa_data.errors import InputError
from hpa_data.sources.options import ImportOptions
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import Progress
from hpa_model.evaluation.report import write_report
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.data import summarize_data
from hpa_model.training.finetune import finetune
from hpa_model.training.train import train
from tests.builders import Hpa, assert_refused, begin, convert, write_table
from tests.model.stopping import CONFIG, TINY

ALL_CONFIG = dataclasses.replace(TINY, parts=("train", "full"), epochs=1, batch_size=6, symmetries=False)


@pytest.fixture(scope="module")
def parts(store: Store, kaggle: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold parts `train`, `full` with the same 12 ids, and `empty`, whose labels name no class."""
    path = tmp_path_factory.mktemp("parts") / "hpa.zarr"
    shutil.copytree(store.path, path)
    convert(kaggle / "train", path, labels=kaggle / "train.csv", part="full")
    table = write_table(path.parent / "empty.csv", {f"new-{index}": "" for index in range(3)})
    convert(kaggle / "test", path, labels=table, part="empty")
    return open_store(path)


def test_samples_with_the_same_id_are_trained_on_scored_and_shown_by_their_part(parts: Store, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(parts, ALL_CONFIG, run).n_samples == 24
    rows = read_out_of_fold(run)
    assert rows.parts == ["train"] * 12 + ["full"] * 12
    assert rows.ids[:12] == rows.ids[12:]
    assert (rows.folds[:12] == rows.folds[12:]).all()
    with (run / "folds.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["id", "fold", "part"]
    assert write_report(run, files=False).missing_images_reason == ""
    assert ">full: sample-" in (run / "report.html").read_text()
    planned: list[int] = []
    train(parts, ALL_CONFIG, run, progress=Progress(start=planned.append))
    assert planned == [0]
    assert finetune(run, epochs=1, out=tmp_path / "tuned").scores.n_samples == 24


def test_rows_without_parts_are_read_as_before(run: Path, tmp_path: Path) -> None:
    with np.load(run / "out_of_fold.npz") as file:
        assert set(file) == {"ids", "labels", "probs", "folds"}
    assert read_out_of_fold(run).parts is None
    assert (run / "folds.csv").read_text().startswith("id,fold\n")
    assert score_run(run).n_samples == 12


def test_what_is_notable_of_the_samples_is_told_before_training(parts: Store) -> None:
    found = summarize_data(parts, ["train", "full", "empty"])
    without, same = found.list_notices()
    assert str(without).startswith(
        "Warning: samples have no class, of 27, 3 samples, for example new-0 in part empty. "
    )
    assert str(same).startswith(
        "Warning: several parts have the same ids, 12 ids, for example sample-11. Each is taken"
    )
    assert summarize_data(parts, ["train"]).list_notices() == []
    assert found.list_notices(legacy_leak=True) == [without]


def test_a_part_without_any_class_is_refused_unless_asked_for(parts: Store, tmp_path: Path, hpa: Hpa) -> None:
    words = ("train", parts.path, "--part", "train", "--part", "empty", "--out", tmp_path / "run", "--folds", 2)
    words += ("--epochs", 1, "--model", "tiny", "--image-size", 32)
    assert_refused(hpa(*words), "Cannot train on part 'empty': none of its 3 samples has a class. Convert it with a")
    assert not (tmp_path / "run").exists()
    ended = hpa(*words, "--allow-unlabeled")
    assert ended.status == 0, ended.err
    assert "Warning: samples have no class, of 15, 3 samples, for example new-0 in part empty." in ended.err
    assert hpa(*words).status == 0  # resumes


def test_parts_of_two_data_sets_are_refused_in_one_line_that_names_them(tmp_path: Path, hpa: Hpa) -> None:
    begin(tmp_path / "a.zarr", "ab", labels=np.ones((2, 28), np.uint8))
    begin(tmp_path / "b.zarr", "cd", labels=np.ones((2, 19), np.uint8), dataset=HPA_2021)
    shutil.copytree(tmp_path / "b.zarr" / "train", tmp_path / "a.zarr" / "other")
    words = ("train", tmp_path / "a.zarr", "--part", "train", "--part", "other", "--out", tmp_path / "run")
    assert_refused(hpa(*words), "parts must be of one data set. Received: train, of hpa2018, and other, of hpa2021,")
    with pytest.raises(InputError, match="of one data set"):
        train(open_store(tmp_path / "a.zarr"), dataclasses.replace(CONFIG, parts=("train", "other")), tmp_path / "r")


def test_parts_that_were_converted_with_different_settings_are_told_before_training(
    store: Store, kaggle: Path, tmp_path: Path, hpa: Hpa
) -> None:
    path = tmp_path / "hpa.zarr"
    shutil.copytree(store.path, path)
    for part, settings in (
        ("alike", ImportOptions(missing="fill")),
        ("other", ImportOptions(intensities={"red": "percentile"})),
    ):
        convert(kaggle / "train", path, labels=kaggle / "train.csv", part=part, settings=settings)
    (told,) = summarize_data(open_store(path), ["train", "other"]).list_notices(legacy_leak=True)
    assert str(told) == (
        "Warning: parts were converted with different settings, other with intensity red=percentile in place of "
        "intensity red=full of train, 12 samples, for example sample-11 in part other. A network can tell such parts "
        "apart by their brightness; convert them with the same settings, unless their files differ as the settings do."
    )
    assert summarize_data(open_store(path), ["train", "alike"]).list_notices(legacy_leak=True) == []
    words = ("train", path, "--part", "train", "--part", "other", "--out", tmp_path / "run", "--folds", 99)
    ended = hpa(*words)  # so many folds are refused before anything is trained
    assert ended.status == 2
    assert "Warning: parts were converted with different settings, other with intensity red=percentile" in ended.err
