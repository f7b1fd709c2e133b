"""Data that classifiers dislike, and work that is stopped: a baseline takes both."""

import signal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import Progress
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.config import TrainConfig
from hpa_model.runs.baseline import FEATURES_FILE, read_baseline, read_features
from hpa_model.runs.folder import read_run
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training import baseline
from hpa_model.training.baseline import FinishedBaseline, train_baseline
from tests.builders import Hpa, assert_same_bytes, build_store, convert, unseal_run

CONFIG = TrainConfig(folds=2, duplicates="ignore")
SETTINGS = BaselineSettings(n_trees=5)


def make_dataset(n_channels: int = 1, n_classes: int = 2, size: int = 64) -> Dataset:
    channels = tuple(Channel(name=f"c{n}") for n in range(n_channels))
    return Dataset(
        name="unusual", channels=channels, classes=tuple(f"k{k}" for k in range(n_classes)), height=size, width=size
    )


def fit(store: Store, out: Path, **options: object) -> FinishedBaseline:
    return train_baseline(store, CONFIG, out, settings=SETTINGS, **options)  # type: ignore[arg-type]


def alternate(n: int, n_classes: int) -> npt.NDArray[np.uint8]:
    return np.eye(n_classes, dtype=np.uint8)[np.arange(n) % n_classes]


@pytest.mark.parametrize(
    "labels",
    [
        np.ones((8, 1), np.uint8),  # one class, which all show
        alternate(8, 2)[:, :1],  # one class, which half of them show
        np.concatenate([alternate(8, 2), np.eye(8, 2, dtype=np.uint8)[:, ::-1]], axis=1),  # two that one shows
        np.concatenate([alternate(8, 2), np.zeros((8, 1), np.uint8)], axis=1),  # a class that none shows
    ],
)
def test_classes_that_few_or_all_show_are_fitted(labels: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    store = build_store(tmp_path / "a.zarr", make_dataset(n_classes=labels.shape[1]), labels)
    finished = fit(store, tmp_path / "run")
    assert set(finished.alone) == {"trees", "logistic", "mean"}
    assert np.isfinite(read_out_of_fold(tmp_path / "run").probs).all()


def test_a_fold_without_any_class_to_fit_is_refused(tmp_path: Path) -> None:
    store = build_store(tmp_path / "a.zarr", make_dataset(n_classes=1), np.eye(8, dtype=np.uint8)[:, :1])
    with pytest.raises(InputError, match="none of its 4 training samples has a class"):
        fit(store, tmp_path / "run")


def test_small_images_of_one_channel_can_be_predicted(tmp_path: Path, hpa: Hpa) -> None:
    store = build_store(tmp_path / "a.zarr", make_dataset(size=48), alternate(8, 2))
    fit(store, tmp_path / "run")
    ended = hpa("predict", tmp_path / "run", store.location, "--part", "train", "--out", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().count("\n") == 9, ended.err


def test_work_that_is_stopped_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build_store(tmp_path / "a.zarr", make_dataset(), alternate(8, 2))
    monkeypatch.setattr(baseline, "BATCH_SIZE", 2)
    fit(store, tmp_path / "whole", threads=1)
    with pytest.raises(KeyboardInterrupt):
        fit(store, tmp_path / "run", progress=Progress(advance=lambda _: signal.raise_signal(signal.SIGINT)))
    _, is_measured = read_features(tmp_path / "run", 8, 331)  # of another width: nothing of it is taken
    assert not is_measured.any()
    with np.load(tmp_path / "run" / FEATURES_FILE) as file:
        assert file["is_measured"].sum() == 2
    counted: list[int] = []
    fit(store, tmp_path / "run", threads=2, progress=Progress(start=counted.append))
    assert counted == [6]
    for name in ("out_of_fold.npz", "scores.json", "folds.csv", "importances.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert_same_bytes(tmp_path / "run" / "fold0", tmp_path / "whole" / "fold0")


def test_damaged_features_are_measured_again_and_damaged_classifiers_are_refused(tmp_path: Path) -> None:
    store = build_store(tmp_path / "a.zarr", make_dataset(), alternate(8, 2))
    run = tmp_path / "run"
    scores = fit(store, run).scores
    (run / FEATURES_FILE).write_bytes(b"damaged")
    assert fit(store, run).scores == scores
    path = unseal_run(run) / "fold1" / "baseline.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"Cannot read .*baseline.npz: .* Remove it, and run the same `hpa baseline`"):
        read_baseline(run, 1, read_run(run))
    path.unlink()
    assert fit(store, run).scores == scores


def test_a_part_without_a_class_is_refused(tmp_path: Path, hpa: Hpa) -> None:
    store = build_store(tmp_path / "a.zarr", make_dataset(), np.zeros((8, 2), np.uint8))
    ended = hpa("baseline", store.location, "--out", tmp_path / "run", "--folds", 2)
    assert ended.status == 2
    assert "none of its 8 samples has a class" in ended.err.splitlines()[-1]
    allowed = hpa("baseline", store.location, "--out", tmp_path / "run", "--folds", 2, "--allow-unlabeled")
    assert allowed.status == 2
    assert "training samples has a class" in allowed.err.splitlines()[-1]


@pytest.mark.realdata
def test_a_baseline_of_real_samples_runs(real_data: Path, tmp_path: Path) -> None:
    files = sorted((real_data / "kaggle" / "train").iterdir())[: 4 * 12]
    (tmp_path / "train").mkdir()
    for path in files:
        (tmp_path / "train" / path.name).symlink_to(path)
    lines = (real_data / "kaggle" / "train.csv").read_text().splitlines(keepends=True)
    names = {path.name.rpartition("_")[0] for path in files}
    (tmp_path / "train.csv").write_text("".join(lines[:1] + [line for line in lines if line.split(",")[0] in names]))
    convert(tmp_path / "train", tmp_path / "a.zarr", labels=tmp_path / "train.csv")
    finished = fit(open_store(tmp_path / "a.zarr"), tmp_path / "run")
    assert finished.scores.n_samples == 12
